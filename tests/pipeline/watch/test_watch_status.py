from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import synthetic_results as made

from pipeline.store import Lease, LocalFiles, TrialStore
from pipeline.store.launch_messages import LaunchProgress, Noticeboard, TrialProgress
from pipeline.watch.status import SweepReader, sweep_status
from sept_core.errors import InputError
from sept_core.results import now_ms

COOP = "FSDD.mini.base-to-new.coop"

# Takes the lease and is gone without a word.
DIE = """
import os, sys
from pipeline.store import Lease, LocalFiles
Lease(LocalFiles(sys.argv[1]), sys.argv[2]).acquire()
os._exit(9)
"""


@pytest.fixture
def begun(store: TrialStore) -> TrialStore:
    """One trial of CoOp on FSDD has ended, two have not."""
    made.fill_store(store, [made.make_case("FSDD", "coop", 0)])
    for number in (1, 2):
        store.add_proposal(made.SWEEP, made.make_case("FSDD", "coop", number).proposal)
    return store


@pytest.fixture
def lease(begun: TrialStore) -> Iterator[Lease]:
    with Lease(begun.files, made.SWEEP) as held:
        yield held


def tell(store: TrialStore, token: str, *trials: TrialProgress, workers: int = 2) -> None:
    Noticeboard(store.files, made.SWEEP).tell(LaunchProgress(token, workers, trials))


def coop_of(reader: SweepReader) -> tuple[int, int, int, int, int]:
    study = next(study for study in reader.read().studies if study.key == COOP)
    return study.finished, study.pruned, study.failed, study.begun, study.running


def test_trials_on_their_way_are_shown_with_what_the_driver_has_heard(begun: TrialStore, lease: Lease) -> None:
    now = now_ms()
    tell(begun, lease.token, TrialProgress(COOP, 1, now - 60_000, now - 3_000, 10, 72.5))
    found = sweep_status(begun, made.SWEEP)
    assert found.state == "running"
    running, waiting = found.trials
    assert (running.phase, running.study, running.number) == ("running", COOP, 1)
    assert running.signature == made.make_case("FSDD", "coop", 1).proposal.signature
    assert (running.epoch, running.epochs, running.best_objective) == (10, made.EPOCHS, 72.5)
    assert running.begun_ms == now - 60_000
    assert running.heard_s is not None
    assert 3 <= running.heard_s < 30
    assert (waiting.number, waiting.phase, waiting.epoch, waiting.heard_s) == (2, "waiting", None, None)
    assert coop_of(SweepReader(begun, made.SWEEP)) == (1, 0, 0, 2, 1)


@pytest.mark.parametrize("hint", ["missing", "damaged", "of another launch"])
def test_without_what_the_driver_tells_the_rest_is_known_all_the_same(
    hint: str, begun: TrialStore, lease: Lease
) -> None:
    if hint != "missing":
        tell(begun, "00000000000000bb", TrialProgress(COOP, 1, now_ms(), now_ms(), 10, 72.5))
    if hint == "damaged":
        begun.files.write(f"sweeps/{made.SWEEP}/progress.json", b"{")
    found = sweep_status(begun, made.SWEEP)
    assert found.state == "running"
    assert [(trial.number, trial.phase, trial.heard_s) for trial in found.trials] == [
        (1, "unknown", None),
        (2, "unknown", None),
    ]
    assert found.expected_end_ms is None
    assert coop_of(SweepReader(begun, made.SWEEP)) == (1, 0, 0, 2, 2)


def test_what_ended_since_the_driver_told_is_not_shown_as_running(begun: TrialStore, lease: Lease) -> None:
    now = now_ms()
    tell(begun, lease.token, *(TrialProgress(COOP, number, now, now, 10, 70.0) for number in (0, 1)))
    assert [trial.number for trial in sweep_status(begun, made.SWEEP).trials] == [1, 2]


def test_the_driver_is_shown_with_the_age_of_its_last_renewal(begun: TrialStore, lease: Lease) -> None:
    driver = sweep_status(begun, made.SWEEP).driver
    holder = lease.holder()
    assert driver is not None
    assert holder is not None
    assert (driver.host, driver.pid, driver.since_ms) == (holder.host, holder.pid, holder.since_ms)
    assert (driver.alive, driver.gone, driver.stop_asked_ms) == (True, False, None)
    assert 0 <= driver.renewed_s < 30
    asked = Noticeboard(begun.files, made.SWEEP).ask_to_stop(lease.token)
    driver = sweep_status(begun, made.SWEEP).driver
    assert driver is not None
    assert driver.stop_asked_ms == asked.asked_ms


def test_a_sweep_that_nobody_runs_is_stopped_or_finished(begun: TrialStore) -> None:
    found = sweep_status(begun, made.SWEEP)
    assert (found.state, found.driver, found.trials, found.expected_end_ms) == ("stopped", None, (), None)
    assert coop_of(SweepReader(begun, made.SWEEP)) == (1, 0, 0, 2, 0)
    made.fill_store(begun, made.make_cases())
    assert sweep_status(begun, made.SWEEP).state == "finished"


