"""``python -m tests.gpu`` runs in little on a CPU, with nothing but what a bare GPU machine has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A module that is None in `sys.modules` cannot be imported: as if it were not installed.
ABSENT = [
    "ray",
    "mlflow",
    "optuna",
    "boto3",
    "botocore",
    "pydantic",
    "pyarrow",
    "pandas",
    "av",
    "soundfile",
    "torchaudio",
    "msclap",
    "torchlibrosa",
    "librosa",
    "matplotlib",
    "scipy",
    "sklearn",
    "typer",
    "rich",
    "openai",
    "pytest",
]
BARE = (
    f"import runpy, sys; sys.modules.update(dict.fromkeys({ABSENT})); "
    "runpy.run_module('tests.gpu', run_name='__main__', alter_sys=True)"
)


def run(*arguments: str, threads: str = "1") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    # From the folder of the project, as the command is meant to be run.
    return subprocess.run(
        [sys.executable, "-c", BARE, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=540
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    out = tmp_path_factory.mktemp("gpu") / "new folder"
    done = run("--small", "--device", "cpu", "--minutes", "60", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in out.iterdir()] == ["results.json"]
    document = json.loads((out / "results.json").read_text())
    assert document["small"]
    assert document["machine"]["device"] == "cpu"
    return document["sections"]


def test_every_section_is_done_on_a_bare_machine(results: dict[str, dict]) -> None:
    assert list(results) == [
        "equality", "step", "fusing", "memory", "batch-size", "embedding", "bfloat16", "actors", "compiled",
    ]  # fmt: skip
    assert {name: entry["state"] for name, entry in results.items()} == dict.fromkeys(results, "done")
    assert not any("no_time_for" in entry for entry in results.values())


def test_what_is_compared_agrees_and_what_is_timed_was_timed(results: dict[str, dict]) -> None:
    results = {name: entry["result"] for name, entry in results.items()}
    methods = [f"{name}{sept}" for name in ("coop", "kgcoop", "dept", "cocoop") for sept in ("", "+sept")]
    equality = results["equality"]
    assert [row["method"] for row in equality["rows"]] == methods
    for row in equality["rows"]:
        assert row["same_again"]
        for other in ("separate", "grid"):
            assert row[other]["losses"] <= equality["tolerance"]["losses"]
            # What was learned is more than nothing, and the same: a quotient of two zeros is not a number.
            assert row[other]["learned"] <= equality["tolerance"]["learned"]
    assert [row["method"] for row in results["step"]["rows"]] == methods[1::6]
    assert all(row["differ_by"] < 1e-3 and row["ratio"] > 0 for row in results["step"]["rows"])
    assert [row["replicas"] for row in results["fusing"]["replicas"]] == [1, 2, 4] * 2
    assert all(row["contexts_differ_by"] < 1e-4 for row in results["fusing"]["grids"])
    assert [row["budget"] for row in results["memory"]["by_budget"]] == [128, 256, 512]
    assert {row["encoder"] for row in results["batch-size"]["rows"]} == {"mini"}
    assert all(row["h_bfloat16"] > 0 for row in results["bfloat16"]["rows"])
    assert results["actors"]["started_as"] == "plain processes: Ray is not installed"
    assert [row["actors"] for row in results["actors"]["rows"]] == [2]
    (compiled,) = results["compiled"]["rows"]
    assert compiled["cuda_graph"] == "needs a GPU"
    assert compiled["torch_compile"]["first_step_differs_by"] < 1e-3


def test_a_section_that_fails_is_recorded_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from tests.gpu.__main__ import main
    from tests.gpu.bench import Bench, MissingError, ToleranceError

    written = []

    def look(bench: Bench) -> dict:
        written.append(json.loads((tmp_path / "results.json").read_text())["sections"])
        return {"numbers": [1 / 3, float("inf")], "time": bench.time_for("more", 1e9)}

    def broken(bench: Bench) -> dict:
        bench.found({"row": 1})
        raise RuntimeError("no kernel image")

    def missing(_: Bench) -> dict:
        raise MissingError("no package msclap")

    def apart(_: Bench) -> dict:
        raise ToleranceError("coop: fused against separate", {"rows": [1]})

    sections = {"broken": broken, "missing": missing, "apart": apart, "look": look}
    table = {name: (section, 1.0) for name, section in sections.items()}
    assert main(["--out", str(tmp_path), "--device", "cpu"], table) == 1
    found = json.loads((tmp_path / "results.json").read_text())["sections"]
    assert {name: entry["state"] for name, entry in found.items()} == {
        "broken": "failed", "missing": "skipped", "apart": "failed", "look": "done",
    }  # fmt: skip
    assert found["broken"]["error"] == "RuntimeError: no kernel image"
    assert "in broken" in found["broken"]["traceback"]
    assert found["broken"]["found_before"] == [{"row": 1}]
    assert found["missing"]["reason"] == "no package msclap"
    assert found["apart"]["result"] == {"rows": [1]}
    assert found["look"]["result"] == {"numbers": [0.33333, "inf"], "time": False}
    assert found["look"]["no_time_for"] == ["more"]
    assert list(written[0]) == ["broken", "missing", "apart"]  # those before it stood there already
    assert main(["--out", str(tmp_path), "--device", "cpu", "--sections", "missing,missing"], table) == 0
    assert "no package msclap" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sections", "equality,stpe"], "unknown section 'stpe'; known: equality, step"),
        (["--minutes", "0"], "--minutes 0 leaves no time"),
        (["--device", "cuda"], "torch finds no GPU here; --device cpu"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    from tests.gpu.__main__ import main

    with pytest.raises(SystemExit) as ended:
        main(["--out", str(tmp_path / "out"), *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
