from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic_results as made
from mlflow_server import free_port

from pipeline.doctor.mlflow_server import check_mlflow
from pipeline.store import Lease, LocalFiles, TrialStore
from pipeline.tracking import default_target
from pipeline.tracking.client import mlflow_client

Sept = Callable[..., tuple[int, str, str]]


@pytest.fixture
def filled(store: TrialStore, tmp_path: Path) -> Path:
    """A root with the synthetic sweep in it."""
    made.fill_store(store, made.make_cases())
    return tmp_path / "root"


def test_data_list_names_all_datasets_with_their_halves(sept: Sept) -> None:
    code, out, _ = sept("data", "list")
    assert code == 0
    assert "Beijing-Opera" in out
    code, out, _ = sept("data", "list", "--json")
    rows = {row["dataset"]: row for row in json.loads(out)}
    assert code == 0
    assert len(rows) == 14
    assert (rows["ESC10"]["base"], rows["ESC10"]["new"]) == (5, 5)
    assert rows["FSDD"]["neighbors"] is True


def test_status_counts_what_the_store_holds(sept: Sept, filled: Path) -> None:
    code, out, _ = sept("sweep", "status", made.SWEEP, "--root", filled, "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["ended"], found["budget"]) == (14, 14)
    coop = next(study for study in found["studies"] if study["key"] == "FSDD.mini.base-to-new.coop")
    assert (coop["finished"], coop["pruned"], coop["failed"], coop["begun"], coop["budget"]) == (2, 1, 0, 0, 3)
    row = made.row_of(made.make_cases(), coop["key"])
    assert coop["best_objective"] == pytest.approx(made.summary(row, "val")["h"], abs=1e-9)
    code, out, _ = sept("sweep", "status", made.SWEEP, "--root", filled)
    assert code == 0
    assert "14 of 14 trials ended" in out


def test_status_tells_why_trials_failed_and_what_has_begun(sept: Sept, store: TrialStore, tmp_path: Path) -> None:
    failed, begun = made.make_case("FSDD", "coop", 0, "failed"), made.make_case("FSDD", "coop", 1)
    made.fill_store(store, [failed])
    store.add_proposal(made.SWEEP, begun.proposal)
    code, out, _ = sept("sweep", "status", made.SWEEP, "--root", tmp_path / "root")
    assert code == 0
    assert f"#0 failed: {failed.decision.error}" in out
    code, out, _ = sept("sweep", "status", made.SWEEP, "--root", tmp_path / "root", "--json")
    study = next(one for one in json.loads(out)["studies"] if one["key"] == failed.proposal.study)
    assert (study["failed"], study["begun"]) == (1, 1)


def test_report_shows_the_table_and_where_it_lies(sept: Sept, filled: Path) -> None:
    code, out, _ = sept("report", made.SWEEP, "--root", filled)
    assert code == 0
    assert "CoOp + SEPT against CoOp" in out
    picture = filled / "sweeps" / made.SWEEP / "report" / "tradeoff.svg"
    assert str(picture) in out
    assert picture.is_file()
    code, out, _ = sept("report", made.SWEEP, "--root", filled, "--json")
    assert code == 0
    assert len(json.loads(out)["rows"]) == 6


@pytest.mark.parametrize("command", [["sweep", "status"], ["report"], ["track", "sync"]], ids=" ".join)
def test_an_unknown_sweep_is_one_line_and_exit_code_2(command: list[str], sept: Sept, filled: Path) -> None:
    code, out, err = sept(*command, "synthetik", "--root", filled)
    assert (code, out) == (2, "")
    assert "did you mean 'synthetic'" in err
    assert err.count("\n") == 1


def test_the_root_may_come_from_the_environment(sept: Sept, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPT_ROOT", str(filled))
    assert sept("report", made.SWEEP)[0] == 0


def test_track_sync_rebuilds_mlflow_from_the_store(sept: Sept, filled: Path, empty_database: Path) -> None:
    shutil.copy(empty_database, filled / "mlflow.db")
    code, out, _ = sept("track", "sync", made.SWEEP, "--root", filled)
    assert code == 0
    assert "14 ended trials are in MLflow" in out
    client = mlflow_client(default_target(filled))
    experiment = client.get_experiment_by_name(made.SWEEP)
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id], "tags.`sept.role` = 'trial'")) == 14
    (report,) = client.search_runs([experiment.experiment_id], "tags.`sept.role` = 'sweep'")
    assert [Path(one.path).name for one in client.list_artifacts(report.info.run_id, "report")] == [
        "report.html",
        "report.md",
        "tradeoff.svg",
    ]


def test_track_sync_tells_of_results_that_are_gone(sept: Sept, filled: Path, empty_database: Path) -> None:
    shutil.copy(empty_database, filled / "mlflow.db")
    for result in filled.glob("trials/FSDD.*.coop/*/result.json"):
        result.unlink()
    code, out, _ = sept("track", "sync", made.SWEEP, "--root", filled)
    assert code == 0
    assert "12 ended trials are in MLflow" in out
    assert "the results of 2 more trials are gone; launch the sweep again" in out


