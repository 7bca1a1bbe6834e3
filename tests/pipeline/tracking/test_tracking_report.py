from __future__ import annotations

from pathlib import Path
from typing import Any

import synthetic_results as made
from places import MakePlace, Place

from pipeline.reports import write_report
from pipeline.tracking import log_report, mlflow_client

FILES = {"report.html": b"<p>1</p>", "report.md": b"# 1\n"}


def runs_of(place: Place) -> list[Any]:
    client = mlflow_client(place.target)
    experiment = client.get_experiment_by_name(place.sweep)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], "tags.`sept.role` = 'sweep'"))


def artifacts_of(place: Place, run: Any) -> dict[str, bytes]:
    client = mlflow_client(place.target)
    found = client.list_artifacts(run.info.run_id, "report")
    return {
        Path(one.path).name: Path(client.download_artifacts(run.info.run_id, one.path)).read_bytes() for one in found
    }


def test_the_report_is_files_of_one_run_beside_the_studies(sqlite: MakePlace) -> None:
    place, cases = sqlite(), made.make_cases()
    place.keep(cases)
    before = place.play(cases)
    _, written = write_report(place.store, place.sweep)
    files = {key.rsplit("/", 1)[1]: place.store.files.read(key) for key in written.shown}
    assert log_report(mlflow_client(place.target), place.sweep, files)
    (run,) = runs_of(place)
    assert run.info.status == "FINISHED"
    assert set(files) == {"report.html", "report.md", "tradeoff.svg"}
    assert artifacts_of(place, run) == files
    # A later launch finds its own runs as they were.
    assert place.replay(cases) == before
    assert [one.info.run_id for one in runs_of(place)] == [run.info.run_id]


def test_the_same_report_is_not_written_twice_and_another_one_takes_its_place(make_place: MakePlace) -> None:
    place, cases = make_place(), made.make_cases()[:1]
    place.keep(cases)
    place.play(cases)
    client = mlflow_client(place.target)
    assert log_report(client, place.sweep, FILES)
    assert not log_report(client, place.sweep, FILES)
    newer = FILES | {"report.md": b"# 2\n"}
    assert log_report(client, place.sweep, newer)
    (run,) = runs_of(place)
    assert artifacts_of(place, run) == newer


def test_what_a_kill_left_half_done_is_done_again_in_the_same_run(sqlite: MakePlace) -> None:
    place, cases = sqlite(), made.make_cases()[:1]
    place.keep(cases)
    place.play(cases)
    client = mlflow_client(place.target)
    experiment = client.get_experiment_by_name(place.sweep)
    assert experiment is not None
    for _ in range(2):
        client.create_run(experiment.experiment_id, tags={"sept.sweep": place.sweep, "sept.role": "sweep"})
    assert log_report(client, place.sweep, FILES)
    (run,) = runs_of(place)
    assert run.info.status == "FINISHED"
    assert artifacts_of(place, run) == FILES


def test_a_sweep_that_mlflow_does_not_know_gets_no_run(sqlite: MakePlace) -> None:
    place = sqlite()
    assert not log_report(mlflow_client(place.target), "unknown", FILES)
    assert mlflow_client(place.target).get_experiment_by_name("unknown") is None
