"""Presets: what a published code does, as a name that a sweep gives for a baseline (``search_spaces/presets.yaml``)."""

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
from sept_core.nearest import known_words

if TYPE_CHECKING:
    from pipeline.spec.sweep import SweepSpec

__all__ = ["Preset", "check_presets", "preset_lines", "presets", "take_training"]

_FILE = "presets.yaml"
_STAND_IN = 1_000_000


class _Training(Model):
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)


class Preset(Model):
    """What a published code does.

    Attributes:
        source: Its repository on GitHub.
        baselines: Which of ours it describes.
        training: Its epochs and batch size, for sweeps that do not say them.
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
    """Give a sweep's document the epochs and batch size of its presets where it does not say them itself.

    Two presets that differ in one that the sweep leaves to them are a problem.
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
            place, fix = f"{where}: training.{key}", f"say which: training: {{{key}: ...}}"
            problems.add(InputError(f"the presets do not agree: {differ}", where=place, fix=fix))
        # Where a preset is misspelt, that is what is wrong, and not that its value is missing.
        training = training | {key: next(iter(said.values()), _STAND_IN)}
    document["training"] = training


def check_presets(chosen: Mapping[str, str], used: Sequence[str], where: str, problems: Problems) -> dict[str, Preset]:
    """The presets of a sweep by baseline, those that can be used.

    Args:
        chosen: By baseline the name of a preset.
        used: The baselines of the sweep.
        where: Names its file in errors.
        problems: Takes what cannot be used: an unknown preset, one of another baseline, a baseline not in use.
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
            problems.add(InputError(f"preset '{name}' is of {of}", where=place, fix=fix))
        else:
            found[baseline] = preset
    return found


def preset_lines(spec: SweepSpec) -> Iterator[str]:
    """A line for each preset of a loaded sweep: where it comes from, and what the sweep has otherwise."""
    for baseline, name in spec.presets.items():
        preset, space = presets()[name], spec.spaces.get(baseline, {})
        training = preset.training.model_dump()
        otherwise = [key for key, dimension in preset.space.items() if space.get(key) != dimension]
        here = spec.training.model_dump()
        differing = {key: value for key, value in training.items() if here[key] != value}
        otherwise += [f"{key} {here[key]} ({value} there)" for key, value in differing.items()]
        changed = f"; set otherwise by this sweep: {', '.join(otherwise)}" if otherwise else ""
        yield f"Preset of {baseline}: {name} ({preset.source}){changed}"
