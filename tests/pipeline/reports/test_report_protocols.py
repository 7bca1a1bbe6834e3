"""Cross-dataset results, results that were chosen on test clips, and published figures beside ours."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import synthetic_results as made
from rich.console import Console

from pipeline.cli.report import show_report
from pipeline.reports import (
    SweepTable,
    collect,
    describe,
    gain_lines,
    read_records,
    render_table,
    to_latex,
    to_markdown,
    write_report,
)
from pipeline.reports.published import Published, published_beside
from pipeline.store import TrialStore
from pipeline.tracking.describe import study_tags
from pipeline.tracking.labels import run_name
from sept_core.datasets import DATASETS


@pytest.fixture
def crossed(store: TrialStore) -> SweepTable:
    made.fill_store(store, made.make_transfers())
    return collect(store, made.SWEEP)


@pytest.fixture
def paper(store: TrialStore) -> SweepTable:
    cases = [made.chosen_on_test(case) for case in made.make_cases() if case.result is not None]
    made.fill_store(store, cases)
    return collect(store, made.SWEEP)


def text_of(table: SweepTable) -> str:
    return to_markdown(describe(table))


def terminal(table: SweepTable) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(render_table(table))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_cross_dataset_sweep_shows_source_targets_and_their_mean_for_every_method(crossed: SweepTable) -> None:
    assert [(row.dataset, row.method) for row in crossed.transfers] == [
        (source, method) for source in ("ESC10", "FSDD") for method in ("zero-shot", "coop", "coop+sept")
    ]
    assert crossed.rows == ()
    markdown, shown = text_of(crossed), terminal(crossed)
    header = "| source | method | on source | ESC10 | FSDD | mean of targets | val | trials |"
    assert header in markdown
    assert "…" not in shown
    for row in crossed.transfers:
        (target,) = row.targets.values()
        for score in (row.source, target):
            assert f"{score.accuracy:.1f} ± {score.std:.1f}" in markdown
            assert f"{score.accuracy:.1f} ± {score.std:.1f}" in shown
        assert f"| {row.mean:.1f} ± {row.mean_std:.1f} |" in markdown.replace("**", "")


def test_results_from_several_sources_are_also_averaged_over_them(crossed: SweepTable, store: TrialStore) -> None:
    rows = {(row.dataset, row.method): row for row in crossed.transfers}
    markdown, shown, latex = text_of(crossed), terminal(crossed).split("average")[1], to_latex(crossed)
    for method, title in (("zero-shot", "zero-shot"), ("coop", "CoOp"), ("coop+sept", "CoOp + SEPT")):
        one, other = rows["ESC10", method], rows["FSDD", method]
        mean = f"{(one.mean + other.mean) / 2:.1f}"
        source = f"{(one.source.accuracy + other.source.accuracy) / 2:.1f}"
        # Each is the only source of the other.
        targets = f"{other.targets['ESC10'].accuracy:.1f} | {one.targets['FSDD'].accuracy:.1f}"
        assert f"| average over sources | {title} | {source} | {targets} | {mean} |" in markdown
        assert f"& {title} & {source} & {targets.replace('|', '&')} & {mean} &" in latex
        assert mean in next(line for line in shown.splitlines() if f" {title} " in line)
    single = replace(crossed, transfers=crossed.transfers[:3], transfer_gains=crossed.transfer_gains[:1])
    assert "average" not in text_of(single) + terminal(single) + to_latex(single)


@pytest.fixture
def few(store: TrialStore) -> SweepTable:
    made.fill_store(store, made.make_few_shots())
    return collect(store, made.SWEEP)


def test_few_shot_is_a_table_of_methods_by_dataset_with_an_average(few: SweepTable) -> None:
    assert (few.rows, few.transfers) == ((), ())
    markdown, shown, latex = text_of(few).replace("**", ""), terminal(few), to_latex(few)
    assert "| method | ESC10 | FSDD | average |" in markdown
    assert "Method & ESC10 & FSDD & Average" in latex
    for method, title in (("zero-shot", "zero-shot"), ("coop", "CoOp"), ("coop+sept", "CoOp + SEPT")):
        rows = [row for row in few.few_shot if row.method == method]
        cells = [f"{row.test.accuracy:.1f} ± {row.test.std:.1f}" for row in rows]
        mean = f"{sum(row.test.accuracy for row in rows) / 2:.1f}"
        assert f"| {title} | {' | '.join(cells)} | {mean} |" in markdown
        line = next(line for line in shown.splitlines() if line.startswith(f"{title}  "))
        assert all(cell in line for cell in (*cells, mean))
        plain = latex.replace("\\textbf{", "").replace("}", "").replace(" $\\pm$ ", " ± ")
        assert f"{title} & {' & '.join(cells)} & {mean} " in plain
    for word in ("Trade-off", "trade-off", "base classes", "new classes", " H "):
        assert word not in markdown.partition("## Reproduce")[0]


def test_many_datasets_of_few_shot_are_shown_below_each_other_on_a_terminal(few: SweepTable) -> None:
    names = [f"Dataset-{number}" for number in range(7)]
    rows = tuple(replace(row, dataset=name, study=name + row.study) for name in names for row in few.few_shot[:3])
    shown = terminal(replace(few, few_shot=rows, few_shot_gains=()))
    assert "…" not in shown
    assert all(name in shown for name in (*names, "average"))


def test_a_dataset_without_all_methods_is_left_out_of_the_average(few: SweepTable) -> None:
    names = ("A", "B", "C")
    rows = [replace(row, dataset=name, study=name + row.study) for name in names for row in few.few_shot[:3]]
    partial = replace(few, few_shot=tuple(rows[:-1]), few_shot_gains=())
    assert "| method | A | B | C | average of 2 |" in text_of(partial)


def test_the_gain_in_few_shot_is_paired_and_leads_the_report(few: SweepTable, store: TrialStore) -> None:
    rows = {(row.dataset, row.method): row for row in few.few_shot}
    for gain, line in zip(few.few_shot_gains, gain_lines(few), strict=True):
        difference = rows[gain.dataset, "coop+sept"].headline - rows[gain.dataset, "coop"].headline
        assert gain.accuracy == pytest.approx(difference)
        assert f"accuracy {gain.accuracy:+.1f} ± {gain.accuracy_std:.1f}" in line
    document = describe(few, read_records(store, made.SWEEP))
    assert "points of accuracy on average over 2 datasets" in document.headline
    assert "Highest accuracy: ESC10" in document.conclusion
    table, written = write_report(store, made.SWEEP)
    assert written.picture.endswith("few-shot.svg")
    numbers = json.loads(store.files.read(written.results))
    assert numbers["few_shot"][0]["test"]["accuracy"] == table.few_shot[0].test.accuracy
    assert len(numbers["few_shot_gains"]) == 2


def test_published_rows_beside_few_shot_are_those_of_all_classes(few: SweepTable) -> None:
    there = replace(few, few_shot=tuple(replace(row, dataset="ESC50") for row in few.few_shot[:3]), few_shot_gains=())
    found = published_beside(there.studies)
    assert {("zero-shot", "49.65"), ("CoOp", "93.82")} <= {(row.method, row.accuracy) for row in found}
    assert all(row.protocol.startswith("all classes") for row in found)
    palm = replace(there.few_shot[0], method="palm")
    assert {("PALM", "95.93")} <= {(row.method, row.accuracy) for row in published_beside([palm])}


def test_the_gain_across_datasets_is_paired_replica_by_replica(crossed: SweepTable) -> None:
    rows = {(row.dataset, row.method): row for row in crossed.transfers}
    assert [(gain.dataset, gain.baseline) for gain in crossed.transfer_gains] == [("ESC10", "coop"), ("FSDD", "coop")]
    for gain, line in zip(crossed.transfer_gains, gain_lines(crossed), strict=True):
        difference = rows[gain.dataset, "coop+sept"].mean - rows[gain.dataset, "coop"].mean
        assert gain.targets == pytest.approx(difference)
        assert f"mean of targets {gain.targets:+.1f} ± {gain.targets_std:.1f}" in line


def test_the_report_of_a_cross_dataset_sweep_is_written_and_read_back(store: TrialStore) -> None:
    made.fill_store(store, made.make_transfers())
    table, written = write_report(store, made.SWEEP)
    assert written.picture.endswith("transfer.svg")
    assert b">mean of targets<" in store.files.read(written.picture)
    numbers = json.loads(store.files.read(written.results))
    assert numbers["transfers"][0]["mean"] == table.transfers[0].mean
    assert len(numbers["transfers"][0]["replicas"]) == len(table.transfers[0].replicas)


def test_what_was_chosen_on_test_clips_is_marked_wherever_it_is_shown(paper: SweepTable, store: TrialStore) -> None:
    assert "CHOSEN ON TEST CLIPS" in terminal(paper)
    assert "**CHOSEN ON TEST CLIPS" in text_of(paper)
    assert "## Chosen on TEST clips" in text_of(paper)
    _, written = write_report(store, made.SWEEP)
    assert b"CHOSEN ON TEST CLIPS" in store.files.read(written.picture)
    assert "CHOSEN ON TEST CLIPS" in json.loads(store.files.read(written.results))["warning"]
    honest = replace(paper, rows=tuple(replace(row, selection="heldout") for row in paper.rows))
    assert honest.warning == ""
    assert "TEST" not in text_of(honest) + terminal(honest)


def test_no_gain_is_claimed_of_trials_that_were_chosen_on_test_clips(
    paper: SweepTable, store: TrialStore, tmp_path: Path
) -> None:
    sure = replace(paper, gains=tuple(replace(gain, p_holm=0.001, p_claim_holm=0.001) for gain in paper.gains))
    document = describe(sure, read_records(store, made.SWEEP))
    assert "No test can support this: the trials were chosen on the same test clips." in document.conclusion
    assert "beyond the variation" not in document.conclusion
    sections = {section.name: section for section in document.sections}
    assert sections["gain"].sheets[0].strong == frozenset()
    for words in (sections["gain"].notes[0], sections["tradeoff"].lead[0], sections["confusion"].lead[0]):
        assert "CHOSEN ON TEST CLIPS" in words
    console = Console(file=io.StringIO(), width=80)
    show_report(console, str(tmp_path / "root"), made.SWEEP)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "SEPT against its baseline, points on test clips; CHOSEN ON TEST CLIPS" in shown


def test_runs_in_mlflow_say_what_chose_them() -> None:
    case = made.make_case("FSDD", "coop", 0)
    assert study_tags("s", case.proposal)["sept.selection"] == "heldout"
    assert "test" not in run_name(case.proposal)
    marked = made.chosen_on_test(case).proposal
    assert study_tags("s", marked)["sept.selection"] == "paper"
    assert run_name(marked).endswith("[chosen on test clips]")


def test_both_ways_to_average_h_and_macro_f1_stand_in_the_files(store: TrialStore) -> None:
    made.fill_store(store, made.make_cases())
    table, written = write_report(store, made.SWEEP)
    markdown = store.files.read(written.table).decode()
    assert "| dataset | method | H of means | base F1 | new F1 |" in markdown
    numbers = json.loads(store.files.read(written.results))
    for row, kept in zip(table.rows, numbers["rows"], strict=True):
        assert (kept["test"]["h"], kept["test"]["h_of_means"]) == (row.test.h, row.test.h_of_means)
        cells = f"| {row.test.h_of_means:.1f} | {row.test.base_f1:.1f} | {row.test.new_f1:.1f} |"
        assert cells in markdown.replace("**", "")
    assert set(numbers["averages_of_h"]) == {"h", "h_of_means"}


def on(table: SweepTable, *datasets: str) -> SweepTable:
    rows = tuple(replace(row, dataset=name) for name in datasets for row in table.rows[:3])
    return replace(table, rows=rows, gains=())


def test_published_figures_of_the_same_methods_and_datasets_stand_apart_from_ours(store: TrialStore) -> None:
    made.fill_store(store, made.make_cases())
    table = collect(store, made.SWEEP)
    assert "Published" not in text_of(table)  # nobody has published on these datasets
    text = text_of(on(table, "SESA", "ESC50"))
    ours, _, theirs = text.partition("## Published results, not directly comparable")
    theirs = theirs.partition("\n## ")[0]
    assert "Pengi" not in ours
    shown = [line.split(" | ") for line in theirs.splitlines() if line.startswith("| ")][2:]
    assert {(line[0].removeprefix("| "), line[1]) for line in shown} == {
        (method, dataset) for method in ("zero-shot", "CoOp") for dataset in ("SESA", "ESC50")
    }
    assert all(line[6] and line[7] and line[8] for line in shown)
    assert {line[9].removesuffix(" |") for line in shown if line[0] == "| zero-shot"} == {"nothing is trained"}
    assert {line[9].removesuffix(" |") for line in shown if line[0] == "| CoOp"} == {"not stated"}
    assert "Published" not in terminal(on(table, "SESA"))


def test_averages_over_the_benchmark_stand_beside_a_sweep_over_all_of_it(store: TrialStore) -> None:
    made.fill_store(store, made.make_cases())
    table = collect(store, made.SWEEP)
    benchmark = [info.name for info in DATASETS.values() if not info.extra]
    assert not [row for row in published_beside(on(table, *benchmark[1:]).rows) if "average" in row.dataset]
    averages = [row for row in published_beside(on(table, *benchmark).rows) if "average" in row.dataset]
    assert ("CoOp + SEPT", "64.36", "42.98", "49.7") in {(row.method, row.base, row.new, row.h) for row in averages}


def test_every_published_row_says_backbone_protocol_and_source() -> None:
    text = files("pipeline.reports").joinpath("published.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) > 100
    for row in rows:
        assert row["backbone"]
        assert row["protocol"]
        assert row["source"]
        assert Published(**row).selection
        assert row["dataset"] in DATASETS or row["dataset"] == "average of 11"
