"""A row of a report: a method on a dataset with its numbers, and the trials that were chosen for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.reports.accuracies import Accuracy, Score
from pipeline.reports.activity import Activity
from pipeline.text import method_title, without_sept
from sept_core.correct_counts import Tested
from sept_core.protocol_facts import protocol_of

__all__ = [
    "OVER_ALL_FOLDS",
    "PAPER_WARNING",
    "Accuracy",
    "Chosen",
    "FewShotRow",
    "FoldChoice",
    "ForUse",
    "Matched",
    "Origin",
    "Row",
    "Score",
    "TransferRow",
    "merged",
    "method_title",
    "warning_of",
]

OVER_ALL_FOLDS = (
    "chosen on validation clips of all folds, which include test clips of other folds: probably too good for unseen "
    "data; the row of the table is the estimate, for the search and its choice"
)
"""Shown with the test accuracy of a configuration that is best over several folds."""

PAPER_WARNING = "CHOSEN ON TEST CLIPS (selection: paper): not an estimate for unseen data"
"""Shown with every number that was chosen on test clips."""


@dataclass(frozen=True)
class FoldChoice:
    """The trial that was chosen for a test fold.

    Attributes:
        study: Its study.
        params: The searched hyper-parameters; empty if nothing was searched.
        activity: How much SEPT acted; None without SEPT, and for results of earlier releases that do not say it.
    """

    fold: str
    study: str
    number: int
    signature: str
    params: dict[str, int | float | str]
    activity: Activity | None = None


@dataclass(frozen=True)
class Origin:
    """The software and the machine that computed a trial."""

    versions: dict[str, str]
    machine: str


@dataclass(frozen=True)
class Matched:
    """A row as its gain compares it, if its twin has fewer trials: chosen among the same number of trials as the twin.

    Attributes:
        compared: By test fold, the number of first ended trials among which the choice was made.
        choices, replicas, tested: As in `Chosen`.
    """

    compared: dict[str, int]
    choices: tuple[FoldChoice, ...]
    replicas: tuple[dict[str, Any], ...] = field(repr=False)
    tested: Tested = field(repr=False)


@dataclass(frozen=True)
class Chosen:
    """One row: for each test fold the replicas of the trial that was chosen for it (``pipeline.search.selection``).

    Attributes:
        study: Name of the row, such as ``ESC10.mini.base-to-new.coop``: its study. With ``selection: strict`` it has a
            study for each test fold, whose name begins with this.
        dataset: Cross-dataset: the source.
        choices: One for each test fold, in the order of ``folds``.
        selection: How trials were chosen, as in ``TrialConfig``.
        replicas: One mapping per fold and seed, as in ``TrialResult``.
        warnings: Warnings about the data, as in ``TrialResult``.
        trials: Number of trials by state (``finished``, ``pruned``, ``failed``), of all studies of the row.
        per_fold: With ``selection: strict`` the number of ended trials by test fold; otherwise empty.
        ended: Number of ended trials by test fold.
        matched: What the gain of the row compares; None if that is the row itself.
        origins: The software and machines of the chosen trials, each once.
        tested: Which test clips were right, by fold and source, as in ``TrialResult``.
    """

    study: str
    dataset: str
    encoder: str
    protocol: str
    selection: str
    method: str
    choices: tuple[FoldChoice, ...]
    shots: int
    folds: tuple[str, ...]
    seeds: tuple[int, ...]
    replicas: tuple[dict[str, Any], ...] = field(repr=False)
    trials: dict[str, int]
    per_fold: dict[str, int]
    ended: dict[str, int]
    matched: Matched | None
    origins: tuple[Origin, ...]
    warnings: tuple[str, ...]
    tested: Tested = field(repr=False)

    @property
    def baseline(self) -> str:
        """The method without SEPT."""
        return without_sept(self.method)

    @property
    def searched(self) -> bool:
        """Whether any hyper-parameter was searched."""
        return any(choice.params for choice in self.choices)

    @property
    def trials_shown(self) -> str:
        """The number of trials of the row as in a table: ``20``, or with ``strict`` ``20 a fold``."""
        if not self.per_fold:
            return str(sum(self.trials.values()))
        least, most = min(self.per_fold.values()), max(self.per_fold.values())
        return f"{least} a fold" if least == most else f"{least}-{most} a fold"

    @property
    def merged(self) -> tuple[tuple[FoldChoice, tuple[str, ...]], ...]:
        """Every chosen trial once, with the test folds that it was chosen for."""
        return merged(self.choices)

    @property
    def headline(self) -> float:
        """The test accuracy by which rows are compared."""
        return self.estimate[protocol_of(self.protocol).headline]

    @property
    def estimate(self) -> dict[str, float]:
        """The accuracies of the row by name: ``val``, and those on test clips."""
        raise NotImplementedError

    @property
    def measured(self) -> dict[str, Any]:
        """All of its accuracies as plain values: ``validation`` and ``test``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Row(Chosen):
    """A row of base-to-new.

    Attributes:
        validation: The replicas on their validation clips, by which the trials were chosen.
        test: The same replicas on test clips, which the choice does not use, except with ``selection: paper``.
    """

    validation: Accuracy
    test: Accuracy

    @property
    def estimate(self) -> dict[str, float]:
        """See `Chosen`."""
        numbers = {"val": self.validation.h, "base": self.test.base, "new": self.test.new, "h": self.test.h}
        # Results of earlier releases do not have `all`.
        return numbers if self.test.all is None else numbers | {"all": self.test.all}

    @property
    def measured(self) -> dict[str, Any]:
        """See `Chosen`."""
        return {"validation": asdict(self.validation), "test": asdict(self.test)}