def test_track_sync_waits_for_no_running_sweep(sept: Sept, filled: Path) -> None:
    with Lease(LocalFiles(filled), made.SWEEP):
        code, _, err = sept("track", "sync", made.SWEEP, "--root", filled)
    assert code == 2
    assert "is being run by process" in err


def test_track_sync_to_a_server_that_is_away_says_so_in_one_line(sept: Sept, filled: Path) -> None:
    code, _, err = sept("track", "sync", made.SWEEP, "--root", filled, "--mlflow", "http://127.0.0.1:9")
    assert code == 1
    assert err.startswith("error: MLflow at http://127.0.0.1:9 did not accept it")
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [b"no database at all\n" * 200, "cut"])
def test_a_damaged_database_of_mlflow_is_one_line_with_the_cure(
    content: Any, sept: Sept, filled: Path, empty_database: Path
) -> None:
    whole = empty_database.read_bytes()
    (filled / "mlflow.db").write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    for command in (("track", "sync", made.SWEEP), ("ui", "--port", str(free_port()))):
        code, _, err = sept(*command, "--root", filled)
        assert code == 2
        assert err.startswith(f"error: {filled / 'mlflow.db'}: MLflow's database is damaged (")
        assert err.endswith("; move it away; 'sept track sync SWEEP' writes everything again from the results\n")
        assert err.count("\n") == 1
    checks = check_mlflow(str(filled), None)
    assert [(check.status, "is damaged" in check.said) for check in checks] == [("red", True)]


def test_commands_that_write_to_a_root_that_may_only_be_read_say_so_and_those_that_read_work(
    sept: Sept, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    # The tests may run as root, whom no mode stops.
    monkeypatch.setattr(LocalFiles, "_temporary", refuse)
    for command in (("report", made.SWEEP), ("track", "sync", made.SWEEP)):
        code, _, err = sept(*command, "--root", filled)
        assert code == 2
        assert err.startswith(f"error: {filled}: cannot write 'sweeps/{made.SWEEP}/")
        assert err.count("\n") == 1
    for command in (("sweep", "status", made.SWEEP), ("best", made.SWEEP)):
        assert sept(*command, "--root", filled)[0] == 0


def test_embed_of_an_unknown_dataset_is_one_line_with_the_nearest_name(sept: Sept, tmp_path: Path) -> None:
    code, _, err = sept("embed", "esc11", "--audio", tmp_path)
    assert code == 2
    assert "unknown dataset 'esc11'" in err
    assert "ESC10" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_embed_of_a_folder_without_audio_is_one_line(folder: str, sept: Sept, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = sept("embed", "esc10", "--audio", tmp_path / folder)
    assert code == 2
    assert str(tmp_path / folder) in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"this is no audio at all"], ids=["zero-length", "corrupt"])
def test_embed_of_a_clip_that_cannot_be_read_is_one_line_and_makes_no_store(
    content: bytes, sept: Sept, tmp_path: Path
) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    (recordings / "7_theo_0.wav").write_bytes(content)
    code, _, err = sept("embed", "fsdd", "--audio", tmp_path, "--root", tmp_path / "runs")
    assert code == 2
    assert "7_theo_0.wav" in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("runs/**/manifest.json"))
    (errors,) = tmp_path.glob("runs/**/errors.parquet")
    assert str(errors) in err


