"""What a report consists of: the best trial of each study with its numbers, and what SEPT changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.report.paired import PairedTest

__all__ = [
    "PAPER_WARNING",
    "Accuracy",
    "Chosen",
    "Gain",
    "Row",
    "Score",
    "SweepTable",
    "TransferGain",
    "TransferRow",
    "method_title",
    "warning_of",
]

_TITLES = {"coop": "CoOp", "cocoop": "CoCoOp", "kgcoop": "KgCoOp", "dept": "DePT"}

PAPER_WARNING = "CHOSEN ON TEST CLIPS (selection: paper): not an estimate for unseen data"
"""Goes with every number that was chosen by looking at test clips."""


@dataclass(frozen=True)
class Accuracy:
    """Percent over a trial's replicas (folds x seeds): means and sample standard deviations.

    Attributes:
        h: Mean of the replicas' harmonic means of base and new; the headline.
        h_of_means: Harmonic mean of the mean base and the mean new accuracy, as papers often print it.
        base_f1, new_f1: Macro F1, means over replicas.
        all: Of test clips of both groups ranked among all names, base and new; None for results of earlier releases,
            which did not measure that.
        all_base, all_new, all_h: The same of base clips and of new clips, and the mean of the replicas' harmonic means
            of the two.
        all_f1: Macro F1 over all names.
    """

    base: float
    new: float
    h: float
    base_std: float
    new_std: float
    h_std: float
    h_of_means: float
    base_f1: float
    new_f1: float
    all: float | None = None
    all_base: float | None = None
    all_new: float | None = None
    all_h: float | None = None
    all_std: float | None = None
    all_base_std: float | None = None
    all_new_std: float | None = None
    all_h_std: float | None = None
    all_f1: float | None = None

    @classmethod
    def of(cls, metrics: Mapping[str, float]) -> Accuracy:
        """From the metrics of a ``TrialResult``."""
        measured = [name for name in cls.__dataclass_fields__ if name in metrics or not name.startswith("all")]
        return cls(**{name: metrics[name] for name in measured})


@dataclass(frozen=True)
class Score:
    """Percent over a trial's replicas on one dataset: mean accuracy, its sample standard deviation, macro F1."""

    accuracy: float
    std: float
    f1: float

    @classmethod
    def of(cls, metrics: Mapping[str, float], name: str) -> Score:
        """From the metrics of a ``TrialResult``."""
        return cls(metrics[name], metrics[f"{name}_std"], metrics[f"{name}_f1"])


@dataclass(frozen=True)
class Chosen:
    """One study: its best member and how many trials stand behind the choice.

    Attributes:
        dataset: Cross-dataset: the source.
        params: What the search chose; empty where there was nothing to search.
        selection: What the search measured trials on, as in ``TrialConfig``.
        replicas: One mapping per fold and seed, as in ``TrialResult``.
        warnings: What a reader has to know of the data, as in ``TrialResult``.
        trials: Trials by state (``finished``, ``pruned``, ``failed``).
    """

    study: str
    dataset: str
    encoder: str
    protocol: str
    selection: str
    method: str
    number: int
    signature: str
    params: dict[str, int | float | str]
    shots: int
    folds: tuple[str, ...]
    seeds: tuple[int, ...]
    replicas: tuple[dict[str, Any], ...]
    trials: dict[str, int]
    versions: dict[str, str]
    machine: str
    warnings: tuple[str, ...]

    @property
    def baseline(self) -> str:
        """The method without SEPT."""
        return self.method.removesuffix("+sept")


@dataclass(frozen=True)
class Row(Chosen):
    """A study of base-to-new.

    Attributes:
        validation: What the member was chosen by.
        test: On test clips; never looked at in choosing, except by ``selection: paper``.
    """

    validation: Accuracy
    test: Accuracy


