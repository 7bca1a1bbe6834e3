"""A sweep driver played through without Ray: workers, losses and crashes in any order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tiny_inputs import provide
from tiny_sweep import make_spec

from pipeline.search.driver import SweepDriver
from pipeline.search.observer import StudyPlan
from pipeline.spec import SweepSpec
from pipeline.store import Decision, LocalFiles, Proposal, TrialStore
from sept_core.results import Report, TrialResult
from sept_core.trial import failed_result
from sept_core.trial_config import TrialConfig

TIMES = iter(range(1, 10**9))


@dataclass
class Trials:
    """Trials of a made-up method that 'train' at once: curves are a function of the configuration, times are not."""

    store: TrialStore
    checkpoints: dict[str, tuple[Report, ...]] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)
    failing: int = 0  # of ten
    test_metric: float = 50.0

    def step(self, proposal: Proposal) -> tuple[Report, ...]:
        """Train to the next report; the last one publishes the result."""
        curve = self.checkpoints.get(proposal.signature, ())
        number = random.Random(proposal.signature)
        height, fails = 40 + 40 * number.random(), number.randrange(10) < self.failing
        epoch = len(curve) + 1 if proposal.config.epochs else 0
        self.trained.append(f"{proposal.signature}:{epoch}")
        curve = (*curve, Report(epoch, {"val/h": height + epoch}, float(next(TIMES)), next(TIMES)))
        self.checkpoints[proposal.signature] = curve
        if fails and epoch == 2:
            self.store.write_result(failed_result(proposal.config, curve, "Traceback:\n  ...\nValueError: no luck\n"))
        elif epoch == proposal.config.epochs:
            self.store.write_result(self._result(proposal.config, curve))
        return curve

    def _result(self, config: TrialConfig, curve: tuple[Report, ...]) -> TrialResult:
        return replace(
            failed_result(config, curve, ""),
            state="finished",
            validation={"h": curve[-1].objective},
            test={"h": self.test_metric},
        )


class Heard:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.plans: Sequence[StudyPlan] = ()
        self.curves: dict[tuple[str, int], list[Report]] = {}
        self.ends: dict[tuple[str, int], tuple[Decision, TrialResult | None]] = {}
        self.resumed: list[int] = []
        self.state = ""

    def sweep_started(self, sweep: str, studies: Sequence[StudyPlan]) -> None:
        self.plans = studies

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None:
        self.curves[proposal.study, proposal.number] = []
        self.resumed.append(resumed_epoch)

    def reported(self, proposal: Proposal, report: Report) -> None:
        self.curves[proposal.study, proposal.number].append(report)

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        self.ends[proposal.study, proposal.number] = (decision, result)

    def sweep_ended(self, state: str) -> None:
        self.state = state


@dataclass
class Play:
    """A sweep run by a made-up cluster in a random order, with mishaps."""

    root: Path
    spec: SweepSpec = field(default_factory=make_spec)
    trials: Trials = None  # type: ignore[assignment]
    workers: int = 3
    losses: int = 0  # of a hundred steps
    crashes: int = 0  # of a hundred steps, of the driver

    def __post_init__(self) -> None:
        self.store = TrialStore(LocalFiles(self.root))
        self.trials = self.trials or Trials(self.store)

    def driver(self, heard: Heard) -> SweepDriver:
        driver = SweepDriver(self.spec, self.store, [heard], partial(provide, str(self.root)))
        driver.replay()
        return driver

    def run(self, seed: int) -> Heard:
        chance = random.Random(seed)
        while True:
            heard = Heard()
            driver = self.driver(heard)
            if self._to_the_end(driver, chance):
                driver.close()
                return heard

    def _to_the_end(self, driver: SweepDriver, chance: random.Random) -> bool:
        flying: list[tuple[Proposal, bool]] = []
        while True:
            while len(flying) < self.workers and (proposal := driver.ask()) is not None:
                flying.append((proposal, False))
            if not flying:
                assert driver.finished
                return True
            assert not driver.finished
            if chance.randrange(100) < self.crashes:
                return False
            index = chance.randrange(len(flying))
            proposal, begun = flying.pop(index)
            if chance.randrange(100) < self.losses:
                driver.lost(proposal, "as arranged")
            elif not begun:
                if driver.begun(proposal, self.trials.checkpoints.get(proposal.signature, ())):
                    flying.append((proposal, True))
            else:
                curve = self.trials.step(proposal)
                if self.store.read_result(proposal.study, proposal.signature) is not None:
                    driver.concluded(proposal)
                elif driver.reported(proposal, curve):
                    flying.append((proposal, True))
