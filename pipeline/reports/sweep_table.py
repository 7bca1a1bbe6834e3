"""The result of a sweep: its rows, the gains of SEPT, and the best configurations."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from pipeline.reports.activity import Activity
from pipeline.reports.paired import PairedTest
from pipeline.reports.rows import Chosen, FewShotRow, ForUse, Row, TransferRow, warning_of
from pipeline.text import with_sept
from sept_core.protocol_facts import PROTOCOLS, protocol_of

__all__ = ["AnyGain", "FewShotGain", "Gain", "SweepTable", "TransferGain"]


@dataclass(frozen=True)
class Gain:
    """SEPT minus its baseline on test clips, in points: mean and spread of the differences replica by replica.

    Both are chosen among the same number of trials, the first ones of the longer study (`Matched`). Both train on the
    same shots of the same folds, so the differences are paired.

    Attributes:
        tests: The test of each of the three, by name.
        activities: How much SEPT acted in each compared trial with SEPT that says it.
        p_holm: The p value of H over replicas, corrected for all gains of the sweep.
        p_claim_holm: The same of H over folds and test clips together; below 5 % the gain is claimed.
    """

    parts: ClassVar = PROTOCOLS["base-to-new"].compared

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
    activities: tuple[Activity, ...] = ()
    p_holm: float = 1.0
    p_claim_holm: float = 1.0


@dataclass(frozen=True)
class FewShotGain:
    """SEPT minus its baseline in few-shot, as in `Gain`: in accuracy."""

    parts: ClassVar = PROTOCOLS["few-shot"].compared

    dataset: str
    baseline: str
    replicas: int
    accuracy: float
    accuracy_std: float
    tests: dict[str, PairedTest]
    activities: tuple[Activity, ...] = ()
    p_holm: float = 1.0
    p_claim_holm: float = 1.0


@dataclass(frozen=True)
class TransferGain:
    """SEPT minus its baseline in cross-dataset, as in `Gain`: on the source, and in the mean of the targets.

    Attributes:
        p_holm, p_claim_holm: The corrected p values of the mean of the targets.
    """

    parts: ClassVar = PROTOCOLS["cross-dataset"].compared

    dataset: str
    baseline: str
    replicas: int
    source: float
    targets: float
    source_std: float
    targets_std: float
    tests: dict[str, PairedTest]
    activities: tuple[Activity, ...] = ()
    p_holm: float = 1.0
    p_claim_holm: float = 1.0


AnyGain = Gain | FewShotGain | TransferGain
"""Each has ``parts``: the names of the accuracies that it compares, the headline last."""


@dataclass(frozen=True)
class SweepTable:
    """The result of a sweep.

    Attributes:
        rows: Base-to-new: one per dataset and method with a finished trial, by dataset, each baseline before its twin.
        gains: One per dataset and baseline, if both it and its SEPT twin have a row.
        without: Keys of studies without a finished trial; with ``strict`` including those that have not begun.
        transfers: Cross-dataset: one row per source and method.
        transfer_gains: Cross-dataset: the gains.
        few_shot: Few-shot: one row per dataset and method.
        few_shot_gains: Few-shot: the gains.
        axes, variants: The labels on each axis of the sweep, and the names of its variants. The methods of rows then
            have a cell, as in ``coop@shots=4``.
        for_use: The best configuration of each study over all its folds.
        lost: Keys of studies with a result that is needed and gone.
    """

    sweep: str
    rows: tuple[Row, ...]
    gains: tuple[Gain, ...]
    without: tuple[str, ...]
    transfers: tuple[TransferRow, ...] = ()
    transfer_gains: tuple[TransferGain, ...] = ()
    for_use: tuple[ForUse, ...] = ()
    lost: tuple[str, ...] = ()
    few_shot: tuple[FewShotRow, ...] = ()
    few_shot_gains: tuple[FewShotGain, ...] = ()
    axes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    variants: tuple[str, ...] = ()

    @property
    def studies(self) -> tuple[Chosen, ...]:
        """The rows, of whichever protocol."""
        return (*self.rows, *self.few_shot, *self.transfers)

    @property
    def all_gains(self) -> tuple[AnyGain, ...]:
        """The gains, of whichever protocol."""
        return (*self.gains, *self.few_shot_gains, *self.transfer_gains)

    @property
    def headline(self) -> str:
        """Name of the test accuracy by which rows are compared: ``h``, ``accuracy`` or ``targets``."""
        return protocol_of(self.studies[0].protocol).headline

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets (cross-dataset: sources) of the rows, in order."""
        return tuple(dict.fromkeys(row.dataset for row in self.studies))

    @property
    def gain_of(self) -> dict[tuple[str, str], Gain]:
        """The gains by dataset and SEPT method, which identify a row of the table."""
        return {(gain.dataset, with_sept(gain.baseline)): gain for gain in self.gains}

    @property
    def says_activity(self) -> bool:
        """Whether a chosen trial of a search says how much SEPT acted."""
        return any(choice.activity for row in self.studies if row.searched for choice in row.choices)

    @property
    def warning(self) -> str:
        """The warning for numbers that were chosen on test clips; empty if there are none."""
        return next((found for row in self.studies if (found := warning_of(row.selection))), "")

    @property
    def data_warnings(self) -> tuple[str, ...]:
        """Warnings about the data of this table, each once."""
        return tuple(dict.fromkeys(line for row in self.studies for line in row.warnings))

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``results.json``, with one explanation of the two H for all rows."""
        averages = {
            "h": "mean over replicas of each replica's harmonic mean of base and new (the headline H)",
            "h_of_means": "harmonic mean of the mean base and the mean new accuracy",
        }
        warnings = {"warning": self.warning, "data_warnings": list(self.data_warnings)}
        plain = asdict(self)
        for row in (*plain["rows"], *plain["few_shot"], *plain["transfers"]):
            # The counts by source are only in the results of trials.
            for counted in (row, row["matched"]):
                if counted is not None:
                    del counted["tested"]
        # Results of a sweep without these are written as in earlier releases.
        later = ("few_shot", "few_shot_gains", "axes", "variants")
        plain = {name: value for name, value in plain.items() if value or name not in later}
        return plain | warnings | ({"averages_of_h": averages} if self.rows else {})