def test_a_killed_driver_is_known_at_once_on_its_machine(begun: TrialStore, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", DIE, str(tmp_path / "root"), made.SWEEP], check=False, timeout=60)
    found = sweep_status(begun, made.SWEEP)
    assert (found.state, found.trials) == ("lost", ())
    assert found.driver is not None
    assert (found.driver.alive, found.driver.gone) == (False, True)


def test_a_driver_elsewhere_is_lost_when_it_has_not_renewed_for_long(begun: TrialStore, lease: Lease) -> None:
    key = f"sweeps/{made.SWEEP}/lease.json"
    holder = lease.holder()
    assert holder is not None
    lease.release()
    for age_s, state in ((20, "running"), (240, "lost"), (-864_000, "lost")):
        elsewhere = replace(holder, host="spot-7", machine="another", renewed_ms=now_ms() - 1000 * age_s)
        begun.files.write(key, json.dumps(asdict(elsewhere)).encode())
        found = sweep_status(begun, made.SWEEP)
        assert found.state == state
        assert found.driver is not None
        assert (found.driver.host, found.driver.gone) == ("spot-7", False)
        assert max(0, age_s) <= found.driver.renewed_s < max(0, age_s) + 30


def test_a_driver_of_this_machine_whose_process_is_there_runs_whatever_the_clock_says(
    begun: TrialStore, lease: Lease
) -> None:
    key = f"sweeps/{made.SWEEP}/lease.json"
    holder = lease.holder()
    assert holder is not None
    lease.release()
    for days in (-10, 10):
        stepped = replace(holder, renewed_ms=now_ms() + days * 86_400_000)
        begun.files.write(key, json.dumps(asdict(stepped)).encode())
        assert sweep_status(begun, made.SWEEP).state == "running"


def test_the_expected_end_comes_from_ended_trials_and_workers(store: TrialStore) -> None:
    # The synthetic trials are long over: their 7.5 s of training count, not the time since.
    cases = [case for case in made.make_cases() if case.proposal.number == 0]
    made.fill_store(store, cases)
    with Lease(store.files, made.SWEEP) as lease:
        assert sweep_status(store, made.SWEEP).expected_end_ms is None
        tell(store, lease.token, workers=2)
        found = sweep_status(store, made.SWEEP)
        assert found.expected_end_ms is not None
        # Four studies with two trials each to come.
        assert (found.expected_end_ms - found.at_ms) / 1000 == pytest.approx(8 * 7.5 / 2, abs=0.01)


class Counting(LocalFiles):
    """Knows what was read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.seen: list[str] = []

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        wanted = list(keys)
        self.seen += wanted
        return super().read_many(wanted)


def test_looking_again_reads_only_what_is_new(begun: TrialStore, tmp_path: Path) -> None:
    files = Counting(tmp_path / "root")
    reader = SweepReader(TrialStore(files), made.SWEEP)
    assert coop_of(reader) == (1, 0, 0, 2, 0)
    assert len(files.seen) == 4
    files.seen.clear()
    assert coop_of(reader) == (1, 0, 0, 2, 0)
    assert files.seen == []
    begun.write_decision(made.SWEEP, made.make_case("FSDD", "coop", 1, "pruned").decision)
    assert coop_of(reader) == (1, 1, 0, 1, 0)
    assert files.seen == [f"sweeps/{made.SWEEP}/verdicts/{COOP}/00001.json"]


def test_a_failure_that_is_forgotten_is_not_remembered_here(begun: TrialStore) -> None:
    reader = SweepReader(begun, made.SWEEP)
    failed = made.make_case("FSDD", "coop", 1, "failed")
    begun.write_decision(made.SWEEP, failed.decision)
    assert coop_of(reader) == (1, 0, 1, 1, 0)
    assert reader.read().failures == (f"{COOP} #1 failed: {failed.decision.error}",)
    begun.forget_failures(made.SWEEP, lambda: None)
    begun.write_decision(made.SWEEP, made.make_case("FSDD", "coop", 1).decision)
    assert coop_of(reader) == (2, 0, 0, 1, 0)


def test_a_budget_that_is_raised_meanwhile_is_seen(begun: TrialStore) -> None:
    reader = SweepReader(begun, made.SWEEP)
    assert reader.read().budget == 14
    begun.write_spec(made.SWEEP, made.SPEC.replace("trials: 3", "trials: 5"), before=made.SPEC)
    assert reader.read().budget == 22


def test_an_unknown_sweep_is_refused_with_the_nearest_name(begun: TrialStore) -> None:
    with pytest.raises(InputError, match="did you mean 'synthetic'"):
        SweepReader(begun, "synthetik")
