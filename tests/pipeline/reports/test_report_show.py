from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
import synthetic_results as made
from rich.console import Console

from pipeline.reports import (
    SweepTable,
    collect,
    describe,
    gain_lines,
    render_table,
    to_latex,
    to_markdown,
    write_report,
)
from pipeline.store import TrialStore


@pytest.fixture
def table(store: TrialStore) -> SweepTable:
    made.fill_store(store, made.make_cases())
    return collect(store, made.SWEEP)


def text_of(table: SweepTable) -> str:
    return to_markdown(describe(table))


def test_the_table_fits_into_eighty_columns_with_every_number_whole(table: SweepTable) -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(render_table(table))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    for row in table.rows:
        assert f"{row.test.h:.1f} ± {row.test.h_std:.1f}" in text


def test_markdown_says_mean_and_spread_what_was_chosen_and_what_sept_changes(table: SweepTable) -> None:
    text = text_of(table)
    for row in table.rows:
        assert f"{row.test.new:.1f} ± {row.test.new_std:.1f}" in text
        for choice in row.choices:
            assert choice.signature in text
    gain = table.gains[0]
    assert f"| {gain.base:+.1f} ± {gain.base_std:.1f} | {gain.new:+.1f} ± {gain.new_std:.1f} |" in text
    assert f"new {gain.new:+.1f} ± {gain.new_std:.1f}" in gain_lines(table)[0]
    assert "mean of each replica's harmonic mean" in text


def test_every_number_of_the_table_comes_from_the_trials(table: SweepTable) -> None:
    # Other results give another table: nothing in it is typed in.
    rows = tuple(replace(row, test=replace(row.test, base=1.25, new=2.25, h=3.25)) for row in table.rows)
    shown = text_of(replace(table, rows=rows, gains=()))
    cells = re.findall(r"(\d+\.\d) ± ", shown)
    assert set(cells) <= {f"{value:.1f}" for value in (1.25, 2.25, 3.25)}


def test_all_classes_at_once_are_shown_where_they_were_measured(store: TrialStore, table: SweepTable) -> None:
    sheet = "### All classes at once, %\n"
    latex = to_latex(table)
    assert sheet not in text_of(table)  # results of an earlier release
    assert "& H & $\\Delta$H \\\\" in latex
    assert {row.test.all for row in table.rows} == {None}
    of_row = [case for case in made.make_cases() if case.proposal.study == table.rows[1].study]
    newer = [made.among_all(case) for case in of_row if case.result is not None]
    made.fill_store(store, newer)
    table, files = write_report(store, made.SWEEP, latex=True)
    text = text_of(table)
    lines = text[text.index(sheet) :].splitlines()[2:10]
    assert lines[0] == "| dataset | method | all | all base | all new | all H | all F1 |"
    test = table.rows[1].test
    means = ((test.all, test.all_std), (test.all_base, test.all_base_std), (test.all_new, test.all_new_std))
    told = " | ".join(f"{mean:.1f} ± {std:.1f}" for mean, std in (*means, (test.all_h, test.all_h_std)))
    assert lines[3] == f"| ESC10 | CoOp | {told} | 41.2 |"
    assert lines[2] == "| ESC10 | zero-shot | - | - | - | - | - |"
    assert "ranked among all names" in text
    numbers = json.loads(store.files.read(files.results))
    assert numbers["rows"][1]["test"]["all_base"] == pytest.approx(test.base - 3.0)
    assert numbers["rows"][0]["test"]["all"] is None
    latex = store.files.read(files.latex or "").decode()
    assert "& H & $\\Delta$H & All \\\\" in latex
    assert f"& {test.all:.1f} $\\pm$ {test.all_std:.1f}" in latex
    assert len(re.findall(r"& (?:--|\\textbf{--}) \\\\", latex)) == 5
    assert "All: base and new clips among all names." in latex


def test_a_loss_is_shown_as_a_loss(table: SweepTable) -> None:
    worse = replace(table, gains=(replace(table.gains[0], base=-3.0, new=-1.5, h=-2.0),))
    assert "base -3.0" in gain_lines(worse)[0]
    assert "H -2.0" in gain_lines(worse)[0]


def test_one_replica_has_no_spread(table: SweepTable) -> None:
    row = replace(table.rows[0], replicas=table.rows[0].replicas[:1])
    line = next(line for line in text_of(replace(table, rows=(row,))).splitlines() if "zero-shot" in line)
    assert "±" not in line


def test_the_report_is_files_in_the_sweeps_folder_and_the_same_result_gives_the_same_bytes(store: TrialStore) -> None:
    made.fill_store(store, made.make_cases())
    table, files = write_report(store, made.SWEEP, latex=True)
    keys = (files.page, files.table, files.results, files.picture, files.latex or "")
    first = [store.files.read(key) for key in keys]
    assert all(key.startswith(f"sweeps/{made.SWEEP}/report/") for key in keys)
    numbers = json.loads(first[2])
    assert numbers["rows"][0]["test"]["h"] == table.rows[0].test.h
    assert len(numbers["rows"][0]["replicas"]) == len(table.rows[0].replicas)
    write_report(store, made.SWEEP, latex=True)
    assert [store.files.read(key) for key in keys] == first
