"""Prompt spaces in the store: what ``sept_core.prompt_space`` measured of a trial and of its twin without SEPT.

    trials/<study>/<signature>/prompt-space-<signature of the twin, or "alone">.json

They are computed from checkpoints and can be deleted; a damaged one, or one of another format, counts as absent.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from pipeline.store.trials import TrialStore, trial_key
from sept_core.checked_json import seal, unseal
from sept_core.prompt_space import PromptSpace

__all__ = ["SpaceKey", "read_prompt_spaces", "write_prompt_space"]

_FORMAT = 1

SpaceKey = tuple[str, str, str | None]
"""Study and signature of a trial, and the signature of its twin; None if the trial is looked at alone."""


def read_prompt_spaces(store: TrialStore, keys: Iterable[SpaceKey]) -> dict[SpaceKey, PromptSpace]:
    """The spaces that have been measured, of these."""
    wanted = {_name(key): key for key in keys}
    found = {}
    for name, data in store.files.read_many(wanted).items():
        with suppress(ValueError, KeyError):
            content = unseal(data)
            if content.get("format") == _FORMAT:
                found[wanted[name]] = PromptSpace.from_json(content["space"])
    return found


def write_prompt_space(store: TrialStore, key: SpaceKey, space: PromptSpace) -> None:
    """Store a space, in place of an earlier one."""
    store.files.write(_name(key), seal({"format": _FORMAT, "space": space.to_json()}))


def _name(key: SpaceKey) -> str:
    study, signature, twin = key
    return trial_key(study, signature, f"prompt-space-{twin or 'alone'}.json")
