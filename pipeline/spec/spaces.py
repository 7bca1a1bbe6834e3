"""The search spaces of a sweep: the ones that ship, its presets and its own, checked against the hyper-parameters.

The space of a study is that of its baseline in ``search_spaces/``, plus those of its modifiers, such as ``sept.yaml``,
overridden key by key first by its preset and then by the sweep's own ``spaces``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files

from pydantic import ValidationError

from pipeline.spec.models import Dimension, Model
from pipeline.spec.presets import check_presets
from pipeline.spec.problems import Problems
from pipeline.spec.read import read_yaml, validate
from pipeline.spec.sweep import SweepSpec
from sept_core.errors import InputError
from sept_core.hyper import HyperParameter
from sept_core.learners import LEARNERS
from sept_core.methods import hyper_by_part
from sept_core.suggestions import known_words

__all__ = ["cell_problems", "complete_spaces"]


class _SpaceFile(Model):
    space: dict[str, Dimension]


def complete_spaces(
    spec: SweepSpec, where: str, problems: Problems, unsure: set[str]
) -> dict[str, dict[str, Dimension]]:
    """The complete space of every part of the methods in use: baselines, modifiers, SEPT."""
    by_method = [hyper_by_part(method) for method in spec.methods]
    used = {part: declared for parts in by_method for part, declared in parts.items()}
    baselines = tuple(dict.fromkeys(next(iter(parts)) for parts in by_method))
    for part, space in spec.spaces.items():
        place = f"{where}: spaces.{part}"
        if part not in used and "methods" not in unsure:
            problems.add(InputError(f"no method of this sweep uses '{part}'", where=place, fix=known_words(part, used)))
        elif part not in used and part in LEARNERS:
            _checked_space(space, hyper_by_part(part)[part], place, problems)
    taken = check_presets(spec.presets, baselines, where, problems)
    spaces = {}
    for part, declared in used.items():
        shipped = files("search_spaces").joinpath(f"{part}.yaml")
        space = {}
        if shipped.is_file():
            text = shipped.read_text(encoding="utf-8")
            of_file = validate(_SpaceFile, read_yaml(text, shipped.name), shipped.name).space
            space |= _checked_space(of_file, declared, f"{shipped.name}: space", problems)
        if part in taken:
            space |= _checked_space(taken[part].space, declared, f"presets.yaml: {spec.presets[part]}", problems)
        space |= _checked_space(spec.spaces.get(part, {}), declared, f"{where}: spaces.{part}", problems)
        epochs = None if "training" in unsure else spec.training.epochs
        problems.add(*_contradictions(space, epochs, f"{where}: spaces.{part}"))
        if space:
            spaces[part] = space
    return spaces


def cell_problems(spec: SweepSpec, where: str) -> Iterator[InputError]:
    """The combinations in the cells of a sweep with axes or variants that no trial can use, each reason once."""
    found: dict[str, InputError] = {}
    for study in spec.studies():
        for problem in _contradictions(study.space, spec.training.epochs, f"{where}: {study.method_in_cell}"):
            found.setdefault(problem.what, problem)
    yield from found.values()


def _contradictions(space: Mapping[str, Dimension], epochs: int | None, where: str) -> Iterator[InputError]:
    """Combinations that no trial can use, found before an encoder is loaded."""
    start, length, warmup = (space.get(name) for name in ("context_init", "n_ctx", "warmup_epochs"))
    starts = {"random"} if start is None else set(start.extremes)
    if starts != {"random"} and length is not None and length.searched:
        words = next(str(one) for one in start.extremes if one != "random") if start else ""
        yield InputError(
            f"n_ctx is searched, and the context starts from the words '{words}', which have a length",
            where=f"{where}.n_ctx",
            fix="use n_ctx: {fixed: 0} for their length, or context_init: {fixed: random}",
        )
    texts = starts - {"random"}
    if len(texts) > 1 and length is not None and not length.searched and length.constant != 0:
        yield InputError(
            f"n_ctx is {length.constant}, and the context starts from {len(texts)} texts of different lengths",
            where=f"{where}.n_ctx",
            fix="use n_ctx: {fixed: 0} for their length",
        )
    if "random" in starts and length is not None and 0 in length.extremes:
        fix = "give n_ctx a length, or context_init words"
        yield InputError("a random context of no tokens", where=f"{where}.n_ctx", fix=fix)
    if warmup is not None and epochs is not None and max(map(float, warmup.extremes)) >= epochs:
        yield InputError(
            f"all {epochs} epochs would be warm-up, so nothing is trained at lr",
            where=f"{where}.warmup_epochs",
            fix="lower it, or train longer",
        )


def _checked_space(
    space: Mapping[str, Dimension], declared: Mapping[str, HyperParameter], where: str, problems: Problems
) -> dict[str, Dimension]:
    """The dimensions whose hyper-parameter is known and allows all their values."""
    checked = {}
    for name, dimension in space.items():
        place = f"{where}.{name}"
        with problems.kept():
            if name not in declared:
                fix = known_words(name, sorted(declared))
                raise InputError(f"unknown hyper-parameter '{name}'", where=place, fix=fix)
            checked[name] = _checked(dimension, declared[name], place)
    return checked


def _checked(dimension: Dimension, parameter: HyperParameter, where: str) -> Dimension:
    """The dimension, with numbers if the hyper-parameter is numeric.

    Raises:
        InputError: With the place, the value, and what is allowed.
    """
    if parameter.kind is str:
        if dimension.low is not None:
            raise InputError("a range of words", where=where, fix="use choices: [...]")
    else:
        try:
            dimension = dimension.with_numbers()
        except ValidationError as error:
            raise InputError("choices repeat a value", where=where, fix="name each number once") from error
    for value in dimension.extremes:
        parameter.check(value, where)
    if parameter.kind is int and dimension.step is not None and dimension.step != int(dimension.step):
        raise InputError(f"{dimension.step} is not a whole number", where=f"{where}.step")
    return dimension
