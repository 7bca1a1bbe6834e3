"""Checks of the axes and variants of a sweep (``cells.py``) before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from pipeline.spec.cells import INPUTS
from pipeline.spec.models import EncoderFiles
from pipeline.spec.read import located
from pipeline.spec.sweep import SweepSpec
from sept_core.encoders import known_encoder
from sept_core.errors import InputError
from sept_core.hyper import HyperParameter
from sept_core.methods import hyper_parameters, split_method
from sept_core.suggestions import known_words
from sept_core.trial_config import CELL_WORD

__all__ = ["axis_problems"]


def axis_problems(spec: SweepSpec, where: str) -> Iterator[InputError]:
    """Errors in the axes and variants of a sweep whose methods are known."""
    declared = [hyper_parameters(*split_method(method)) for method in spec.methods]
    every = {name: parameter for own in declared for name, parameter in own.items()}
    for axis, values in spec.axes.items():
        place = f"{where}: axes.{axis}"
        if axis not in INPUTS and axis not in every:
            yield InputError("no method of this sweep has it", where=place, fix=known_words(axis, [*INPUTS, *every]))
            continue
        if not values:
            yield InputError("no values", where=place, fix="give a list, or a mapping of labels to values")
        for label, value in values.items():
            yield from _label_problems(label, f"{place}.{label}")
            try:
                _check_value(spec, axis, value, every, f"{place}.{label}")
            except InputError as error:
                yield error
        if axis == "encoder" and (
            other := next((label for label, one in values.items() if _named(one) != label), None)
        ):
            fix = "give a list of encoders, or use their names as labels, since keys of studies contain the names"
            yield InputError(f"the label of '{_named(values[other])}' is '{other}'", where=place, fix=fix)
    for variant, own in spec.variants.items():
        place = f"{where}: variants.{variant}"
        yield from _label_problems(variant, place)
        if not own:
            yield InputError("sets nothing", where=place, fix="name hyper-parameters and their values")
        for name, value in own.items():
            if name in spec.axes:
                yield InputError(f"'{name}' is an axis of this sweep", where=place, fix="leave one of the two out")
            elif name not in every:
                fix = known_words(name, every)
                yield InputError(f"no method of this sweep has '{name}'", where=place, fix=fix)
            else:
                try:
                    every[name].check(value, f"{place}.{name}")
                except InputError as error:
                    yield error
        if own and every.keys() >= own.keys() and not any(parameters.keys() >= own.keys() for parameters in declared):
            yield InputError("no method of this sweep has all of these hyper-parameters", where=place)


def _named(encoder: Any) -> Any:
    return encoder.get("name") if isinstance(encoder, dict) else encoder


def _label_problems(label: str, where: str) -> Iterator[InputError]:
    if not CELL_WORD.fullmatch(label):
        fix = "use up to 40 letters, digits, '.', '_', '+' and '-'; name long values as in {label: value}"
        yield InputError(f"'{label}' cannot be a label", where=where, fix=fix)


def _check_value(spec: SweepSpec, axis: str, value: Any, every: Mapping[str, HyperParameter], where: str) -> None:
    if axis == "shots":
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{value!r} is not a number of clips", where=where, fix="at least 1")
    elif axis == "neighbors":
        if not isinstance(value, str | dict):
            raise InputError(
                f"{value!r} is neither a file nor a mapping of datasets to files",
                where=where,
                fix="give a path, in which {dataset} stands for each dataset; null for those of the datasets",
            )
        if isinstance(value, dict) and value and (missing := [one for one in spec.trained_on if one not in value]):
            fix = "name a file for each dataset, or write the path once with {dataset} in it"
            raise InputError(f"no file for {', '.join(missing)}", where=where, fix=fix)
        for dataset, path in value.items() if isinstance(value, dict) else ():
            if dataset not in spec.trained_on or not isinstance(path, str):
                fix = f"those of this sweep: {', '.join(spec.trained_on)}"
                raise InputError(f"'{dataset}' is not a dataset of this sweep with a file", where=where, fix=fix)
    elif axis == "encoder":
        try:
            name = EncoderFiles.model_validate(value).name
        except ValidationError as error:
            raise InputError("give a name, or a mapping with name, weights and text_model", where=where) from error
        with located(where):
            known_encoder(name)
    else:
        every[axis].check(value, where)
