"""Presets: named settings of published code that a sweep can use for a baseline (``search_spaces/presets.yaml``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipeline.spec.models import Dimension, Model
from pipeline.spec.problems import Problems
from pipeline.spec.read import read_yaml, validate
from sept_core.errors import InputError
from sept_core.suggestions import known_words

if TYPE_CHECKING:
    from pipeline.spec.sweep import SweepSpec

__all__ = ["Preset", "check_presets", "preset_lines", "presets", "take_training"]

_FILE = "presets.yaml"
_STAND_IN = 1_000_000


class _Training(Model):
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)


class Preset(Model):
    """The settings of published code.

    Attributes:
        source: Its repository on GitHub.
        baselines: The baselines here that it describes.
        training: Its epochs and batch size, for sweeps that do not set them.
        space: Its values of the baselines' hyper-parameters.
    """

    source: str
    baselines: tuple[str, ...]
    training: _Training
    space: dict[str, Dimension]


class _File(Model):
    presets: dict[str, Preset]


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name."""
    text = files("search_spaces").joinpath(_FILE).read_text(encoding="utf-8")
    return validate(_File, read_yaml(text, _FILE), _FILE).presets


def take_training(document: dict[str, Any], where: str, problems: Problems) -> None:
    """Add the epochs and batch size of the presets to a sweep's document if it does not set them.

    It is an error if two presets differ in a value that the sweep does not set.
    """
    chosen = document.get("presets")
    training = document.get("training") or {}
    if not chosen or not isinstance(training, dict):
        return
    names = chosen.values() if isinstance(chosen, dict) else ()
    known = {str(name): presets()[name] for name in names if isinstance(name, str) and name in presets()}
    for key in _Training.model_fields:
        said = {name: getattr(preset.training, key) for name, preset in known.items()}
        if training.get(key) is not None:
            continue
        if len({*said.values()}) > 1:
            differ = ", ".join(f"{name} has {value}" for name, value in said.items())
            place, fix = f"{where}: training.{key}", f"choose one: training: {{{key}: ...}}"
            problems.add(InputError(f"the presets do not agree: {differ}", where=place, fix=fix))
        # If a preset is misspelt, that is the error, not its missing value.
        training = training | {key: next(iter(said.values()), _STAND_IN)}
    document["training"] = training


def check_presets(chosen: Mapping[str, str], used: Sequence[str], where: str, problems: Problems) -> dict[str, Preset]:
    """The valid presets of a sweep by baseline.

    Args:
        chosen: By baseline the name of a preset.
        used: The baselines of the sweep.
        where: Names the file in errors.
        problems: Collects the errors: an unknown preset, one of another baseline, a baseline not in use.
    """
    found = {}
    for baseline, name in chosen.items():
        place = f"{where}: presets.{baseline}"
        preset = presets().get(name)
        if baseline not in used:
            words = known_words(baseline, used)
            problems.add(InputError(f"no method of this sweep uses '{baseline}'", where=place, fix=words))
        elif preset is None:
            problems.add(InputError(f"unknown preset '{name}'", where=place, fix=known_words(name, presets())))
        elif baseline not in preset.baselines:
            of = " and ".join(preset.baselines)
            fitting = [other for other, one in presets().items() if baseline in one.baselines]
            fix = f"for {baseline}: {', '.join(fitting)}" if fitting else "set its values in spaces"
            problems.add(InputError(f"preset '{name}' is for {of}", where=place, fix=fix))
        else:
            found[baseline] = preset
    return found


def preset_lines(spec: SweepSpec) -> Iterator[str]:
    """A line for each preset of a loaded sweep: its source, and what the sweep changes."""
    for baseline, name in spec.presets.items():
        preset, space = presets()[name], spec.spaces.get(baseline, {})
        training = preset.training.model_dump()
        otherwise = [key for key, dimension in preset.space.items() if space.get(key) != dimension]
        here = spec.training.model_dump()
        differing = {key: value for key, value in training.items() if here[key] != value}
        otherwise += [f"{key} {here[key]} (preset: {value})" for key, value in differing.items()]
        changed = f"; changed by this sweep: {', '.join(otherwise)}" if otherwise else ""
        yield f"Preset of {baseline}: {name} ({preset.source}){changed}"
