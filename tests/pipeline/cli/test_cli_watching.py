"""``sept sweep status`` with and without ``--watch``, and ``sept sweep stop``, on stores made for it."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_results as made
from rich.console import Console

from pipeline.cli.show_status import one_line, render, short_study, show
from pipeline.search.publisher import Publisher
from pipeline.store import Lease, TrialStore
from pipeline.store.launch_messages import LaunchProgress, Noticeboard, TrialProgress
from pipeline.text import ago
from pipeline.watch.status import SweepStatus, sweep_status
from sept_core.results import now_ms

Sept = Callable[..., tuple[int, str, str]]

COOP = "FSDD.mini.base-to-new.coop"
STATUS = "import sys; from pipeline.cli import main; main(['sweep', 'status', *sys.argv[1:]])"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def running(store: TrialStore) -> Iterator[Lease]:
    """A sweep that is being run, one trial finished and two in flight."""
    made.fill_store(store, [made.make_case("FSDD", "coop", 0)])
    for number in (1, 2):
        store.add_proposal(made.SWEEP, made.make_case("FSDD", "coop", number).proposal)
    with Lease(store.files, made.SWEEP) as lease:
        now = now_ms()
        trial = TrialProgress(COOP, 1, now - 90_000, now - 4_000, 10, 72.51)
        Noticeboard(store.files, made.SWEEP).tell(LaunchProgress(lease.token, 2, (trial,)))
        yield lease


def drawn(status: SweepStatus, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    show(console, status)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_a_running_sweep_is_drawn_within_80_columns(store: TrialStore, running: Lease) -> None:
    lines = drawn(sweep_status(store, made.SWEEP))
    assert max(map(len, lines)) <= 80
    heads = [line.split() for line in lines]
    assert ["study", "finished", "pruned", "failed", "running", "budget", "best", "val", "H"] in heads
    row = next(line for line in lines if line.startswith("FSDD coop "))
    assert row.split()[2:7] == ["1", "0", "0", "1", "3"]
    trial = next(line for line in lines if "#1" in line)
    assert made.make_case("FSDD", "coop", 1).proposal.signature in trial
    assert "10/15" in trial
    assert "72.5" in trial
    assert trial.endswith(("4 s ago", "5 s ago", "6 s ago", "7 s ago"))
    assert next(line for line in lines if "#2" in line).endswith("waiting")
    assert any("synthetic: 1 of 14 trials ended" in line for line in lines)
    assert any(f"process {running.holder().pid} on" in line for line in lines)  # type: ignore[union-attr]


def test_the_longest_names_that_there_are_fit_too(store: TrialStore, running: Lease) -> None:
    status = sweep_status(store, made.SWEEP)
    longest = replace(status.studies[0], dataset="A-Dataset-Of-My-Own-With-A-Long-Name", method="cocoop+sept")
    trial = replace(status.trials[0], study=longest.key, number=1234, epoch=100, epochs=100, heard_s=5000.0)
    lines = drawn(replace(status, studies=(longest,), trials=(trial,)))
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("A-Dataset… cocoop+sept ") for line in lines) == 2
    shown = next(line for line in lines if "#1234" in line)
    assert shown.split()[2:] == ["#1234", trial.signature, "100/100", "72.5", "83", "min", "ago"]


def test_short_study_cuts_the_dataset_never_the_method() -> None:
    assert short_study("ESC10", "coop+sept") == "ESC10 coop+sept"
    assert short_study("Beijing-Opera", "cocoop+sept") == "Beijing-O… cocoop+sept"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (99.4, "99 s"), (240, "4 min"), (5990, "100 min"), (100_000, "28 h"), (273_600, "3 d")],
)
def test_ages_are_told_as_people_do(seconds: float, words: str) -> None:
    assert ago(seconds) == words


def test_who_runs_it_and_what_to_do_is_said_in_each_state(store: TrialStore, running: Lease) -> None:
    status = sweep_status(store, made.SWEEP)
    assert status.driver is not None
    asked = replace(status.driver, stop_asked_ms=status.at_ms - 3000)
    assert "asked to stop 3 s ago" in "\n".join(drawn(replace(status, driver=asked)))
    silent = replace(status.driver, host="spot-7", alive=False, renewed_s=240.0)
    lost = replace(status, state="lost", driver=silent, trials=())
    assert "its driver on spot-7 was last seen 4 min ago; launch it again to continue" in drawn(lost)
    assert "2 trials interrupted, to be continued from the last checkpoint" in drawn(lost)
    dead = replace(silent, gone=True)
    assert "its driver on spot-7 is gone, last seen 4 min ago; launch it again to continue" in drawn(
        replace(lost, driver=dead)
    )
    stopped = replace(status, state="stopped", driver=None, trials=())
    assert "not running; launch it again to continue" in drawn(stopped)


def test_the_expected_end_is_shown_where_there_is_one(store: TrialStore, running: Lease) -> None:
    status = sweep_status(store, made.SWEEP)
    assert "expected" not in "\n".join(drawn(status))
    soon = replace(status, expected_end_ms=status.at_ms + 240_000)
    assert any(line.startswith("synthetic: 1 of 14") and line.endswith(", in 4 min") for line in drawn(soon))


def test_a_line_says_the_same_while_nothing_has_changed(store: TrialStore, running: Lease) -> None:
    status = sweep_status(store, made.SWEEP)
    assert one_line(status) == "1 of 14 trials ended; running FSDD coop #1 at epoch 10/15"
    later = replace(
        status, at_ms=status.at_ms + 9000, trials=tuple(replace(one, heard_s=13.0) for one in status.trials)
    )
    assert one_line(later) == one_line(status)
    assert status.driver is not None
    lost = replace(status, state="lost", driver=replace(status.driver, renewed_s=240.0))
    assert one_line(replace(lost, driver=replace(status.driver, renewed_s=250.0))) == one_line(lost)


def test_a_picture_shows_the_last_failures_and_how_many_there_are(store: TrialStore) -> None:
    made.fill_store(store, [made.make_case("FSDD", "coop", number, "failed") for number in range(8)])
    status = sweep_status(store, made.SWEEP)
    console = Console(file=io.StringIO(), width=80)
    console.print(render(status))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "3 more failed earlier" in text
    assert "#7 failed" in text
    assert "#2 failed" not in text
    assert sum("failed: NonFiniteError" in line for line in drawn(status)) == 8


def test_watching_a_sweep_that_nobody_runs_shows_it_once(sept: Sept, store: TrialStore, root: Path) -> None:
    made.fill_store(store, made.make_cases())
    code, out, _ = sept("sweep", "status", made.SWEEP, "--root", root, "--watch")
    assert code == 0
    assert out.count("\n") == 1
    assert out.endswith(" 14 of 14 trials ended; finished\n")
    code, out, _ = sept("sweep", "status", made.SWEEP, "--root", root, "--watch", "--json")
    assert code == 0
    assert out.count("\n") == 1
    assert json.loads(out)["state"] == "finished"


def test_watching_waits_for_a_sweep_that_is_about_to_begin(store: TrialStore, root: Path) -> None:
    with watching(root) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "unknown sweep 'synthetic'" in process.stderr.readline()
        assert process.stderr.readline() == "Waiting until synthetic is launched; Ctrl-C ends it\n"
        made.fill_store(store, made.make_cases())
        assert " ended" in process.stdout.readline()
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_watching_a_file_or_no_name_of_a_sweep_does_not_wait(sept: Sept, root: Path) -> None:
    for name, said in (("mine.yaml", "unknown sweep 'mine.yaml'"), ("a/b", "cannot name a sweep")):
        code, _, err = sept("sweep", "status", name, "--root", root, "--watch")
        assert (code, said in err, err.count("\n")) == (2, True, 1)


def test_every_without_watch_is_one_line_and_exit_code_2(sept: Sept, store: TrialStore, root: Path) -> None:
    made.fill_store(store, [])
    code, out, err = sept("sweep", "status", made.SWEEP, "--root", root, "--every", 5)
    assert (code, out) == (2, "")
    assert "give --watch as well" in err
    assert err.count("\n") == 1


def watching(root: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STATUS, made.SWEEP, "--root", str(root), "--watch", "--every", "0.1", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_watching_in_a_pipe_prints_changes_until_the_sweep_ends(store: TrialStore, running: Lease, root: Path) -> None:
    with watching(root) as process:
        assert process.stdout is not None
        assert "1 of 14 trials ended; running FSDD coop #1 at epoch 10/15" in process.stdout.readline()
        time.sleep(0.5)
        store.write_decision(made.SWEEP, made.make_case("FSDD", "coop", 1).decision)
        assert process.stdout.readline().endswith(" 2 of 14 trials ended\n")
        running.release()
        rest, errors = process.communicate(timeout=30)
    assert rest.endswith(" 2 of 14 trials ended; not running; launch it again to continue\n")
    assert rest.count("\n") == 1
    assert (process.returncode, errors) == (0, "")


def test_watching_as_json_prints_a_line_each_time_and_ctrl_c_ends_it_well(running: Lease, root: Path) -> None:
    with watching(root, "--json") as process:
        assert process.stdout is not None
        seen = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert seen[0]["at_ms"] < seen[1]["at_ms"] < seen[2]["at_ms"]
    assert {one["state"] for one in seen} == {"running"}
    assert seen[0]["trials"][0]["heard_s"] < seen[2]["trials"][0]["heard_s"]


def test_stop_where_nobody_runs_the_sweep_says_so(sept: Sept, store: TrialStore, root: Path) -> None:
    made.fill_store(store, [])
    assert sept("sweep", "stop", made.SWEEP, "--root", root) == (
        0,
        "synthetic does not run: there is nothing to stop\n",
        "",
    )


def test_stop_of_an_unknown_sweep_is_one_line_and_exit_code_2(sept: Sept, store: TrialStore, root: Path) -> None:
    made.fill_store(store, [])
    code, out, err = sept("sweep", "stop", "synthetik", "--root", root)
    assert (code, out) == (2, "")
    assert "did you mean 'synthetic'" in err
    assert err.count("\n") == 1


def test_stop_waits_until_the_launch_has_given_back_its_lease(sept: Sept, store: TrialStore, root: Path) -> None:
    made.fill_store(store, [made.make_case("FSDD", "coop", 0)])
    begun = threading.Event()

    def launch() -> None:
        board = Noticeboard(store.files, made.SWEEP)
        with Lease(store.files, made.SWEEP) as lease, Publisher(board, lease.token, lease.check, 0.01) as publisher:
            begun.set()
            deadline = time.monotonic() + 30
            while not publisher.stop_asked and time.monotonic() < deadline:
                time.sleep(0.01)

    thread = threading.Thread(target=launch, daemon=True)
    thread.start()
    assert begun.wait(10)
    code, out, _ = sept("sweep", "stop", made.SWEEP, "--root", root)
    thread.join(10)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("asked process ")
    assert lines[1].startswith("waiting up to 60 s")
    assert "synthetic stopped after" in lines[2]
    assert lines[2].endswith("1 of 14 trials ended; launch it again to continue")


def test_stop_that_is_not_obeyed_in_time_fails_and_stands(
    sept: Sept, store: TrialStore, running: Lease, root: Path
) -> None:
    code, _, err = sept("sweep", "stop", made.SWEEP, "--root", root, "--wait", 0.2)
    assert code == 1
    assert "synthetic has not stopped within 0 s; the request remains" in err
    assert err.count("\n") == 1
    assert Noticeboard(store.files, made.SWEEP).stop_request(running.token) is not None
    code, out, _ = sept("sweep", "stop", made.SWEEP, "--root", root, "--no-wait")
    assert code == 0
    assert "shows when it has stopped" in out
