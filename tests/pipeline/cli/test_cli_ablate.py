"""``sept ablate`` on a real Ray: killed and run again, and what it refuses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import SWEEP, fill_store, make_case
from tiny_sweep import make_spec, outcome_of, run_inline

from pipeline.data.stored_spec import stored_spec
from pipeline.store import Lease, LocalFiles, TrialStore
from pipeline.tracking import default_target, mlflow_client

Sept = Callable[..., tuple[int, str, str]]

HERE = Path(__file__).parent
# The command line with the inputs of the tests.
PROGRAM = """
import functools, sys
import tiny_inputs
import pipeline.search.inputs as inputs
import pipeline.search.sweep as search
inputs.load_inputs = tiny_inputs.provide
search.launch = functools.partial(search.launch, provider=tiny_inputs.provide)
from pipeline.cli import main
main(sys.argv[1:])
"""
ROW = "FSDD.mini.base-to-new.coop+sept"


def searched(root: Path, **changes: Any) -> TrialStore:
    spec = make_spec(**{"methods": ["coop", "coop+sept"], "trials": 2} | changes)
    store = TrialStore(LocalFiles(root))
    store.write_spec(spec.name, spec.text())
    run_inline(spec, root)
    return store


def started(root: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own, which writes to a file: a pipe would stay open in Ray's processes."""
    path = os.pathsep.join(map(str, (HERE.parents[2], HERE.parent / "search")))
    variables = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    variables.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-c", PROGRAM, "ablate", "tiny", "coop+sept", "--root", str(root), "--workers", "1"]
    with (root / "said.txt").open("wb") as said:
        return subprocess.Popen(command, env=variables, cwd=root, stdout=said, stderr=said)


@pytest.mark.slow
@pytest.mark.timeout(800)
def test_killed_and_run_again_it_ends_with_the_same_table_in_mlflow_and_report(
    tmp_path: Path, empty_database: Path
) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    store = searched(root)
    shutil.copy(empty_database, root / "mlflow.db")
    first = started(root)
    try:
        deadline = time.monotonic() + 300
        while not any(store.decisions(name) for name in store.sweeps() if name != "tiny"):
            assert first.poll() is None, (root / "said.txt").read_text()
            assert time.monotonic() < deadline, store.sweeps()
            time.sleep(0.02)
    finally:
        first.kill()
        first.wait()
    (name,) = (one for one in store.sweeps() if one != "tiny")
    spec = stored_spec(store, name)
    total = sum(study.trials for study in spec.studies())
    done = len(store.decisions(name))
    assert 0 < done < total
    code = started(root).wait(timeout=400)
    out = (root / "said.txt").read_text()
    assert code == 0, out
    assert f"{ROW}: {total} variants of what was chosen, each with one thing changed" in out
    assert re.search(r"work +\d+ trials with \d+ replicas in all,\n +about [0-9.]+ m?s|s one after the other", out)
    table = out[out.index("variant ") :]
    assert max(map(len, table.splitlines()[: total + 3])) <= 100
    assert "SEPT off" in table
    assert "report.html" in table
    # Equal to the same trials one after the other, undisturbed.
    searched(other)
    run_inline(spec, other)
    assert outcome_of(root, name) == outcome_of(other, name)
    assert '<section id="ablation">' in (root / "sweeps/tiny/report/report.html").read_text()
    experiment = mlflow_client(default_target(root)).get_experiment_by_name(name)
    assert experiment is not None


def one_line(ran: tuple[int, str, str], *words: str) -> None:
    code, out, err = ran
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert all(word in err for word in words), err


def test_what_cannot_be_ablated_is_refused_in_a_line(sept: Sept, tmp_path: Path) -> None:
    root = tmp_path / "root"
    store = TrialStore(LocalFiles(root))
    fill_store(store, [make_case("ESC10", "coop", 0), make_case("ESC10", "coop+sept", 0)])

    def ablate(*words: str) -> tuple[int, str, str]:
        return sept("ablate", *words, "--root", root)

    one_line(ablate("nosuch", "coop+sept"), "unknown sweep 'nosuch'")
    one_line(ablate("coop+sept", SWEEP), f"'{SWEEP}' is a sweep: give it first")
    one_line(ablate(SWEEP, "coop+spet"), "has no study 'coop+spet'", "did you mean 'coop+sept'?")
    one_line(ablate(SWEEP, "coop"), "is without SEPT", "give a row with SEPT: ESC10.mini.base-to-new.coop+sept")
    with Lease(store.files, SWEEP):
        one_line(
            ablate(SWEEP, "coop+sept"),
            f"sweep '{SWEEP}' is being run by process",
            f"sept sweep stop {SWEEP} --root {root}",
        )


def test_a_study_without_a_finished_trial_has_nothing_to_ablate(sept: Sept, tmp_path: Path) -> None:
    root = tmp_path / "root"
    store = TrialStore(LocalFiles(root))
    fill_store(store, [make_case("ESC10", "coop", 0), make_case("ESC10", "coop+sept", 0, "failed")])
    one_line(sept("ablate", SWEEP, "coop+sept", "--root", root), "no trial of study 'coop+sept' has finished yet")


def test_only_the_command_writes_an_ablation_into_a_spec(sept: Sept, tmp_path: Path) -> None:
    store = searched(tmp_path / "root", trials=1)
    text = (store.read_spec("tiny") or "") + (
        "ablation:\n  sweep: tiny\n  row: x\n  trials:\n  - {method: coop, hyper: {}, folds: {theo: SEPT off}}\n"
    )
    (tmp_path / "mine.yaml").write_text(text)
    code, _, err = sept("sweep", "launch", "mine.yaml", "--root", tmp_path / "root")
    assert code == 2
    assert "ablation: only sept ablate writes this key" in err
