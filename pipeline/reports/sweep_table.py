"""The result of a sweep: its rows, what SEPT changes, and the configurations to use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.reports.paired import PairedTest
from pipeline.reports.rows import Chosen, ForUse, Row, TransferRow, warning_of

__all__ = ["Gain", "SweepTable", "TransferGain"]


@dataclass(frozen=True)
class Gain:
    """SEPT minus its baseline on test clips, in points: mean and spread of the differences replica by replica.

    Both are chosen among equally many trials: of the longer study only the first count (`Matched`). Both train on the
    same draws of the same folds, so the differences are paired.

    Attributes:
        tests: Of each of the three, by name.
        p_holm: The p value of H over replicas, corrected for all gains of the sweep.
        p_claim_holm: The same of H over folds and test clips together; below 5 % the gain is claimed.
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
    p_claim_holm: float = 1.0


@dataclass(frozen=True)
class TransferGain:
    """SEPT minus its baseline in cross-dataset, as `Gain`: on the source, and on the mean of the targets.

    Attributes:
        p_holm, p_claim_holm: The p values of the mean of the targets, corrected likewise.
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
    p_claim_holm: float = 1.0


@dataclass(frozen=True)
class SweepTable:
    """A sweep's result.

    Attributes:
        rows: Base-to-new: one per dataset and method that has a finished trial, in the order of the sweep's.
        gains: One per dataset and baseline where both it and its SEPT twin have a row.
        without: Keys of studies that have no finished trial; of ``strict`` also of those that have not begun.
        transfers: Cross-dataset: one per source and method.
        transfer_gains: Likewise.
        for_use: The configuration of each study that is best over all its folds.
        lost: Keys of studies of which a result is gone that a row, a gain or a use needs.
    """

    sweep: str
    rows: tuple[Row, ...]
    gains: tuple[Gain, ...]
    without: tuple[str, ...]
    transfers: tuple[TransferRow, ...] = ()
    transfer_gains: tuple[TransferGain, ...] = ()
    for_use: tuple[ForUse, ...] = ()
    lost: tuple[str, ...] = ()

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
        """What must stand beside every number of this table that was chosen on the test clips it is measured on."""
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
        plain = asdict(self)
        for row in (*plain["rows"], *plain["transfers"]):
            # The counts by source stay with the trial's own result.
            for counted in (row, row["matched"]):
                if counted is not None:
                    del counted["tested"]
        return plain | warnings | ({"averages_of_h": averages} if self.rows else {})
