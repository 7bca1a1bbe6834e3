"""Estimates how long a trial of each study takes: from earlier trials if there are any, otherwise by calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.plan.calibration import Rates, calibrate
from pipeline.plan.gathering import Gathering
from pipeline.plan.history import History
from pipeline.plan.models import BUSY, Estimate
from pipeline.plan.work import Work, work_of
from pipeline.spec import StudySpec
from sept_core.errors import InputError
from sept_core.trial import TrialInputs
from sept_core.trial_config import TrialConfig

__all__ = ["CalibrationProgress", "Candidate", "Estimator"]

CalibrationProgress = Callable[[int, int, str], None]
"""Called with the number of calibrations done, the total, and the next study or method."""

# If calibrating every pair of dataset and method took longer, the studies of a method share one calibration.
_FOR_EACH_S = 60.0


@dataclass(frozen=True)
class Candidate:
    """A study whose trials need an estimate.

    Attributes:
        config: A trial in the middle of the search space; None if an input is missing.
        inputs: The inputs of this trial; None if one is missing.
        replicas: Number of replicas of a trial; None if unknown.
        left: Number of trials to run.
        cpus, gpus: CPUs and share of a GPU that a trial uses.
    """

    study: StudySpec
    config: TrialConfig | None
    inputs: TrialInputs | None
    replicas: int | None
    left: int
    cpus: float
    gpus: float


class Estimator:
    """Estimates studies from their own earlier trials, from those of other datasets, or by calibration, in this order.

    Attributes:
        calibrated_s: Seconds spent on calibrations so far.

    Args:
        history: Earlier trials.
        gathering: Records studies whose trials cannot be trained.
        seconds: Duration of a calibration; 0 for no calibration.
        gpus_here: Whether this machine has a GPU.
        progress: Called before each calibration and at the end.
    """

    def __init__(
        self,
        history: History,
        gathering: Gathering,
        seconds: float,
        gpus_here: bool,
        progress: CalibrationProgress | None = None,
    ) -> None:
        self.calibrated_s = 0.0
        self._waited_s = 0.0
        self._history = history
        self._gathering = gathering
        self._seconds = seconds
        self._gpus_here = gpus_here
        self._progress = progress or (lambda done, total, name: None)

    @property
    def waited(self) -> float:
        """Share of the calibration time that other processes took."""
        return self._waited_s / self.calibrated_s if self.calibrated_s else 0.0

    def estimate(self, candidates: Sequence[Candidate]) -> dict[str, Estimate]:
        """The estimate of every study, by its key."""
        found: dict[str, Estimate] = {}
        timed: list[tuple[Candidate, Work]] = []
        for one in candidates:
            known = None if one.replicas is None else self._history.of_study(one.study, one.replicas)
            if known is None and one.config is not None and one.inputs is not None and one.left:
                try:
                    work = work_of(one.config, one.inputs)
                except InputError as error:
                    self._gathering.blame(one.study, error)
                    known = _unknown("its trials cannot be trained")
                else:
                    known = self._history.of_others(one.study, work)
                    if known is None and (reason := self._not_here(one)):
                        known = self._history.of_methods(one.study, work) or _unknown(reason)
                    if known is None:
                        timed.append((one, work))
            found[one.study.key] = known or _unknown("inputs are missing" if one.left else "nothing is left to run")
        return found | self._calibrated(timed)

    def _not_here(self, one: Candidate) -> str:
        """The reason why a study cannot be calibrated; empty if it can."""
        if not self._seconds:
            return "not calibrated"
        return "calibrating it takes a GPU" if one.gpus and not self._gpus_here else ""

    def _calibrated(self, timed: Sequence[tuple[Candidate, Work]]) -> dict[str, Estimate]:
        """Calibrate every dataset and method, or one dataset of middle size per method if that took too long."""
        groups: dict[str, list[tuple[Candidate, Work]]] = {}
        apart = len({one.study.row_key for one, _ in timed}) * self._seconds <= _FOR_EACH_S
        for one, work in timed:
            groups.setdefault(one.study.row_key if apart else one.study.method, []).append((one, work))
        estimates: dict[str, Estimate] = {}
        for done, group in enumerate(groups.values()):
            group = sorted(group, key=lambda entry: entry[1].size)
            chosen = group[len(group) // 2][0]
            self._progress(done, len(groups), f"{chosen.study.dataset} {chosen.study.method}")
            estimates |= self._group(chosen, {one.study.key: work for one, work in group})
        self._progress(len(groups), len(groups), "")
        return estimates

    def _group(self, chosen: Candidate, works: Mapping[str, Work]) -> dict[str, Estimate]:
        assert chosen.config is not None  # studies without inputs are never calibrated
        assert chosen.inputs is not None
        threads = max(1, int(chosen.cpus))
        try:
            rates = calibrate(chosen.config, chosen.inputs, self._seconds, threads, chosen.gpus > 0)
        except InputError as error:
            self._gathering.blame(chosen.study, error)
            return dict.fromkeys(works, _unknown(f"{chosen.study.key} cannot be trained"))
        self.calibrated_s += rates.took
        self._waited_s += rates.took * rates.waited
        basis = _basis(rates, chosen)
        return {
            key: Estimate(
                rates.seconds(work),
                "calibrated",
                basis + ("" if key == chosen.study.key else f" of {chosen.study.key}"),
                # On an idle machine, a trial does not wait for other processes.
                *((rates.seconds(work) * (1 - rates.waited), rates.seconds(work)) if rates.waited > BUSY else ()),
            )
            for key, work in works.items()
        }


def _basis(rates: Rates, chosen: Candidate) -> str:
    if not rates.steps:
        return "a measurement"
    return f"{rates.steps} step{'' if rates.steps == 1 else 's'} with {rates.replicas} of {chosen.replicas} replicas"


def _unknown(reason: str) -> Estimate:
    return Estimate(None, "unknown", reason)
