"""Prompt spaces in the store: what ``sept_core.prompt_space`` measured of a trial and of its twin without SEPT.

    trials/<study>/<signature>/prompt-space-<signature of the twin, or "alone">.json

They are computed from checkpoints and can be deleted; a damaged one, or one of another format, counts as absent.
"""

from __future__ import annotations

from pipeline.store.trials import TrialStore, trial_key
from sept_core.checked_json import seal, unseal
from sept_core.prompt_space import PromptSpace

__all__ = ["read_prompt_space", "write_prompt_space"]

_FORMAT = 1


def read_prompt_space(store: TrialStore, study: str, signature: str, twin: str | None) -> PromptSpace | None:
    """The space of a trial and its twin; None if it has not been measured.

    Args:
        store: The store.
        study: Study of the trial.
        signature: Signature of the trial.
        twin: Signature of the twin; None if the trial is looked at alone.
    """
    try:
        content = unseal(store.files.read(_key(study, signature, twin)))
        return PromptSpace.from_json(content["space"]) if content.get("format") == _FORMAT else None
    except (FileNotFoundError, ValueError, KeyError):
        return None


def write_prompt_space(store: TrialStore, study: str, signature: str, twin: str | None, space: PromptSpace) -> None:
    """Store a space, in place of an earlier one."""
    store.files.write(_key(study, signature, twin), seal({"format": _FORMAT, "space": space.to_json()}))


def _key(study: str, signature: str, twin: str | None) -> str:
    return trial_key(study, signature, f"prompt-space-{twin or 'alone'}.json")
