from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_results as made

from pipeline.search.inputs import load_inputs
from pipeline.search.sizing import middle, trial_config
from pipeline.spec import load_sweep
from pipeline.store import TrialStore
from pipeline.text import duration
from sept_core.datasets import DATASETS

Sept = Callable[..., tuple[int, str, str]]


def test_a_plan_shows_studies_totals_and_cost_and_writes_nothing(
    sept: Sept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = ("sweep", "plan", "quickstart", "--root", tmp_path / "runs", "--workers", 3, "--trials", 4)
    code, out, err = sept(*command, "--calibrate", 0.1, "--price", 2)
    assert (code, err) == (0, "")
    assert "quickstart: 27 trials in 9 studies" in out
    assert "ESC10 coop+sept" in out
    assert "up to 3 trials at the same time on this machine" in out
    assert "Cost at 2 per worker-hour" in out
    assert "Not included: starting Ray" in out
    assert not (tmp_path / "runs").exists()
    table = out[out.index("study") : out.index("ended: trials")].splitlines()
    assert sum("calibrated" in line for line in table) == 9
    assert max(map(len, table)) <= 80
    code, out, err = sept(*command, "--calibrate", 0, "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert [(study["trials"], study["left"], study["replicas"]) for study in found["studies"]] == [
        (1, 1, 6), (4, 4, 6), (4, 4, 6), (1, 1, 4), (4, 4, 4), (4, 4, 4), (1, 1, 3), (4, 4, 3), (4, 4, 3)
    ]  # fmt: skip
    assert {study["estimate"]["source"] for study in found["studies"]} == {"unknown"}
    assert (found["runnable"], found["missing"], found["refusals"]) == (True, [], [])


def test_all_that_is_missing_is_listed_and_the_exit_code_is_2(sept: Sept, tmp_path: Path) -> None:
    file = tmp_path / "big.yaml"
    datasets = [name for name, info in DATASETS.items() if not info.extra]
    methods = "[zero-shot, coop, cocoop+sept]"
    file.write_text(
        f"name: big\nencoder: {{name: msclap-2023, weights: nowhere.pth}}\ndatasets: {json.dumps(datasets)}\n"
        f"methods: {methods}\ntrials: 3\ntraining: {{epochs: 2, report_every: 1}}\n"
    )
    with file.open("a") as more:
        more.write("presets: {coop: palm}\n")
    code, out, err = sept("sweep", "plan", file, "--root", tmp_path / "runs")
    assert (code, err) == (2, "")
    assert "Preset of coop: palm (asif-hanif/palm); changed by this sweep: epochs 2 (preset: 50)" in out
    assert "Missing (12):" in out
    assert all(f"sept embed {name.lower()} --audio DIR --encoder msclap-2023" in out for name in datasets)
    assert f"{tmp_path / 'nowhere.pth'}: the weights of msclap-2023 are not there (33 studies)" in out
    assert "55 trials of unknown duration" in out  # the preset leaves coop nothing to search
    assert not (tmp_path / "runs").exists()
    code, out, _ = sept("sweep", "plan", file, "--root", tmp_path / "runs", "--json", "--gpus", 4)
    found = json.loads(out)
    assert code == 2
    assert len(found["missing"]) == 12
    assert found["totals"]["gpus"] == 4


def test_a_launched_sweep_is_planned_by_its_name(sept: Sept, store: TrialStore, tmp_path: Path) -> None:
    made.fill_store(store, made.make_cases())
    command = ("sweep", "plan", made.SWEEP, "--root", tmp_path / "root", "--calibrate", 0)
    _, out, err = sept(*command, "--trials", 5)
    assert err == ""
    assert "synthetic: 22 trials in 6 studies" in out
    assert "3/5 1p" in out


def test_a_duration_that_is_not_known_is_a_range(sept: Sept, tmp_path: Path, store: TrialStore) -> None:
    """Nothing of kgcoop is in the store and nothing may be timed, but another method has trained with this encoder."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nencoder: mini\ndatasets: [FSDD]\nmethods: [coop, kgcoop]\ntrials: 1\n"
        "training: {epochs: 4, report_every: 2}\n"
    )
    spec = load_sweep(file)
    inputs = load_inputs(str(tmp_path / "root"), spec.studies()[0].inputs)
    config = trial_config(spec, spec.studies()[0], inputs, middle(spec.studies()[0]))
    case = made.make_case("FSDD", "coop", 0)
    assert case.result is not None
    store.write_result(replace(case.result, config=config, signature=config.signature, train_seconds=8.0))
    command = ("sweep", "plan", file, "--root", tmp_path / "root", "--calibrate", 0)
    _, out, _ = sept(*command, "--json")
    found = json.loads(out)
    known, guessed = (study["estimate"] for study in found["studies"])
    assert (known["source"], known["seconds"], known["least"]) == ("store", 8.0, None)
    assert (guessed["source"], found["totals"]["unknown"]) == ("methods", 0)
    assert guessed["most"] == pytest.approx(4 * guessed["least"])
    low, high = found["totals"]["trial_range"]
    assert (3600 * low, 3600 * high) == (pytest.approx(8 + guessed["least"]), pytest.approx(8 + guessed["most"]))
    line = next(line for line in sept(*command)[1].splitlines() if line.startswith("Left:"))
    assert re.search(r"2 trials, .* to .* one after the other", line)


def test_another_spec_under_the_name_is_told_in_the_words_of_launch(
    sept: Sept, store: TrialStore, tmp_path: Path
) -> None:
    made.fill_store(store, made.make_cases())
    file = tmp_path / "synthetic.yaml"
    file.write_text(made.SPEC + "shots: 8\n")
    command = ("sweep", "plan", file, "--root", tmp_path / "root", "--calibrate", 0)
    code, out, _ = sept(*command)
    assert code == 2
    assert "sept sweep launch would refuse it:\n  sweep 'synthetic': this sweep was started with another spec" in out
    assert "3/3 1p" in out
    assert sept(*command, "--fork", "eight")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("nowhere.yaml",), "cannot read the sweep"), (("quickstart", "--fork", "../x"), "letters, digits")],
)
def test_what_cannot_be_planned_is_one_line_and_exit_code_2(arguments: tuple[str, ...], said: str, sept: Sept) -> None:
    code, out, err = sept("sweep", "plan", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.004, "0.004 s"), (2.345, "2.3 s"), (99.4, "99 s"), (100, "1.7 min"), (7200, "2.0 h"), (1e6, "11.6 d")],
)
def test_durations_are_short(seconds: float, said: str) -> None:
    assert duration(seconds) == said