@dataclass(frozen=True)
class TransferRow(Chosen):
    """A study of cross-dataset: trained on one source, tested on it and on every target.

    Attributes:
        validation: Accuracy on the source's held-out clips, which the member was chosen by.
        source: On the source's test clips.
        targets: On each target's test clips, by name.
        mean: Mean accuracy over the targets.
        mean_std: Its sample standard deviation over replicas.
    """

    validation: float
    source: Score
    targets: dict[str, Score]
    mean: float
    mean_std: float


@dataclass(frozen=True)
class Gain:
    """SEPT minus its baseline on test clips, in points: mean and spread of the differences replica by replica.

    Both train on the same draws of the same folds, so the differences are paired.

    Attributes:
        tests: Of each of the three, by name.
        p_holm: The p value of H over replicas, corrected for all gains of the sweep.
        p_folds_holm: The same of H over whole folds.
    """

    dataset: str
    baseline: str
    replicas: int
    base: float
    new: float
    h: float
    base_std: float
    new_std: float
    h_std: float
    tests: dict[str, PairedTest]
    p_holm: float = 1.0
    p_folds_holm: float = 1.0


@dataclass(frozen=True)
class TransferGain:
    """SEPT minus its baseline in cross-dataset, as `Gain`: on the source, and on the mean of the targets.

    Attributes:
        p_holm, p_folds_holm: The p values of the mean of the targets, corrected likewise.
    """

    dataset: str
    baseline: str
    replicas: int
    source: float
    targets: float
    source_std: float
    targets_std: float
    tests: dict[str, PairedTest]
    p_holm: float = 1.0
    p_folds_holm: float = 1.0


@dataclass(frozen=True)
class SweepTable:
    """A sweep's result.

    Attributes:
        rows: Base-to-new: one per study that has a finished member, in the order of the sweep's datasets and methods.
        gains: One per dataset and baseline where both it and its SEPT twin have a row.
        without: Keys of studies that have no finished member.
        transfers: Cross-dataset: one per source and method.
        transfer_gains: Likewise.
    """

    sweep: str
    rows: tuple[Row, ...]
    gains: tuple[Gain, ...]
    without: tuple[str, ...]
    transfers: tuple[TransferRow, ...] = field(default=())
    transfer_gains: tuple[TransferGain, ...] = field(default=())

    @property
    def studies(self) -> tuple[Chosen, ...]:
        """The rows of either protocol."""
        return (*self.rows, *self.transfers)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets (cross-dataset: sources) of the rows, in order."""
        return tuple(dict.fromkeys(row.dataset for row in self.studies))

    @property
    def gain_of(self) -> dict[tuple[str, str], Gain]:
        """The gains by dataset and SEPT method: whose row of the table each belongs to."""
        return {(gain.dataset, f"{gain.baseline}+sept"): gain for gain in self.gains}

    @property
    def warning(self) -> str:
        """What must stand beside every number of this table; empty where nothing was chosen on test clips."""
        return next((found for row in self.studies if (found := warning_of(row.selection))), "")

    @property
    def data_warnings(self) -> tuple[str, ...]:
        """What a reader has to know of the data behind this table's numbers, each line once."""
        return tuple(dict.fromkeys(line for row in self.studies for line in row.warnings))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for ``results.json``; which H is which is said once for all rows."""
        averages = {
            "h": "mean over replicas of each replica's harmonic mean of base and new (the headline H)",
            "h_of_means": "harmonic mean of the mean base and the mean new accuracy",
        }
        warnings = {"warning": self.warning, "data_warnings": list(self.data_warnings)}
        return asdict(self) | warnings | ({"averages_of_h": averages} if self.rows else {})


def warning_of(selection: str) -> str:
    """What must stand beside a number that was chosen so; empty where no test clip was looked at in choosing."""
    return PAPER_WARNING if selection == "paper" else ""


def method_title(method: str) -> str:
    """A method as papers write it: ``coop+sept`` is ``CoOp + SEPT``."""
    baseline = method.removesuffix("+sept")
    title = _TITLES.get(baseline, baseline)
    return title if baseline == method else f"{title} + SEPT"