def test_a_wrong_key_in_a_sweep_is_one_line_with_file_and_key(sept: Sept, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(made.SPEC.replace("trials: 3", "trails: 3"))
    code, _, err = sept("sweep", "launch", wrong, "--root", tmp_path / "runs")
    assert code == 2
    assert "wrong.yaml" in err
    assert "did you mean 'trials'" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_report_says_where_its_files_lie_and_writes_latex_where_it_is_asked_for(sept: Sept, filled: Path) -> None:
    folder = filled / "sweeps" / made.SWEEP / "report"
    code, out, _ = sept("report", made.SWEEP, "--root", filled)
    assert code == 0
    assert f"Report  {folder / 'report.html'}\nTable   {folder / 'report.md'}\nPlot " in out
    assert not (folder / "table.tex").exists()
    code, out, _ = sept("report", made.SWEEP, "--root", filled, "--latex")
    assert code == 0
    assert f"LaTeX   {folder / 'table.tex'}\n" in out
    assert (folder / "table.tex").read_text().count("\\toprule") == 1


def test_rerun_refuses_what_the_sweep_does_not_have(sept: Sept, filled: Path) -> None:
    code, out, err = sept("rerun", made.SWEEP, "ffff", "--root", filled)
    assert (code, out) == (2, "")
    assert "has no trial 'ffff'" in err
    assert err.count("\n") == 1


def test_rerun_of_a_shipped_data_set_says_that_made_up_numbers_are_not_the_same(sept: Sept, filled: Path) -> None:
    made_up = made.make_case("FSDD", "zero-shot", 0).proposal.signature
    code, _, err = sept("rerun", made.SWEEP, made_up, "--root", filled)
    assert code == 2
    assert "encoder" in err


@pytest.mark.parametrize("command", ["export", "best", "rerun"])
def test_sweep_and_study_swapped_is_told_in_one_line(command: str, sept: Sept, filled: Path) -> None:
    to = ["--to", "x"] if command == "export" else []
    code, _, err = sept(command, "coop+sept", made.SWEEP, *to, "--root", filled)
    assert code == 2
    assert err.endswith("unknown sweep 'coop+sept'; 'synthetic' is a sweep: give it first, then 'coop+sept'\n")


def test_best_takes_the_study_as_export_does_and_names_the_nearest(sept: Sept, filled: Path) -> None:
    code, out, _ = sept("best", made.SWEEP, "ESC10.coop", "--json", "--root", filled)
    assert code == 0
    assert [row["study"] for row in json.loads(out)] == ["ESC10.mini.base-to-new.coop"]
    assert sept("best", made.SWEEP, "--study", "ESC10.coop", "--json", "--root", filled)[1] == out
    code, _, err = sept("best", made.SWEEP, "coop+spet", "--root", filled)
    assert code == 2
    assert "has no study 'coop+spet'; did you mean 'coop+sept'?" in err
    code, _, err = sept("best", made.SWEEP, "ESC10.coop", "--study", "FSDD.coop", "--root", filled)
    assert (code, err.split(";")[1]) == (2, " give one of them, or neither for all\n")


def test_best_shows_the_accuracy_among_all_classes_where_it_was_measured(
    sept: Sept, filled: Path, store: TrialStore
) -> None:
    def headings() -> list[list[str]]:
        lines = sept("best", made.SWEEP, "--root", filled)[1].splitlines()
        return [line.split() for line in lines if line.startswith("study ")]

    # Results of an earlier release.
    assert headings()[0][:6] == ["study", "val", "base", "new", "H", "chosen"]
    assert headings()[1][:6] == ["study", "trial", "val", "base", "new", "H"]
    assert "all" not in headings()[1]
    newer = made.among_all(made.make_case("FSDD", "zero-shot", 0))
    made.fill_store(store, [newer])
    assert newer.result is not None
    assert (headings()[0][4:6], headings()[1][5:7]) == (["H", "all"], ["H", "all"])
    lines = sept("best", made.SWEEP, "--root", filled)[1].splitlines()
    measured = [line.split()[6].rstrip("*") for line in lines if newer.proposal.signature[:8] in line]
    assert measured == [f"{newer.result.test['all']:.1f}"]
    estimate, use = (line.split() for line in lines if "ESC10.zero-shot" in line)
    assert (estimate[5], use[6]) == ("-", "-")
    assert "all: base and new test clips, each ranked among all names" in "\n".join(lines)


def test_best_tells_the_estimate_from_the_configuration_for_use(sept: Sept, store: TrialStore, tmp_path: Path) -> None:
    cases = made.make_cases(8)
    made.fill_store(store, cases)
    root = tmp_path / "root"
    study = "FSDD.mini.base-to-new.coop"
    (told,) = json.loads(sept("best", made.SWEEP, study, "--json", "--root", root)[1])
    estimate = made.summary(made.row_of(cases, study), "test")
    best = made.best_of(cases, study)
    assert best.result is not None
    assert told["estimate"]["h"] == pytest.approx(estimate["h"], abs=1e-9)
    assert (told["signature"], told["own_accuracy"]["h"]) == (best.proposal.signature, best.result.test["h"])
    assert "probably too good for unseen data" in told["own_accuracy_is"]
    folds = [fold for one in told["chosen_by_fold"] for fold in one["folds"]]
    assert sorted(folds) == sorted(best.proposal.config.folds)
    _, out, _ = sept("best", made.SWEEP, study, "--root", root)
    above, below = out.split("\nFor use: ")
    assert f"{estimate['h']:.1f}" in above
    assert "*" not in above
    assert f"{best.result.test['h']:.1f}*" in below
    assert "*: chosen on validation clips of all folds" in below


def test_a_file_where_a_sweeps_name_is_wanted_is_told_so(sept: Sept, filled: Path) -> None:
    code, _, err = sept("sweep", "status", "plans.yaml", "--root", filled)
    assert code == 2
    assert "unknown sweep 'plans.yaml'; give the sweep's name, which is 'name:' in its file; known: synthetic" in err


@pytest.mark.parametrize("line", [["data", "list", "--root"], ["data", "prepare", "fsdd", "--audio"]], ids=" ".join)
def test_an_address_with_one_slash_is_no_folder(line: list[str], sept: Sept, tmp_path: Path) -> None:
    code, _, err = sept(*line, "s3:/bucket/place")
    assert code == 2
    assert err.startswith("error: 's3:/bucket/place' is not an S3 address; give s3://BUCKET or s3://BUCKET/PREFIX")
    assert list(tmp_path.iterdir()) == []
