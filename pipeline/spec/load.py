"""Reading a sweep: its file, the spaces that it builds on, and the checks of one against the other and the code.

A study's space is its baseline's file in ``search_spaces/``, plus ``sept.yaml`` where SEPT is on, with what the sweep's
``spaces`` says laid over it key by key. A loaded spec holds its spaces complete, so that what is stored with a sweep
says all that its search depends on, whatever the files say later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.spec.models import Dimension, Model
from pipeline.spec.protocol import check_protocol
from pipeline.spec.read import located, near_miss, read_yaml, validate
from pipeline.spec.sweep import SweepSpec
from sept_core.datasets import DatasetInfo, get_dataset
from sept_core.encoders import ENCODERS
from sept_core.errors import InputError
from sept_core.hyper import HyperParameter
from sept_core.methods import hyper_parameters, split_method

__all__ = ["load_sweep", "parse_sweep", "shipped_sweeps"]

_WORD = re.compile(r"[A-Za-z0-9_-]+")
_SWEEPS = files("search_spaces").joinpath("sweeps")


class _SpaceFile(Model):
    baseline: str | None = None
    space: dict[str, Dimension]


def load_sweep(
    source: str | Path, overrides: Mapping[str, Any] | None = None, own: Iterable[DatasetInfo] = ()
) -> SweepSpec:
    """Read a sweep, lay its spaces over those that ship, and check all of it against the code.

    Args:
        source: A YAML file, or the name of a sweep that ships with the package, such as ``quickstart``.
        overrides: Values laid over the file's, by dotted key, such as ``{"trials": 16, "training.epochs": 50}``.
        own: The person's own datasets, which the sweep may name beside the registered ones.

    Raises:
        InputError: One line naming file, key, value and what to do.
    """
    path = Path(source)
    if not path.exists() and _WORD.fullmatch(str(source)):
        packaged = _SWEEPS.joinpath(f"{source}.yaml")
        if packaged.is_file():
            return parse_sweep(packaged.read_text(encoding="utf-8"), packaged.name, overrides, own)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        shipped = f"a YAML file, or the name of a sweep that ships: {', '.join(shipped_sweeps())}"
        raise InputError(f"cannot read the sweep: {reason}", where=str(path), mend=f"give {shipped}") from error
    return parse_sweep(text, str(path), overrides, own, folder=path.parent)


def shipped_sweeps() -> tuple[str, ...]:
    """Names of the sweeps that ship with the package."""
    names = [entry.name for entry in _SWEEPS.iterdir()]
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def parse_sweep(
    text: str,
    where: str,
    overrides: Mapping[str, Any] | None = None,
    own: Iterable[DatasetInfo] = (),
    folder: Path | None = None,
) -> SweepSpec:
    """`load_sweep` of text already read.

    Args:
        text: The YAML.
        where: Names its file in errors.
        overrides: As in `load_sweep`.
        own: As in `load_sweep`.
        folder: What relative paths in it start from; None for the current folder.
    """
    document = read_yaml(text, where)
    for key, value in (overrides or {}).items():
        _lay_over(document, key, value)
    spec = validate(SweepSpec, document, where)
    find = _Finder(tuple(own), where)
    named: dict[str, Any] = {key: find.all(key, getattr(spec, key)) for key in ("datasets", "sources", "targets")}
    if spec.encoder.name not in ENCODERS:
        mend = near_miss(spec.encoder.name, ENCODERS)
        raise InputError(f"unknown encoder '{spec.encoder.name}'", where=f"{where}: encoder", mend=mend)
    for index, method in enumerate(spec.methods):
        with located(f"{where}: methods.{index}"):
            hyper_parameters(*split_method(method))
    spec = spec.model_copy(update=named)
    for key in spec.resources.by_method:
        find.method(spec, f"resources.by_method.{key}", key)
    check_protocol(spec, where, find.infos)
    start = Path.cwd() if folder is None else folder
    settled: dict[str, Any] = {
        "encoder": spec.encoder.model_copy(
            update={key: _absolute(getattr(spec.encoder, key), start) for key in ("weights", "text_model")}
        ),
        "neighbors": {
            find.one_of(spec.trained_on, f"neighbors.{name}", name): _absolute(path, start)
            for name, path in spec.neighbors.items()
        },
        "folds": _folds(spec, find, f"{where}: folds"),
        "budgets": {find.study(spec, f"budgets.{key}", key): value for key, value in spec.budgets.items()},
        "priorities": {find.study(spec, f"priorities.{key}", key): value for key, value in spec.priorities.items()},
        "spaces": _spaces(spec, where),
    }
    return spec.model_copy(update=settled)


def _spaces(spec: SweepSpec, where: str) -> dict[str, dict[str, Dimension]]:
    """The complete space of every baseline in use, and SEPT's where some method has it."""
    methods = [split_method(method) for method in spec.methods]
    used = {baseline: hyper_parameters(baseline, False) for baseline, _ in methods}
    plugged = next((baseline for baseline, sept in methods if sept), None)
    if plugged:
        both = hyper_parameters(plugged, True)
        used["sept"] = {name: both[name] for name in both if name not in used[plugged]}
    for part in spec.spaces:
        if part not in used:
            raise InputError(f"no method of this sweep uses '{part}'", where=f"{where}: spaces.{part}")
    spaces = {}
    for part, declared in used.items():
        shipped = files("search_spaces").joinpath(f"{part}.yaml")
        space: dict[str, Dimension] = {}
        if shipped.is_file():
            text = shipped.read_text(encoding="utf-8")
            space |= validate(_SpaceFile, read_yaml(text, shipped.name), shipped.name).space
            _check_space(space, declared, f"{shipped.name}: space")
        overrides = spec.spaces.get(part, {})
        _check_space(overrides, declared, f"{where}: spaces.{part}")
        if space | overrides:
            spaces[part] = space | overrides
    return spaces