@dataclass(frozen=True)
class FewShotRow(Chosen):
    """A row of few-shot: trained on all classes, tested on all.

    Attributes:
        validation: Accuracy on held-out clips, by which the trials were chosen.
        test: On test clips, which the choice does not use, except with ``selection: paper``.
    """

    validation: float
    test: Score

    @property
    def estimate(self) -> dict[str, float]:
        """See `Chosen`."""
        return {"val": self.validation, "accuracy": self.test.accuracy}

    @property
    def measured(self) -> dict[str, Any]:
        """See `Chosen`."""
        return {"validation": self.validation, "test": asdict(self.test)}


@dataclass(frozen=True)
class TransferRow(Chosen):
    """A row of cross-dataset: trained on one source, tested on it and on every target.

    Attributes:
        validation: Accuracy on held-out clips of the source, by which the trials were chosen.
        source: On test clips of the source.
        targets: On test clips of each target, by name.
        mean: Mean accuracy over the targets.
        mean_std: Its sample standard deviation over replicas.
    """

    validation: float
    source: Score
    targets: dict[str, Score]
    mean: float
    mean_std: float

    @property
    def estimate(self) -> dict[str, float]:
        """See `Chosen`."""
        return {"val": self.validation, "source": self.source.accuracy, "targets": self.mean}

    @property
    def measured(self) -> dict[str, Any]:
        """See `Chosen`."""
        targets = {name: asdict(score) for name, score in self.targets.items()}
        test = {"source": asdict(self.source), "targets": targets, "mean": self.mean, "mean_std": self.mean_std}
        return {"validation": self.validation, "test": test}


@dataclass(frozen=True)
class ForUse:
    """The best configuration of a study, to be used: the finished trial that is best over all of its folds.

    Attributes:
        study: Key of the study.
        row: Its row, as in `Chosen.study`.
        folds: Test folds of its replicas.
        validation, test: Averages of the trial, named as in ``TrialResult``. With several folds this choice has used
            test clips, so ``test`` is no estimate: the row is, for the procedure.
        caution: A sentence about this; empty with one fold.
    """

    study: str
    row: str
    dataset: str
    encoder: str
    method: str
    selection: str
    number: int
    signature: str
    params: dict[str, int | float | str]
    folds: tuple[str, ...]
    validation: dict[str, float]
    test: dict[str, float]
    caution: str


def merged(choices: Iterable[FoldChoice]) -> tuple[tuple[FoldChoice, tuple[str, ...]], ...]:
    """Every chosen trial once, with the test folds that it was chosen for."""
    found: dict[tuple[str, int], list[FoldChoice]] = {}
    for choice in choices:
        found.setdefault((choice.study, choice.number), []).append(choice)
    return tuple((same[0], tuple(choice.fold for choice in same)) for same in found.values())


def warning_of(selection: str) -> str:
    """The warning for numbers of this selection; empty unless they were chosen on test clips."""
    return PAPER_WARNING if selection == "paper" else ""
