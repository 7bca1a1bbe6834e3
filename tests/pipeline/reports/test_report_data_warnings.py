"""A warning about the data follows its numbers to every place that shows them, and stands there once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_results as made
from rich.console import Console

from pipeline.reports import collect, describe, to_html, to_latex, to_markdown
from pipeline.reports.published import published_notes
from pipeline.reports.tables import legend
from pipeline.store import TrialStore
from pipeline.tracking.describe import data_tags, decision_tags, params_of
from pipeline.tracking.sync import sync
from pipeline.tracking.writer import SweepWriter
from pipeline.watch.status import sweep_status

WARNING = "FSDD: 2 speakers stand in both training and test of the published split (a, b), with 9 of 90 test clips"


@pytest.fixture
def warned(store: TrialStore) -> TrialStore:
    """The synthetic sweep, with a warning in all results on FSDD."""
    cases = [
        replace(case, result=replace(case.result, warnings=(WARNING,)))
        if case.result is not None and case.proposal.config.dataset == "FSDD"
        else case
        for case in made.make_cases()
    ]
    made.fill_store(store, cases)
    return store


def test_the_store_keeps_it_with_the_result(warned: TrialStore) -> None:
    case = next(
        case for case in made.make_cases() if case.proposal.config.dataset == "FSDD" and case.result is not None
    )
    result = warned.read_result(case.proposal.study, case.proposal.signature)
    assert result is not None
    assert result.warnings == (WARNING,)


def test_table_report_and_paper_have_it_once(warned: TrialStore) -> None:
    table = collect(warned, made.SWEEP)
    assert table.data_warnings == (WARNING,)
    assert [line for line in legend(table) if WARNING in line] == [f"Data: {WARNING}."]
    assert table.to_json()["data_warnings"] == [WARNING]
    document = describe(table)
    assert to_markdown(document).count(WARNING) == 1
    assert to_html(document).count(WARNING) == 1
    assert to_latex(table).count(WARNING) == 1


def test_a_sweep_without_it_says_nothing_of_data(store: TrialStore) -> None:
    made.fill_store(store, made.make_cases())
    table = collect(store, made.SWEEP)
    assert table.data_warnings == ()
    assert not [line for line in legend(table) if line.startswith("Data:")]
    assert sweep_status(store, made.SWEEP).data_warnings == ()


def test_status_and_best_show_it(warned: TrialStore, sept: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    assert sweep_status(warned, made.SWEEP).data_warnings == (WARNING,)
    for command in (("sweep", "status"), ("best",)):
        code, out, _ = sept(*command, made.SWEEP, "--root", tmp_path / "root")
        assert code == 0
        assert " ".join(out.split()).count(WARNING) == 1
        code, out, _ = sept(*command, made.SWEEP, "--root", tmp_path / "root", "--json")
        assert WARNING in json.dumps(json.loads(out))


def test_what_is_said_of_neighbours_is_shown_though_trials_without_sept_say_nothing(store: TrialStore) -> None:
    said = "FSDD: the neighbours were written knowing the names of 5 classes that were not trained on"
    cases = [
        replace(case, result=replace(case.result, warnings=(said,)))
        if case.result is not None and case.proposal.config.sept and case.proposal.config.dataset == "FSDD"
        else case
        for case in made.make_cases()
    ]
    made.fill_store(store, cases)
    assert sweep_status(store, made.SWEEP).data_warnings == (said,)
    assert collect(store, made.SWEEP).data_warnings == (said,)


def test_mlflow_has_it_as_a_tag_of_trials_and_studies(warned: TrialStore, make_target) -> None:
    from pipeline.tracking.client import mlflow_client

    target = make_target("tracked")
    client = mlflow_client(target)
    sync(warned, made.SWEEP, SweepWriter(client, target, made.SWEEP, warned))
    experiment = client.get_experiment_by_name(made.SWEEP)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    tagged = {run.info.run_id for run in runs if run.data.tags.get("sept.data_warnings") == WARNING}
    wanted = {
        run.info.run_id
        for run in runs
        if run.data.tags["sept.dataset"] == "FSDD"
        and (run.data.tags["sept.role"] == "study" or run.data.tags["sept.state"] == "finished")
    }
    assert tagged == wanted
    assert len(tagged) > 4


def test_a_trial_that_drops_clips_or_neighbours_says_so_in_its_parameters() -> None:
    case = made.make_case("FSDD", "coop", 0)
    dropped = replace(case.proposal, config=case.proposal.config.model_copy(update={"crossing": "drop"}))
    assert params_of(dropped)["crossing"] == "drop"
    assert "crossing" not in params_of(case.proposal)
    sept = made.make_case("FSDD", "coop+sept", 0).proposal
    naming = replace(sept, config=sept.config.model_copy(update={"neighbors_naming_new": "drop"}))
    assert params_of(naming)["neighbors_naming_new"] == "drop"
    assert "neighbors_naming_new" not in params_of(sept)
    assert case.result is not None
    assert "sept.data_warnings" not in decision_tags(case.proposal, case.decision, case.result) | data_tags(())


def test_published_rows_on_a_copy_with_wrong_folds_say_what_they_stand_on(store: TrialStore) -> None:
    from pipeline.reports.published import _published

    (note,) = published_notes(row for row in _published() if row.dataset == "TUT2017")
    assert note.startswith("TUT2017: PALM's logs show test sets of 1,170, 3,507, 3,507 and 3,510 clips")
    (note,) = published_notes(row for row in _published() if row.dataset == "average of 11")
    assert note.startswith("Averages of 11 include TUT2017.")
    assert published_notes(row for row in _published() if row.dataset == "ESC50") == ()


def test_a_narrow_terminal_loses_none_of_it(warned: TrialStore) -> None:
    from pipeline.cli.show_status import render

    console = Console(file=io.StringIO(), width=80)
    console.print(render(sweep_status(warned, made.SWEEP)))
    assert WARNING in " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