def _check_space(space: Mapping[str, Dimension], declared: Mapping[str, HyperParameter], where: str) -> None:
    """Every hyper-parameter is known, and every value that it can take is allowed.

    Raises:
        InputError: Naming the place, the value, and what is known or allowed.
    """
    for name, dimension in space.items():
        if name not in declared:
            raise InputError(
                f"unknown hyper-parameter '{name}'", where=f"{where}.{name}", mend=near_miss(name, declared)
            )
        parameter = declared[name]
        if parameter.kind is str and dimension.low is not None:
            raise InputError("a range of words", where=f"{where}.{name}", mend="use choices: [...]")
        for value in dimension.extremes:
            parameter.check(value, f"{where}.{name}")
        if parameter.kind is int and dimension.step is not None and dimension.step != int(dimension.step):
            raise InputError(f"{dimension.step} is not a whole number", where=f"{where}.{name}.step")


class _Finder:
    """Datasets by the names that a person writes, with errors that say where they stand."""

    def __init__(self, own: tuple[DatasetInfo, ...], where: str) -> None:
        self.infos: dict[str, DatasetInfo] = {}
        self._own = own
        self._where = where

    def one(self, key: str, name: str) -> str:
        with located(f"{self._where}: {key}"):
            info = get_dataset(name, self._own)
        self.infos[info.name] = info
        return info.name

    def one_of(self, known: Sequence[str], key: str, name: str) -> str:
        found = self.one(key, name)
        if found not in known:
            mend = f"those of this sweep: {', '.join(known)}"
            raise InputError(f"'{name}' is no dataset of this sweep", where=f"{self._where}: {key}", mend=mend)
        return found

    def method(self, spec: SweepSpec, key: str, name: str) -> str:
        known = [*spec.methods, *(split_method(method)[0] for method in spec.methods)]
        if name not in known:
            mend = near_miss(name, known)
            raise InputError(f"'{name}' is no method of this sweep", where=f"{self._where}: {key}", mend=mend)
        return name

    def study(self, spec: SweepSpec, key: str, name: str) -> str:
        """A study (``ESC50.coop+sept``), a method, or a dataset of the sweep, as the spec spells it."""
        if name in spec.methods:
            return name
        dataset, dot, method = name.rpartition(".")
        if dot and method in spec.methods:
            return f"{self.one_of(spec.trained_on, key, dataset)}.{method}"
        return self.one_of(spec.trained_on, key, name)

    def all(self, key: str, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.one(f"{key}.{index}", name) for index, name in enumerate(names))


def _absolute(place: str | None, folder: Path) -> str | None:
    """A local path as seen from anywhere, since workers may run in another folder; addresses stay as they are."""
    if place is None or "://" in place or place.startswith("hub:"):
        return place
    return str((folder / Path(place).expanduser()).absolute())


def _folds(spec: SweepSpec, find: _Finder, where: str) -> str | dict[str, tuple[str, ...]]:
    if isinstance(spec.folds, str):
        return spec.folds
    canonical = {}
    for name, chosen in spec.folds.items():
        info = find.infos[find.one_of(spec.trained_on, f"folds.{name}", name)]
        for fold in chosen:
            if fold not in info.folds:
                mend = near_miss(fold, info.folds)
                raise InputError(f"{info.name} has no fold '{fold}'", where=f"{where}.{name}", mend=mend)
        canonical[info.name] = chosen
    return canonical


def _lay_over(document: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = document.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise InputError(f"'{parent}' holds no keys", where=f"override {key}", mend="name a key that the file has")
        document = inner
    document[last] = value
