"""The cells of a sweep: its values along axes, and its variants; each is a search of its own.

    axes: {shots: [1, 4, 16], n_ctx: [4, 16], neighbors: {gpt-4o: lists/{dataset}.json, shipped: null}}
    variants: {intra-only: {margin_inter: 0}, no-margin: {margin_mode: none}}

A method has a cell for each combination of the axes that it depends on: zero-shot does not depend on shots, and only
SEPT depends on neighbours. It has one without a variant, and one for each variant whose hyper-parameters are all its
own. So nothing is searched twice, and a trial that has ended in one cell is not trained again in another (no signature
names a cell).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from pipeline.spec.models import EncoderFiles
from pipeline.spec.values import as_number
from sept_core.hyper import HyperParameter, Value
from sept_core.learners import get_learner
from sept_core.methods import hyper_parameters, split_method

__all__ = ["INPUTS", "VARIANT", "Axes", "Cell", "Variants", "cells_of", "encoder_names", "in_cell", "labelled"]

VARIANT = "variant"
"""The axis of the variants in keys and tables."""
INPUTS = ("shots", "neighbors", "encoder")
"""The axes that are not hyper-parameters."""

Axes = Mapping[str, Mapping[str, Any]]
"""By axis: value by label."""
Variants = Mapping[str, Mapping[str, Value]]
"""By variant: hyper-parameters."""


@dataclass(frozen=True)
class Cell:
    """What a cell sets.

    Attributes:
        place: Axis and label of each value; the encoder's is not among them, since every key names the encoder.
        hyper: Hyper-parameters that are fixed.
        shots, encoder, neighbors: The value on this axis; None for that of the sweep. Neighbours are a file for each
            dataset, ``{}`` for those that belong to the datasets.
    """

    place: tuple[tuple[str, str], ...] = ()
    hyper: Mapping[str, Value] = field(default_factory=dict)
    shots: int | None = None
    encoder: EncoderFiles | None = None
    neighbors: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        """Such as ``shots=4,variant=no-margin``; empty in a sweep without axes."""
        return ",".join(f"{axis}={label}" for axis, label in self.place)


def labelled(axis: str, values: Any) -> Any:
    """The values of an axis by their labels; a list labels each value with itself."""
    if isinstance(values, list | tuple):
        values = {str(value.get("name") if isinstance(value, dict) else value): value for value in values}
    if not isinstance(values, dict):
        return values
    # Neighbours that belong to the datasets are no file for any; None would be lost in the stored file.
    read = {str(label): as_number(value) if axis != "encoder" else value for label, value in values.items()}
    return {label: {} if axis == "neighbors" and value is None else value for label, value in read.items()}


def in_cell(method: str, cell: str, encoder: str | None) -> str:
    """A method with its cell, such as ``coop@shots=4``; the encoder is named where there are several."""
    places = [*([f"encoder={encoder}"] if encoder else []), *([cell] if cell else [])]
    return f"{method}@{','.join(places)}" if places else method


def encoder_names(axes: Axes) -> tuple[str, ...]:
    """The names of the encoders on the axis."""
    return tuple(EncoderFiles.model_validate(value).name for value in axes.get("encoder", {}).values())


def cells_of(axes: Axes, variants: Variants, method: str) -> tuple[Cell, ...]:
    """The cells of a method, the variants of one place after each other.

    Args:
        axes, variants: Those of the sweep, as `load_sweep` completes them: neighbours are a file for each dataset.
        method: The method.
    """
    declared = hyper_parameters(*split_method(method))
    used = [[(axis, label, value) for label, value in values.items()] for axis, values in _used(axes, method, declared)]
    own = [("", {}), *((name, values) for name, values in variants.items() if declared.keys() >= values.keys())]
    return tuple(_cell(chosen, variant, values) for chosen in product(*used) for variant, values in own)


def _used(axes: Axes, method: str, declared: Mapping[str, HyperParameter]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The axes that a method depends on."""
    baseline, sept = split_method(method)
    learner = get_learner(baseline)
    for axis, values in axes.items():
        # The number of clips is also that of the steps of a training, even of one that reads no clip.
        depends = {"shots": learner.trainable or learner.reads_clips, "neighbors": sept, "encoder": True}
        if depends.get(axis, axis in declared):
            yield axis, values


def _cell(chosen: Sequence[tuple[str, str, Any]], variant: str, values: Mapping[str, Value]) -> Cell:
    inputs: dict[str, Any] = {axis: value for axis, _, value in chosen if axis in INPUTS}
    if "encoder" in inputs:
        inputs["encoder"] = EncoderFiles.model_validate(inputs["encoder"])
    hyper = {axis: value for axis, _, value in chosen if axis not in INPUTS}
    place = tuple((axis, label) for axis, label, _ in chosen if axis != "encoder")
    return Cell(place + (((VARIANT, variant),) if variant else ()), hyper | dict(values), **inputs)
