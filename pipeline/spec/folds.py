"""The test folds of a sweep: those in its file and, if each has its own study, all of them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pipeline.spec.problems import Problems
from pipeline.spec.read import located
from pipeline.spec.sweep import SweepSpec
from sept_core.datasets import DatasetInfo, usable_folds
from sept_core.datasets.pretraining import load_pretraining
from sept_core.errors import InputError
from sept_core.suggestions import known_words
from sept_core.trial_config import study_key_of

__all__ = ["fold_problems", "strict_folds"]


def fold_problems(
    given: Mapping[str, tuple[str, ...]], infos: Mapping[str, DatasetInfo], place: Callable[[str], str]
) -> Iterator[InputError]:
    """Errors in the folds that a file names.

    Args:
        given: Folds by canonical name of the dataset.
        infos: Descriptions of the datasets.
        place: Formats a key of the file for errors.
    """
    for name, chosen in given.items():
        known, where = infos[name].folds, place(f"folds.{name}")
        for fold in chosen:
            if fold not in known:
                yield InputError(f"{name} has no fold '{fold}'", where=where, fix=known_words(fold, known))
        if not chosen:
            yield InputError("no fold", where=where, fix="name one, or leave the dataset out for all folds")
        if len(set(chosen)) != len(chosen):
            yield InputError("the same fold twice", where=where, fix="name each once")


def strict_folds(
    spec: SweepSpec,
    given: Mapping[str, tuple[str, ...]],
    infos: Mapping[str, DatasetInfo],
    place: Callable[[str], str],
    problems: Problems,
) -> dict[str, tuple[str, ...]]:
    """The folds of every dataset that has studies, by name: ``selection: strict`` makes a study of each.

    ``all`` can be expanded before anything is loaded: the registry (or the description of the user's own dataset) has
    the folds, and the package knows what its encoders were trained on. A loaded spec, and so the stored one, names
    them, so that later releases read the same studies.

    Args:
        spec: The sweep, its datasets by their canonical names.
        given: The folds that the file names, by dataset.
        infos: Descriptions of the datasets.
        place: Formats a key of the file for errors.
        problems: Collects the errors.
    """
    # Encoders are compared on the same folds: those that none of them was trained on.
    trained = [load_pretraining(encoder).folds for encoder in spec.encoders]
    folds = {}
    for name in spec.trained_on:
        with problems.kept(), located(f"{place('folds')}: {name}"):
            seen = [fold for own in trained for fold in own.get(name, ())]
            folds[name] = given.get(name) or usable_folds(infos[name], seen)
            _check_distinct(folds[name])
    return folds


def _check_distinct(folds: tuple[str, ...]) -> None:
    """Check that no two folds share a folder, also on case-insensitive disks."""
    first: dict[str, str] = {}
    for fold in folds:
        other = first.setdefault(study_key_of("", fold).lower(), fold)
        if other != fold:
            raise InputError(
                f"folds '{other}' and '{fold}' differ only in upper and lower case", fix="rename one in the CSV"
            )
