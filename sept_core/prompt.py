"""A learned prompt as two files: its parameters (safetensors) and a card (JSON) that describes it. No pickle.

    prompt.safetensors      parameters by name, replicas first
    card.json               method, encoder, classes, training data and results; digest of the other file

Written by ``sept export``; ``Predictor`` in ``prediction.py`` ranks class names with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sept_core.checked_json import seal, unseal
from sept_core.classnames import check_names
from sept_core.errors import InputError

# Torch is loaded only once it is known that there is a prompt.
if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CARD", "PARAMETERS", "DamagedPromptError", "Prompt", "load_prompt", "not_finite_in", "read_prompt"]

CARD, PARAMETERS = "card.json", "prompt.safetensors"
FORMAT = 1
# The entries of a card that are read: their keys and types.
_NEEDED: Mapping[str, type] = {
    "baseline": str,
    "classes.all": list,
    "classes.trained": list,
    "dataset": dict,
    "encoder.fingerprint": str,
    "encoder.name": str,
    "hyper": dict,
    "method": str,
    "parameters_sha256": str,
    "replicas": list,
    "study": str,
}
_KINDS: Mapping[type, str] = {str: "a text", list: "a list", dict: "an object"}
_TYPES = ("float16", "bfloat16", "float32", "float64")


class DamagedPromptError(InputError):
    """The two files of a prompt are damaged or do not belong together."""


@dataclass(frozen=True)
class Prompt:
    """A learned prompt.

    Attributes:
        card: Plain values; see ``pipeline/prompts/card.py``.
        params: The learner's parameters, stacked over replicas: ``[replicas, ...]``.
    """

    card: Mapping[str, Any]
    params: Mapping[str, Tensor]

    @property
    def trained(self) -> tuple[str, ...]:
        """Training classes, as spelled in their dataset, in the order of the training."""
        return tuple(self.card["classes"]["trained"])

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes of its training dataset."""
        return tuple(self.card["classes"]["all"])

    @property
    def replicas(self) -> int:
        """Number of replicas."""
        return len(self.card["replicas"])

    def files(self) -> dict[str, bytes]:
        """Both files by name, the card last; equal prompts give equal bytes."""
        from safetensors.torch import save

        data = save({name: value.detach().cpu().contiguous() for name, value in self.params.items()})
        card = {**self.card, "format": FORMAT, "parameters_sha256": hashlib.sha256(data).hexdigest()}
        return {PARAMETERS: data, CARD: seal(card)}


def load_prompt(folder: Path | str) -> Prompt:
    """Read the prompt in a local folder.

    Raises:
        InputError: There is none, or it is damaged.
    """
    place = Path(folder).expanduser()
    found = {}
    for name in (CARD, PARAMETERS):
        try:
            found[name] = (place / name).read_bytes()
        except OSError as error:
            raise InputError(
                f"no prompt there ({name}: {error.strerror or error})",
                where=str(folder),
                fix="give a folder that sept export has written",
            ) from error
    return read_prompt(found[CARD], found[PARAMETERS], str(folder))


def read_prompt(card: bytes, parameters: bytes, where: str) -> Prompt:
    """Read a prompt from the bytes of its two files.

    Args:
        card: Bytes of ``card.json``.
        parameters: Bytes of ``prompt.safetensors``.
        where: Names the prompt in messages.

    Raises:
        DamagedPromptError: They are damaged, do not belong together, or have values that are not finite.
        InputError: They are of a later release.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    fix = "export it again: sept export SWEEP STUDY --to DIR"
    try:
        content = unseal(card)
        if content.get("format") != FORMAT:
            raise InputError(
                f"the prompt is of format {_short(content.get('format'))}, and this release reads {FORMAT}",
                where=where,
                fix="use the release of sept-sweep that wrote it",
            )
        _check_card(content)
        if hashlib.sha256(parameters).hexdigest() != content["parameters_sha256"]:
            raise ValueError(f"{PARAMETERS} is not the file that {CARD} belongs to")
        params = _checked(load(parameters), len(content["replicas"]))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise DamagedPromptError(f"the prompt is damaged ({_short(error)})", where=where, fix=fix) from error
    return Prompt(content, params)


def not_finite_in(params: Mapping[str, Tensor]) -> str:
    """Names of the parameters with a value that is not finite, separated by commas; empty if there is none."""
    return ", ".join(name for name, value in sorted(params.items()) if not bool(value.isfinite().all()))


def _checked(params: dict[str, Tensor], replicas: int) -> dict[str, Tensor]:
    """The parameters, after checking that they are numbers for this many replicas; `Predictor` checks the rest.

    Raises:
        ValueError: They are not.
    """
    if not params:
        raise ValueError(f"{PARAMETERS} holds nothing")
    for name, value in sorted(params.items()):
        kind = str(value.dtype).removeprefix("torch.")
        if kind not in _TYPES:
            raise ValueError(f"{PARAMETERS} has '{_short(name)}' of type {kind}, not {' or '.join(_TYPES)}")
        if value.dim() < 2 or len(value) != replicas:
            shape = list(value.shape)
            raise ValueError(f"{PARAMETERS} has '{_short(name)}' of shape {shape}, not of {replicas} replicas")
    if not_finite := not_finite_in(params):
        raise ValueError(f"{PARAMETERS} has values that are not finite, in {_short(not_finite)}")
    return params


def _check_card(content: Mapping[str, Any]) -> None:
    """Check that a card has the entries that are read.

    Raises:
        ValueError: One is missing or has the wrong type.
    """
    for key, kind in _NEEDED.items():
        value: Any = content
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise ValueError(f"{CARD} lacks {key}")
            value = value[part]
        if not isinstance(value, kind):
            raise ValueError(f"{CARD} has no {_KINDS[kind].split()[-1]} as {key}")
    for key in ("all", "trained"):
        names = content["classes"][key]
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"{CARD} has values other than strings in classes.{key}")
        try:
            check_names(names)
        except InputError as error:
            raise ValueError(f"{CARD}, classes.{key}: {error.what}") from error
    if not content["replicas"]:
        raise ValueError(f"{CARD} has no replicas")


def _short(said: object) -> str:
    """One line of at most 200 characters: the text comes from the files."""
    return " ".join(str(said).split())[:200]
