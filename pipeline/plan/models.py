"""The parts of a plan: studies with their progress and estimates, missing inputs, and totals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["BUSY", "Estimate", "Missing", "PlannedStudy", "SweepPlan", "Totals"]

BUSY = 0.2
"""Share of a calibration that other processes took, above which its estimates are ranges."""


@dataclass(frozen=True)
class Estimate:
    """How long a trial of a study trains if it is not pruned.

    Attributes:
        seconds: Training and validation, as in `TrialResult.train_seconds`; None if unknown.
        source: ``store``: finished trials of the same study (with ``strict``, of any of its test folds), scaled by
            epochs and replicas. ``alike``: finished trials of the same encoder and method on other datasets, scaled by
            the text tokens of a trial. ``calibrated``: some steps timed on this machine. ``methods``: finished trials
            of other methods with the same encoder, a range. ``unknown``: no estimate.
        basis: What the estimate is based on, or why there is none, in a few words.
        least, most: The ends of the range, if it is one; then ``seconds`` is a value within it.
    """

    seconds: float | None
    source: Literal["store", "alike", "calibrated", "methods", "unknown"]
    basis: str
    least: float | None = None
    most: float | None = None

    @property
    def ends(self) -> tuple[float, float] | None:
        """The ends of the range, equal if it is none; None without an estimate."""
        if self.seconds is None:
            return None
        return (
            self.seconds if self.least is None else self.least,
            self.seconds if self.most is None else self.most,
        )


@dataclass(frozen=True)
class Missing:
    """An input of trials that is missing or cannot be used.

    Attributes:
        what: What is wrong, and where.
        fix: How to fix it.
        studies: Keys of the studies that cannot run without it.
    """

    what: str
    fix: str
    studies: tuple[str, ...]


@dataclass(frozen=True)
class PlannedStudy:
    """One study of a plan.

    Attributes:
        fold: With ``strict`` the test fold; otherwise None.
        trials: Number of trials that the study is to have.
        finished, pruned, failed: Number of trials that have ended.
        begun: Number of trials that were proposed and have not ended.
        replicas: Test folds x seeds of a trial; None if the dataset is unknown.
        replicas_known: Whether the number is final; without encoder or embeddings it is an upper limit.
        cpus, gpus: CPUs and share of a GPU that a trial uses.
        ready: Whether all inputs of its trials are there.
    """

    key: str
    dataset: str
    method: str
    trials: int
    finished: int
    pruned: int
    failed: int
    begun: int
    replicas: int | None
    replicas_known: bool
    cpus: float
    gpus: float
    ready: bool
    estimate: Estimate
    fold: str | None = None

    @property
    def left(self) -> int:
        """Trials to run, including those that have begun."""
        return max(0, self.trials - self.finished - self.pruned - self.failed)


@dataclass(frozen=True)
class Totals:
    """What is left to run, over all studies whose trials have an estimate.

    Attributes:
        trials: Trials left, including those without an estimate.
        unknown: Trials left without an estimate.
        spared: Share of epochs that pruning has saved so far in this sweep and is expected to save from now on; 0
            before any trial has ended.
        trial_hours: Hours of all trials one after the other.
        gpu_hours: GPU-hours of the trials that use GPUs.
        wall_hours: From the start of the first trial to the end of the last one on this machine; None if no trial with
            an estimate fits on it.
        workers: Most trials at the same time.
        gpus: GPUs of the machine.
        where: The machine, in words.
        trial_range, wall_range: The ends of ``trial_hours`` and ``wall_hours``, if any estimate is a range.
    """

    trials: int
    unknown: int
    spared: float
    trial_hours: float
    gpu_hours: float
    wall_hours: float | None
    workers: int
    gpus: int
    where: str
    trial_range: tuple[float, float] | None = None
    wall_range: tuple[float, float] | None = None

    def cost(self, price: float) -> tuple[float, float | None]:
        """Cost at a price per GPU-hour, or per worker-hour if no trial uses a GPU.

        Returns:
            The cost of the hours in use; and the cost of all GPUs (workers) from beginning to end, None if the wall
            time is unknown.
        """
        used, count = (self.gpu_hours, self.gpus) if self.gpu_hours else (self.trial_hours, self.workers)
        return price * used, None if self.wall_hours is None else price * count * self.wall_hours


@dataclass(frozen=True)
class SweepPlan:
    """What a launch of a sweep would do.

    Attributes:
        missing: All missing inputs.
        refusals: Errors with which ``sept sweep launch`` would refuse the sweep on this machine.
        calibrated_s: Seconds spent on calibrations.
        waited: Share of that time that other processes took.
        machines: Machines of the earlier trials that estimates are based on.
        data_warnings: Warnings about the data that will appear with every result, one per line.
        notes: Presets in use, datasets that the encoder was trained on, and folds with fewer shots than asked for.
    """

    sweep: str
    studies: tuple[PlannedStudy, ...]
    totals: Totals
    missing: tuple[Missing, ...]
    refusals: tuple[str, ...]
    calibrated_s: float
    waited: float
    machines: tuple[str, ...]
    data_warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def runnable(self) -> bool:
        """Whether a launch on this machine would run the whole sweep."""
        return not self.missing and not self.refusals

    def to_json(self, price: float | None = None) -> dict[str, Any]:
        """Plain values, with the cost if a price is given."""
        content = asdict(self) | {"runnable": self.runnable}
        for study, plain in zip(self.studies, content["studies"], strict=True):
            plain["left"] = study.left
        if price is not None:
            used, held = self.totals.cost(price)
            per = "GPU-hour" if self.totals.gpu_hours else "worker-hour"
            content["cost"] = {"price": price, "per": per, "used": used, "held": held}
        return content
