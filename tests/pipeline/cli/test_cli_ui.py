from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import synthetic_results as made
from browser import browser, chromium

from pipeline.cli.launching import _next_command
from pipeline.store import LocalFiles, TrialStore
from pipeline.tracking import SweepWriter, default_target
from pipeline.tracking.client import mlflow_client
from pipeline.tracking.describe import run_name

Sept = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tracked(tmp_path: Path, empty_database: Path) -> Path:
    root = tmp_path / "runs"
    root.mkdir()
    shutil.copy(empty_database, root / "mlflow.db")
    target = default_target(root)
    SweepWriter(mlflow_client(target), target, made.SWEEP, TrialStore(LocalFiles(root))).open()
    return root


def test_without_a_database_the_line_says_what_makes_one(sept: Sept, tmp_path: Path) -> None:
    code, _, err = sept("ui", "--root", tmp_path)
    assert code == 2
    assert str(tmp_path / "mlflow.db") in err
    assert "sept quickstart" in err
    assert err.count("\n") == 1


def test_a_port_in_use_is_one_line(sept: Sept, tracked: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = sept("ui", "--root", tracked, "--port", port)
    assert code == 2
    assert f"127.0.0.1:{port}" in err
    assert err.count("\n") == 1


def test_an_unknown_sweep_is_named_with_those_that_are_there(sept: Sept, tracked: Path) -> None:
    code, _, err = sept("ui", "--root", tracked, "--sweep", "other", "--port", free_port())
    assert code == 2
    assert f"known: {made.SWEEP}" in err


def test_a_server_shows_its_own_pages(sept: Sept, tmp_path: Path) -> None:
    code, _, err = sept("ui", "--root", tmp_path, "--mlflow", "http://me:secret@127.0.0.1:9/x")
    assert code == 2
    assert "MLflow's server shows its own pages; open http://" in err
    assert "secret" not in err


@pytest.mark.parametrize("root", ["runs", "s3://bucket/runs"])
def test_the_advice_at_the_end_of_a_launch_finds_the_database(
    sept: Sept, tracked: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    elsewhere = tracked.parent / "else where"
    elsewhere.mkdir()
    shutil.move(tracked / "mlflow.db", elsewhere / "mlflow.db")
    monkeypatch.chdir(tracked.parent)
    advice = _next_command(root, made.SWEEP, default_target(root, f"sqlite:///{elsewhere}/mlflow.db"))
    assert advice.startswith(f"sept ui --root {root} --mlflow ")
    program, *words = shlex.split(advice)
    code, _, err = sept(*words, "--sweep", "other", "--port", free_port())
    assert (program, code) == ("sept", 2)
    assert f"no experiment 'other' in MLflow; known: {made.SWEEP}" in err


@contextmanager
def served(*arguments: object) -> Iterator[str]:
    """The address that `sept ui` prints; ended by Ctrl-C, which has to leave no process."""
    port = free_port()
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "ui", *map(str, arguments)]
    command += ["--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = next((line.split()[-1] for line in process.stdout if "http://" in line), "")
        assert address.startswith(f"http://127.0.0.1:{port}/#/experiments/")
        yield address
    finally:
        os.kill(process.pid, signal.SIGINT)
        code = process.wait(30)
    assert code == 0
    with socket.create_server(("127.0.0.1", port)):
        pass  # nobody listens there any more


def test_it_serves_the_results_on_loopback_and_ctrl_c_leaves_no_process(tracked: Path) -> None:
    place = ("--root", "s3://bucket/runs", "--mlflow", f"sqlite:///{tracked}/mlflow.db")
    with served(*place) as address, urllib.request.urlopen(address.split("#")[0], timeout=20) as page:
        assert b"MLflow" in page.read()


# The table's rows lie in any order in the page, and say which they are.
CELLS = (
    "[...document.querySelectorAll('.ag-row [col-id=\"{}\"]{}')]"
    ".sort((one, other) => one.closest('.ag-row').getAttribute('row-index') - "
    "other.closest('.ag-row').getAttribute('row-index')).map(cell => cell.innerText.trim())"
)
NAMES = CELLS.format("attributes.`Run Name`", " a")
HEADERS = "[...document.querySelectorAll('.ag-header-cell')].map(cell => cell.getAttribute('col-id'))"
EXPAND = (
    "[...document.querySelectorAll('.ag-row')].find(row => row.innerText.includes('{}'))"
    ".querySelector('button').click()"
)


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine (apt-get install chromium)")
def test_a_person_sees_studies_with_their_trials_below_them_and_charts(
    sept: Sept, tracked: Path, tmp_path: Path
) -> None:
    cases = made.make_cases()
    made.fill_store(TrialStore(LocalFiles(tracked)), cases)
    code, _, err = sept("track", "sync", made.SWEEP, "--root", tracked)
    assert code == 0, err
    with served("--root", tracked) as address, browser(tmp_path / "profile") as tab:
        # Wide enough for all columns: the table makes only those that are in view.
        tab.open(address, 3400, 1200)
        studies = tab.wait(f"{NAMES}.length == 7 && {NAMES}")
        # And the sweep's own run, which carries its report.
        assert set(studies) == {f"{made.SWEEP} report"} | {
            f"{dataset} {method}, mini, base-to-new" for dataset in made.DATASETS for method in made.LEVELS
        }
        columns = tab.evaluate(HEADERS)
        for name in ("best/val_h", "best/test_h", "best/test_base", "best/test_new", "val/h", "test/h", "test/base"):
            assert f"metrics.`{name}`" in columns
        assert {"params.`n_ctx`", "params.`lambda_se`"} <= set(columns)
        shown = dict(zip(studies, tab.evaluate(CELLS.format("metrics.`best/test_h`", "")), strict=True))
        row = made.row_of(cases, "ESC10.mini.base-to-new.coop")
        assert float(shown["ESC10 coop, mini, base-to-new"]) == pytest.approx(made.summary(row, "test")["h"])
        # Opened, a study shows its trials, with what was searched in their names.
        opened = "ESC10 coop, mini, base-to-new"
        tab.evaluate(EXPAND.format(opened))
        names = tab.wait(f"{NAMES}.length > 7 && {NAMES}")
        trials = {run_name(case.proposal) for case in cases if case.proposal.study == "ESC10.mini.base-to-new.coop"}
        first = names.index(opened) + 1
        assert set(names[first : first + len(trials)]) == trials
        assert len(names) == 7 + len(trials)
        tab.open(f"{address}&compareRunsMode=CHART", 1600, 1200)
        tab.wait("document.querySelectorAll('.scatterlayer .trace path').length > 10")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
