"""What may change between two launches of a sweep, and what would make it a different search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.spec.models import Dimension
from pipeline.spec.sweep import SweepSpec

__all__ = ["spec_differences"]

# Compared below by meaning, or free to change: where trials run, the order of studies, where files are (their digests
# are compared with those of existing trials), and which faulty copies are accepted. Presets are compared by the
# resulting spaces and training.
_NOT_LITERALLY = frozenset(
    {"trials", "budgets", "priorities", "resources", "neighbors", "encoder", "datasets", "sources", "methods"}
    | {"folds", "spaces", "presets", "accept_faulty_splits", "axes", "variants"}
)


def spec_differences(stored: SweepSpec, wanted: SweepSpec) -> list[str]:
    """The reasons why a stored sweep cannot be continued with another spec, one line each; empty if it can.

    Budgets may be raised, spaces narrowed, datasets, sources, methods, values of axes and variants added (with
    ``strict`` also folds, each with its own study), resources and priorities changed, and files moved. Anything else
    would mix results under one name that cannot be compared.
    """
    return [
        *_literal(stored, wanted),
        *_removed(stored, wanted),
        *_axes(stored, wanted),
        *_budgets(stored, wanted),
        *_folds(stored, wanted),
        *_spaces(stored, wanted),
    ]


def _literal(stored: SweepSpec, wanted: SweepSpec) -> Iterator[str]:
    before, after = (
        dict(
            _leaves(
                spec.model_dump(mode="json", exclude_none=True, exclude=set(_NOT_LITERALLY))
                | {"encoder": spec.encoder.name}
            )
        )
        for spec in (stored, wanted)
    )
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield f"{key} was {before.get(key, 'not set')} and is now {after.get(key, 'not set')}"


def _removed(stored: SweepSpec, wanted: SweepSpec) -> Iterator[str]:
    for key in ("datasets", "sources", "methods"):
        gone = [name for name in getattr(stored, key) if name not in getattr(wanted, key)]
        if gone:
            yield f"{key} had {', '.join(gone)} and may only be added to"


def _axes(stored: SweepSpec, wanted: SweepSpec) -> Iterator[str]:
    if stored.axes.keys() != wanted.axes.keys():
        before, after = (", ".join(sorted(spec.axes)) or "none" for spec in (stored, wanted))
        yield f"axes were {before} and are now {after}"
        return
    for axis, values in stored.axes.items():
        # The label of an encoder is its name.
        yield from _kept(f"axes.{axis}", values, wanted.axes[axis], moved=axis in ("neighbors", "encoder"))
    yield from _kept("variants", stored.variants, wanted.variants)


def _kept(key: str, before: Mapping[str, Any], after: Mapping[str, Any], *, moved: bool = False) -> Iterator[str]:
    """Labels that are gone or mean something else; files may have moved, since trials contain their digests."""
    for label, value in before.items():
        if label not in after:
            yield f"{key} had {label} and may only be added to"
        elif not moved and after[label] != value:
            yield f"{key}.{label} was {value} and is now {after[label]}"


def _budgets(stored: SweepSpec, wanted: SweepSpec) -> Iterator[str]:
    after = {study.key: study.trials for study in wanted.studies()}
    for study in stored.studies():
        now = after.get(study.key, study.trials)
        # A study that has nothing left to search keeps its number of trials.
        if now < study.trials and any(dimension.searched for dimension in _space(wanted, study.key).values()):
            yield f"trials of {study.key} were {study.trials} and are now {now}, and may only be raised"


def _folds(stored: SweepSpec, wanted: SweepSpec) -> Iterator[str]:
    if stored.selection != wanted.selection:
        return  # reported already, and strict expands 'all'
    for dataset in stored.trained_on:
        before, after = stored.folds_of(dataset), wanted.folds_of(dataset)
        if stored.selection == "strict":
            gone = [fold for fold in before or () if fold not in (after or before or ())]
            if gone:
                yield f"folds of {dataset} had {', '.join(gone)} and may only be added to"
        elif before != after:
            yield f"folds of {dataset} were {_named(before)} and are now {_named(after)}"


def _spaces(stored: SweepSpec, wanted: SweepSpec) -> Iterator[str]:
    for part, before in stored.spaces.items():
        after = wanted.spaces.get(part, {})
        for name in sorted(before.keys() | after.keys()):
            old, new = before.get(name), after.get(name)
            if old is None or new is None or not new.narrows(old):
                yield f"spaces.{part}.{name} was {_said(old)} and is now {_said(new)}, and may only be narrowed"


def _space(spec: SweepSpec, key: str) -> dict[str, Dimension]:
    return next((dict(study.space) for study in spec.studies() if study.key == key), {})


def _named(folds: tuple[str, ...] | None) -> str:
    return "all" if folds is None else ", ".join(folds)


def _said(dimension: Dimension | None) -> str:
    if dimension is None:
        return "not set"
    content = dimension.model_dump(mode="json", exclude_defaults=True)
    return ", ".join(f"{name} {value}" for name, value in content.items())


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
