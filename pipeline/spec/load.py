"""Reads the file of a sweep, completes its spaces (``spaces.py``), and checks everything against the code.

A loaded spec has complete spaces, so that the stored spec contains everything that the search depends on, even if the
packaged files change later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pipeline.spec.check_axes import axis_problems
from pipeline.spec.check_protocol import protocol_problems
from pipeline.spec.folds import fold_problems, strict_folds
from pipeline.spec.presets import take_training
from pipeline.spec.problems import Problems, validate_most
from pipeline.spec.read import located, read_yaml
from pipeline.spec.spaces import cell_problems, complete_spaces
from pipeline.spec.sweep import SweepSpec
from pipeline.text import masked
from sept_core.datasets import DatasetInfo, get_dataset
from sept_core.encoders import known_encoder
from sept_core.errors import InputError
from sept_core.methods import check_method, split_method
from sept_core.suggestions import known_words, nearest_hint

__all__ = ["load_sweep", "parse_sweep", "shipped_sweeps"]

_V = TypeVar("_V")
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_SWEEPS = files("search_spaces").joinpath("sweeps")


def load_sweep(
    source: str | Path, overrides: Mapping[str, Any] | None = None, own: Iterable[DatasetInfo] = ()
) -> SweepSpec:
    """Read a sweep, complete its spaces, and check all of it against the code.

    Args:
        source: A YAML file, or the name of a sweep that ships with the package, such as ``quickstart``.
        overrides: Values that replace the file's, by dotted key, such as ``{"trials": 16, "training.epochs": 50}``.
        own: The user's own datasets, which the sweep may name like registered ones.

    Raises:
        InputError: All its errors, each in one line with file, key, value and what to do.
    """
    path = Path(source)
    if not path.exists() and _WORD.fullmatch(str(source)):
        packaged = _SWEEPS.joinpath(f"{source}.yaml")
        if packaged.is_file():
            return parse_sweep(packaged.read_text(encoding="utf-8"), packaged.name, overrides, own)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        near = nearest_hint(str(source), _sweeps_near(path)) if isinstance(error, FileNotFoundError) else ""
        shipped = f"a YAML file, or the name of a sweep that ships: {', '.join(shipped_sweeps())}"
        raise InputError(f"cannot read the sweep: {reason}", where=str(path), fix=f"{near}give {shipped}") from error
    return parse_sweep(text, str(path), overrides, own, folder=path.parent)


def _sweeps_near(path: Path) -> list[str]:
    """Suggestions for a missing file: the YAML files in its folder, and the sweeps that ship."""
    try:
        beside = sorted(file for file in path.parent.iterdir() if file.suffix.lower() in (".yaml", ".yml"))
    except OSError:
        beside = []
    return [*shipped_sweeps(), *(str(file) for file in beside)]


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
    *,
    stored: bool = False,
) -> SweepSpec:
    """`load_sweep` of text already read.

    Args:
        text: The YAML.
        where: Names the file in errors.
        overrides: As in `load_sweep`.
        own: As in `load_sweep`.
        folder: The folder of relative paths; None for the current folder.
        stored: Whether it was read from a store: it may contain things that are refused in new sweeps.
    """
    document = read_yaml(text, where)
    for key, value in (overrides or {}).items():
        _lay_over(document, key, value)
    problems = Problems()
    take_training(document, where, problems)
    spec, unsure = validate_most(document, where, problems)
    find = _Finder(tuple(own), where, problems)
    named: dict[str, Any] = {key: find.all(key, getattr(spec, key)) for key in ("datasets", "sources", "targets")}
    named["methods"] = _methods(spec, where, problems)
    unsure |= {key for key, known in named.items() if len(known) < len(getattr(spec, key))}
    spec = spec.model_copy(update=named)
    with problems.kept(), located(f"{where}: encoder"):
        known_encoder(spec.encoder.name)
    if not stored:
        problems.add(*_secrets(spec, where))
        if spec.ablation is not None:
            fix = "leave it out; sept ablate SWEEP STUDY makes and launches such a sweep"
            problems.add(InputError("only sept ablate writes this key", where=f"{where}: ablation", fix=fix))
    data_known = not unsure & {"protocol", "selection", "datasets", "sources", "targets"}
    studies_known = data_known and "methods" not in unsure
    if data_known:
        problems.add(*protocol_problems(spec, where, find.infos))
    start = Path.cwd() if folder is None else folder
    # Keys that name studies are checked only if the studies are known.
    settled: dict[str, Any] = {
        "encoder": spec.encoder.model_copy(
            update={key: _absolute(getattr(spec.encoder, key), start) for key in ("weights", "text_model")}
        )
    }
    if "methods" not in unsure and data_known:
        wrong = list(axis_problems(spec, where))
        problems.add(*wrong)
        settled["axes"] = {} if wrong else _axes(spec, start)
        spec = spec.model_copy(update={"axes": settled["axes"]})
    if data_known:
        paths = find.keyed("neighbors", spec.neighbors, lambda key, name: find.one_of(spec.trained_on, key, name))
        settled["neighbors"] = {name: _absolute(path, start) for name, path in paths.items()}
        settled["folds"] = _folds(spec, find, problems)
        known = (*spec.trained_on, *spec.targets)
        accepted = dict.fromkeys(spec.accept_faulty_splits)
        accepted = find.keyed("accept_faulty_splits", accepted, lambda key, name: find.one_of(known, key, name))
        settled["accept_faulty_splits"] = tuple(accepted)
    settled["spaces"] = complete_spaces(spec, where, problems, unsure)
    if "methods" not in unsure:
        find.keyed("resources.by_method", spec.resources.by_method, partial(find.method, spec))
    if studies_known:
        for key in ("budgets", "priorities"):
            settled[key] = find.keyed(key, getattr(spec, key), partial(find.study, spec))
    problems.refuse()
    spec = spec.model_copy(update=settled)
    if spec.axes or spec.variants:
        problems.add(*cell_problems(spec, where))
        problems.refuse()
    return spec


def _secrets(spec: SweepSpec, where: str) -> Iterator[InputError]:
    """Errors for addresses with a user or password: everybody who can read the results can read the stored spec."""
    places = {"encoder.weights": spec.encoder.weights, "encoder.text_model": spec.encoder.text_model}
    places |= {f"neighbors.{name}": place for name, place in spec.neighbors.items()}
    for axis in ("neighbors", "encoder"):
        for label, value in spec.axes.get(axis, {}).items():
            inner = value.items() if isinstance(value, dict) else [("", value)]
            places |= {f"axes.{axis}.{label} {key}".rstrip(): one for key, one in inner if isinstance(one, str)}
    for key, place in places.items():
        if place is not None and masked(place) != place:
            what = f"'{masked(place)}' carries a user, password or token, which would be stored with the sweep"
            yield InputError(what, where=f"{where}: {key}", fix="leave it out; AWS keys are read from the environment")


def _methods(spec: SweepSpec, where: str, problems: Problems) -> tuple[str, ...]:
    """The valid methods."""
    known = []
    for index, method in enumerate(spec.methods):
        with problems.kept(), located(f"{where}: methods.{index}"):
            check_method(method, spec.protocol)
            known.append(method)
    return tuple(known)


class _Finder:
    """Finds datasets by the names in the file, with errors that name their place in it."""

    def __init__(self, own: tuple[DatasetInfo, ...], where: str, problems: Problems) -> None:
        self.infos: dict[str, DatasetInfo] = {}
        self._own = own
        self._where = where
        self._problems = problems

    def place(self, key: str) -> str:
        """A key of the file, formatted for errors."""
        return f"{self._where}: {key}"

    def one(self, key: str, name: str) -> str:
        with located(self.place(key)):
            info = get_dataset(name, self._own)
        self.infos[info.name] = info
        return info.name

    def one_of(self, known: Sequence[str], key: str, name: str) -> str:
        found = self.one(key, name)
        if found not in known:
            fix = f"those of this sweep: {', '.join(known)}"
            raise InputError(f"'{name}' is not a dataset of this sweep", where=self.place(key), fix=fix)
        return found

    def method(self, spec: SweepSpec, key: str, name: str) -> str:
        known = [*spec.methods, *(split_method(method)[0] for method in spec.methods)]
        if name not in known:
            fix = known_words(name, dict.fromkeys(known))
            raise InputError(f"'{name}' is not a method of this sweep", where=self.place(key), fix=fix)
        return name

    def study(self, spec: SweepSpec, key: str, name: str) -> str:
        """A study (``ESC50.coop+sept``), a method, or a dataset of the sweep, in its spelling."""
        if name in spec.methods:
            return name
        dataset, dot, method = name.rpartition(".")
        try:
            if dot and method in spec.methods:
                return f"{self.one_of(spec.trained_on, key, dataset)}.{method}"
            return self.one_of(spec.trained_on, key, name)
        except InputError as error:
            if not error.what.startswith("unknown dataset"):
                raise
            words = [*spec.methods, *spec.trained_on]
            studies = [f"{one}.{how}" for one in spec.trained_on for how in spec.methods]
            raise InputError(
                f"'{name}' is not a method, dataset or study of this sweep",
                where=self.place(key),
                fix=f"{nearest_hint(name, [*words, *studies])}known: {', '.join(words)}",
            ) from error

    def all(self, key: str, names: Sequence[str]) -> tuple[str, ...]:
        """The known ones of these names, in their registered spelling."""
        found = []
        for index, name in enumerate(names):
            with self._problems.kept():
                found.append(self.one(f"{key}.{index}", name))
        return tuple(found)

    def keyed(self, key: str, given: Mapping[str, _V], find: Callable[[str, str], str]) -> dict[str, _V]:
        """A mapping with its keys replaced by what they mean; two keys with the same meaning are refused."""
        found: dict[str, _V] = {}
        for name, value in given.items():
            with self._problems.kept():
                right = find(f"{key}.{name}", name)
                if right in found:
                    raise InputError(
                        f"'{right}' is given twice", where=self.place(f"{key}.{name}"), fix="keep one of them"
                    )
                found[right] = value
        return found


def _absolute(place: str | None, folder: Path) -> str | None:
    """The absolute form of a local path, since workers may run in another folder; addresses stay as they are."""
    if place is None or "://" in place or place.startswith(("hub:", "control:")):
        return place
    return str((folder / Path(place).expanduser()).absolute())


def _axes(spec: SweepSpec, folder: Path) -> dict[str, dict[str, Any]]:
    """The axes, their paths absolute."""
    return {
        axis: {label: _axis_value(spec, axis, value, folder) for label, value in values.items()}
        for axis, values in spec.axes.items()
    }


def _axis_value(spec: SweepSpec, axis: str, value: Any, folder: Path) -> Any:
    """A value on an axis, its paths absolute."""
    if axis == "neighbors" and isinstance(value, str | dict):
        paths = value if isinstance(value, dict) else dict.fromkeys(spec.trained_on, value)
        return {name: _absolute(path.replace("{dataset}", name), folder) for name, path in paths.items()}
    if axis == "encoder" and isinstance(value, dict):
        return {key: path if key == "name" else _absolute(path, folder) for key, path in value.items()}
    return value


def _folds(spec: SweepSpec, find: _Finder, problems: Problems) -> str | dict[str, tuple[str, ...]]:
    named = {} if isinstance(spec.folds, str) else spec.folds
    given = find.keyed("folds", named, lambda key, name: find.one_of(spec.trained_on, key, name))
    wrong = list(fold_problems(given, find.infos, find.place))
    problems.add(*wrong)
    if spec.selection == "strict" and not wrong:
        return strict_folds(spec, given, find.infos, find.place, problems)
    return spec.folds if isinstance(spec.folds, str) else given


def _lay_over(document: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if document.get(parent) is None:
            document[parent] = {}
        inner = document[parent]
        if not isinstance(inner, dict):
            raise InputError(f"'{parent}' has no keys", where=f"override {key}", fix="name a key that the file has")
        document = inner
    document[last] = value
