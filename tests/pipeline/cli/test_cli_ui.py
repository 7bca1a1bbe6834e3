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
from itertools import islice
from pathlib import Path

import pytest
import synthetic_results as made
from browser import browser, chromium

from pipeline.cli.launching import _next_command
from pipeline.store import LocalFiles, TrialStore
from pipeline.text import method_title
from pipeline.tracking import SweepWriter, default_target
from pipeline.tracking.client import mlflow_client

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
def served(*arguments: object) -> Iterator[tuple[str, str]]:
    """The addresses of table and charts that `sept ui` prints; ended by Ctrl-C, which must leave no process."""
    port = free_port()
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "ui", *map(str, arguments)]
    command += ["--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        addresses = [line.split()[-1] for line in islice((line for line in process.stdout if "http://" in line), 2)]
        assert all(address.startswith(f"http://127.0.0.1:{port}/#/experiments/") for address in addresses)
        table, charts = addresses
        yield table, charts
    finally:
        os.kill(process.pid, signal.SIGINT)
        code = process.wait(30)
    assert code == 0
    with socket.create_server(("127.0.0.1", port)):
        pass  # nobody listens there any more


def test_it_serves_the_results_on_loopback_and_ctrl_c_leaves_no_process(tracked: Path) -> None:
    place = ("--root", "s3://bucket/runs", "--mlflow", f"sqlite:///{tracked}/mlflow.db")
    with served(*place) as (address, _), urllib.request.urlopen(address.split("#")[0], timeout=20) as page:
        assert b"MLflow" in page.read()


# The rows of the table are in any order in the page, and have their numbers.
CELLS = (
    "[...document.querySelectorAll('.ag-row [col-id=\"{}\"]{}')]"
    ".sort((one, other) => one.closest('.ag-row').getAttribute('row-index') - "
    "other.closest('.ag-row').getAttribute('row-index')).map(cell => cell.innerText.trim())"
)
NAMES = CELLS.format("attributes.`Run Name`", " a")
HEADERS = (
    "[...document.querySelectorAll('.ag-header-cell')]"
    ".sort((one, other) => one.getBoundingClientRect().left - other.getBoundingClientRect().left)"
    ".map(cell => cell.getAttribute('col-id'))"
)
EXPAND = (
    "[...document.querySelectorAll('.ag-row')].find(row => row.innerText.includes('{}'))"
    ".querySelector('button').click()"
)
TEXT = "document.body.innerText"
COLOURS = "[...new Set([...document.querySelectorAll('.scatterlayer .point')].map(point => point.style.fill))]"


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine (apt-get install chromium)")
def test_a_person_sees_the_best_first_the_studies_with_their_trials_and_charts(
    sept: Sept, tracked: Path, tmp_path: Path
) -> None:
    cases = [*made.make_cases(), made.make_case("FSDD", "coop+sept", 3, "failed")]
    made.fill_store(TrialStore(LocalFiles(tracked)), cases)
    code, _, err = sept("track", "sync", made.SWEEP, "--root", tracked)
    assert code == 0, err
    studies = {f"{dataset} | {method_title(method)}" for dataset in made.DATASETS for method in made.LEVELS}
    with served("--root", tracked) as (address, charts), browser(tmp_path / "profile") as tab:
        # Wide enough for all columns: the table makes only those that are in view.
        tab.open(address, 3000, 1400)
        rows = len(cases) + len(studies) + 1  # and the run with the report
        names = tab.wait(f"{NAMES}.length == {rows} && {NAMES}")
        assert studies < set(names)
        assert {"#3 coop+sept, failed | FSDD", "#1 coop, pruned | ESC10", "#0 coop | ESC10"} < set(names)
        # On the side for model training, with what the description says.
        shown = tab.evaluate(TEXT)
        assert "Evaluation runs" not in shown
        assert "To see what SEPT did" in shown
        # Sorted by validation, which comes first; then parameters, then test. No row lacks a validation but the report.
        columns = tab.evaluate(HEADERS)
        order = ("tags.`sept.state`", "metrics.`val/h`", "params.`lr`", "params.`lambda_se`", "metrics.`test/h`")
        places = [columns.index(name) for name in order]
        assert places == sorted(places)
        said = dict(zip(names, tab.evaluate(CELLS.format("metrics.`val/h`", "")), strict=True))
        assert said.pop(f"{made.SWEEP} report") == "-"
        values = [float(value) for value in said.values()]
        assert values == sorted(values, reverse=True)
        assert max(len(value) for value in said.values()) <= len("99.99")
        tests = dict(zip(names, tab.evaluate(CELLS.format("metrics.`test/h`", "")), strict=True))
        row = made.row_of(cases, "ESC10.mini.base-to-new.coop")
        assert float(tests["ESC10 | CoOp"]) == round(made.summary(row, "test")["h"], 2)
        # A second view has the trials below their study.
        tab.open(address.replace("ShareKey=sept", "ShareKey=sept-studies"), 1500, 1400)
        tab.wait(f"{NAMES}.length == {len(studies) + 1}")
        tab.evaluate(EXPAND.format("ESC10 | CoOp + SEPT"))
        names = tab.wait(f"{NAMES}.length > {len(studies) + 1} && {NAMES}")
        first = names.index("ESC10 | CoOp + SEPT") + 1
        assert set(names[first : first + 3]) == {
            "#0 coop+sept | ESC10",
            "#1 coop+sept, pruned | ESC10",
            "#2 coop+sept | ESC10",
        }
        # A third has charts of the trials: first base against new classes, in the colours of the methods; no test.
        tab.open(charts, 1500, 1400)
        tab.wait(f"document.querySelectorAll('.scatterlayer .point').length >= {len(cases)}")
        assert len(tab.evaluate(COLOURS)) == len(made.LEVELS)
        titles = tab.evaluate("[...document.querySelectorAll('h4')].map(title => title.innerText)")
        assert titles[:2] == ["val/base vs. val/new", "val/h"]
        assert not [title for title in titles if title.startswith("test")]
        # MLflow's own empty experiment is gone.
        tab.open(address.split("#")[0] + "#/experiments?workflowType=machine_learning", 1500)
        tab.wait(f"{TEXT}.includes('{made.SWEEP}') && {TEXT}.includes('Time created')")
        assert "Default" not in tab.evaluate(TEXT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
