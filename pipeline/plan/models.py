"""What a plan says: studies with what is done and how long a trial takes, what is missing, and the totals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Estimate", "Missing", "PlannedStudy", "SweepPlan", "Totals"]


@dataclass(frozen=True)
class Estimate:
    """How long a trial of a study trains that is not pruned.

    Attributes:
        seconds: Of training and validation, as `TrialResult.train_seconds` counts them; None where nothing is known.
        source: ``store``: finished trials of the same study (with ``strict``, of any test fold's), scaled by epochs and
            replicas. ``alike``: finished trials
            of the same encoder and method on other datasets, scaled by the text tokens of a trial. ``calibrated``: some
            steps timed on this machine. ``unknown``.
        basis: What it rests on, or why there is none, in a few words.
    """

    seconds: float | None
    source: Literal["store", "alike", "calibrated", "unknown"]
    basis: str


@dataclass(frozen=True)
class Missing:
    """Something that trials need and that is not there, or cannot be used.

    Attributes:
        what: What is wrong, and where.
        fix: What to do about it.
        studies: Keys of the studies that cannot run without it.
    """

    what: str
    fix: str
    studies: tuple[str, ...]


@dataclass(frozen=True)
class PlannedStudy:
    """One study.

    Attributes:
        fold: With ``strict`` its test fold; else None.
        trials: Trials that the study ends with.
        finished, pruned, failed: Trials that have ended.
        begun: Trials that were asked for and have not ended.
        replicas: Test folds x seeds of a trial; None where the dataset is not known.
        replicas_known: Whether that is settled; without encoder or embeddings it is what the registry says.
        cpus, gpus: CPUs and share of a GPU that a trial occupies.
        ready: Whether nothing that its trials read is missing.
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
        """Trials to run, those that have begun included."""
        return max(0, self.trials - self.finished - self.pruned - self.failed)


@dataclass(frozen=True)
class Totals:
    """What is left to run, over all studies whose trials have an estimate.

    Attributes:
        trials: Trials left, those without an estimate included.
        unknown: How many of them have none.
        spared: Share of epochs that pruning saved so far in this sweep, and is taken to go on saving; 0 before any
            trial has ended.
        trial_hours: Hours of all trials one after the other.
        gpu_hours: Those of trials that use GPUs, by their share of one.
        wall_hours: From the first trial's start to the last one's end, in the room below; None where nothing that has
            an estimate fits into it.
        workers: Trials at a time at most.
        gpus: GPUs of the room.
        where: What the room is, in words.
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

    def cost(self, price: float) -> tuple[float, float | None]:
        """Cost at a price per GPU-hour, or per worker-hour where no trial uses a GPU.

        Returns:
            Of the hours in use alone; and with all GPUs (workers) paid from the beginning to the end, None without a
            wall time.
        """
        used, count = (self.gpu_hours, self.gpus) if self.gpu_hours else (self.trial_hours, self.workers)
        return price * used, None if self.wall_hours is None else price * count * self.wall_hours


@dataclass(frozen=True)
class SweepPlan:
    """What a launch of a sweep would do.

    Attributes:
        missing: Everything that trials would miss.
        refusals: What ``sept sweep launch`` would say here, rather than run it.
        calibrated_s: Seconds spent on calibrating.
        waited: Share of that time that other processes took from it, so that a quiet machine is as much faster.
        machines: Where the earlier trials ran that estimates rest on.
        data_warnings: What a reader of the results will have to know of the data, a line each.
        notes: Presets in effect, what the encoder has heard of the data sets, and where that leaves fewer shots than
            asked for.
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
        """Whether a launch here would run all of it."""
        return not self.missing and not self.refusals

    def to_json(self, price: float | None = None) -> dict[str, Any]:
        """Plain values, with what they come to at a price."""
        content = asdict(self) | {"runnable": self.runnable}
        for study, plain in zip(self.studies, content["studies"], strict=True):
            plain["left"] = study.left
        if price is not None:
            used, held = self.totals.cost(price)
            per = "GPU-hour" if self.totals.gpu_hours else "worker-hour"
            content["cost"] = {"price": price, "per": per, "used": used, "held": held}
        return content
