from __future__ import annotations

import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import synthetic_results as made

from pipeline.reports import collect, describe, read_records, tabulate, to_html, to_latex, to_markdown, write_report
from pipeline.reports.claims import two_sided_t
from pipeline.reports.document import Document
from pipeline.reports.paired import PairedTest, holm, smallest_p
from pipeline.reports.rows import Origin
from pipeline.reports.sweep_table import Gain
from pipeline.spec import Dimension
from pipeline.store import TrialStore
from pipeline.text import duration

VOID = {"meta", "br", "path", "circle", "rect", "polyline", "polygon"}


class Page(HTMLParser):
    """The page's words, tables, attributes and figures; refuses tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.attributes: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


@pytest.fixture
def filled(store: TrialStore) -> TrialStore:
    made.fill_store(store, [*made.make_cases(9), made.make_case("FSDD", "coop", 9, "failed")])
    return store


def document_of(store: TrialStore) -> Document:
    records = read_records(store, made.SWEEP)
    return describe(tabulate(records), records)


def test_the_page_stands_alone(filled: TrialStore) -> None:
    page = Page(to_html(document_of(filled)))
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    references = [value for name, value in page.attributes if name in ("src", "href", "srcset", "xlink:href")]
    assert all(value.startswith("#") for value in references)
    anchors = {value for name, value in page.attributes if name == "id"}
    assert {value.removeprefix("#") for value in references} <= anchors


def test_page_and_markdown_say_the_same(filled: TrialStore) -> None:
    document = document_of(filled)
    page, markdown = Page(to_html(document)), to_markdown(document)
    sheets = [sheet for section in document.sections for sheet in section.sheets]
    assert [table[0] for table in page.tables] == [list(sheet.columns) for sheet in sheets]
    for table, sheet in zip(page.tables, sheets, strict=True):
        assert table[1:] == [list(row) for row in sheet.rows]
        for row in sheet.rows:
            assert all(cell in markdown.replace("\\", "") for cell in row)
    for section in document.sections:
        assert section.title in page.words
        for words in (*section.lead, *section.items, *section.notes):
            assert words in page.words


def test_the_report_has_all_its_parts_in_order(filled: TrialStore) -> None:
    names = [section.name for section in document_of(filled).sections]
    search = ["tuning", "search", "confusion", "failures", "rule", "inputs", "versions", "reproduce"]
    assert names == ["result", "tradeoff", "gain", "chosen", *search]


def test_every_trial_is_a_mark_over_every_hyper_parameter_that_it_searched(filled: TrialStore) -> None:
    section = next(section for section in document_of(filled).sections if section.name == "search")
    (group,) = [group for group in section.groups if group.title.startswith("FSDD, CoOp")]
    records = {study.key: study for study in read_records(filled, made.SWEEP).studies}
    coop, sept = (records[f"FSDD.mini.base-to-new.{method}"] for method in ("coop", "coop+sept"))
    history, curves, accuracies, *panels = [figure.svg.svg() for figure in group.figures if not figure.wide]
    n_ctx = next(panel for panel in panels if "over n_ctx" in panel)
    lambda_se = next(panel for panel in panels if "over lambda_se" in panel)
    finished = sum(decision.state == "finished" for decision in sept.decisions.values())
    for svg in (history, accuracies, n_ctx):
        assert svg.count('class="trial b0"') == 8
        assert svg.count('class="trial pruned b0"') == 1
        assert svg.count('class="failed trial b0"') == 1
        assert svg.count('class="trial s0"') == finished
        assert svg.count('class="ring"') == len(coop.chosen) + len(sept.chosen) > 2
    assert curves.count('class="curve b0') == len(coop.decisions) == 10
    assert curves.count(' chosen"') == len(coop.chosen) + len(sept.chosen)
    assert "b0" not in lambda_se


def test_of_test_clips_nothing_reaches_the_figures_of_the_search(filled: TrialStore) -> None:
    before = {section.name: section for section in document_of(filled).sections}
    for study in read_records(filled, made.SWEEP).studies:
        for decision in study.decisions.values():
            result = filled.read_result(study.key, decision.signature)
            if result is not None and result.state == "finished":
                rows = (
                    {name: 12.5 if name.startswith("test_") else value for name, value in row.items()}
                    for row in result.replicas
                )
                filled.write_result(replace(result, test=dict.fromkeys(result.test, 12.5), replicas=tuple(rows)))
    after = {section.name: section for section in document_of(filled).sections}
    assert after["search"] == before["search"]
    assert after["result"] != before["result"]


def test_failures_are_counted_with_reason_and_cost(filled: TrialStore) -> None:
    failed = made.make_case("FSDD", "coop", 9, "failed").decision
    text = to_markdown(document_of(filled))
    assert f"1 trial, {duration(failed.curve[-1].time_s)}: {failed.error} (such as {failed.study} #9" in text
    row = next(line for line in text.splitlines() if line.startswith("| FSDD | CoOp | 3 | 8 | 1 | 1 |"))
    # Eight trained 7.5 s; the pruned one 2.5 s of 7.5 s.
    assert row.endswith("| 60 s | 2.5 s | 7.5 s | 5 s |")
    assert "| FSDD | CoOp | - | 0.5 |" in text


def test_importance_needs_enough_trials_and_adds_up(store: TrialStore) -> None:
    made.fill_store(store, made.make_cases(40))
    section = next(section for section in document_of(store).sections if section.name == "importance")
    (sheet,) = section.sheets
    for index, row in enumerate(sheet.rows):
        assert int(row[2]) >= 30
        assert sum(share for (line, _), share in sheet.bars.items() if line == index) == pytest.approx(1)
    few = TrialStore(store.files)
    made.fill_store(few, made.make_cases(9), "few")
    records = read_records(few, "few")
    assert "importance" not in [one.name for one in describe(tabulate(records), records).sections]


def test_trials_outside_of_a_space_that_was_narrowed_are_not_counted_among_too_few(store: TrialStore) -> None:
    made.fill_store(store, made.make_cases(40))
    records = read_records(store, made.SWEEP)
    key = "FSDD.mini.base-to-new.coop"
    study = next(one for one in records.studies if one.key == key)
    assert study.spec is not None
    lr = Dimension(low=0.01, high=0.06, log=True)
    spec = replace(study.spec, space={**study.spec.space, "lr": lr})
    within = sum(
        decision.state == "finished" and float(study.proposals[number].params["lr"]) >= 0.01
        for number, decision in study.decisions.items()
    )
    assert 0 < within < 30
    narrowed = replace(records, studies=[replace(one, spec=spec) if one.key == key else one for one in records.studies])
    section = next(one for one in describe(tabulate(narrowed), narrowed).sections if one.name == "importance")
    assert f"FSDD CoOp ({within})" in section.lead[0]


def test_a_hyper_parameter_that_alone_decides_is_the_important_one(store: TrialStore) -> None:
    cases = []
    for case in made.make_cases(40):
        if case.decision.state == "finished" and "lr" in case.proposal.params:
            value = 50 + 1000 * float(case.proposal.params["lr"])
            case = replace(case, decision=replace(case.decision, objective=value))
        cases.append(case)
    made.fill_store(store, cases)
    (sheet,) = next(section for section in document_of(store).sections if section.name == "importance").sheets
    column = sheet.columns.index("lr")
    for index in range(len(sheet.rows)):
        assert sheet.bars[index, column] > 0.7


def test_words_of_a_sweep_are_words_and_never_markup(filled: TrialStore) -> None:
    evil = '<script>alert("1")</script>|`*'
    table = collect(filled, made.SWEEP)
    rows = tuple(replace(row, dataset=evil, origins=(Origin({"torch": evil}, evil),)) for row in table.rows)
    document = describe(replace(table, rows=rows, gains=(), without=(evil,)))
    page = Page(to_html(document))
    assert "script" not in page.tags
    assert evil in page.words
    markdown = to_markdown(document)
    assert "<script" not in markdown.replace("\\<", "")
    lines = [line for line in markdown.splitlines() if line.startswith("| ") and "alert" in line]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines[:3]} == {
        len(document.sections[0].sheets[0].columns) + 1
    }


def test_a_sweep_that_has_only_begun_is_reported_as_far_as_it_is(store: TrialStore) -> None:
    made.fill_store(store, [made.make_case("FSDD", "coop", 0)])
    document = document_of(store)
    assert document.about.startswith("1 of 14 trials in 6 studies have ended")
    assert "Highest H: FSDD CoOp" in document.conclusion
    Page(to_html(document))


def test_a_cross_dataset_sweep_has_its_own_headline_and_figure(store: TrialStore) -> None:
    made.fill_store(store, made.make_transfers())
    spec = made.SPEC.replace("datasets: [ESC10, FSDD]", "protocol: cross-dataset\nsources: [ESC10, FSDD]\n"
                             "targets: [ESC10, FSDD]")  # fmt: skip
    store.write_spec(made.SWEEP, spec, made.SPEC)
    document = document_of(store)
    page = Page(to_html(document))
    assert page.tables[0][0][:6] == ["source", "method", "on source", "ESC10", "FSDD", "mean of targets"]
    assert "Highest mean on targets" in document.conclusion
    figures = next(section for section in document.sections if section.name == "transfer").figures
    assert [str(figure.svg).count('class="method') for figure in figures] == [9, 9]
    assert "accuracy on the source on held-out clips" in page.words
    assert "Mean of targets" in to_latex(collect(store, made.SWEEP))


def test_what_was_chosen_on_test_clips_says_so_at_the_top_of_the_page(store: TrialStore) -> None:
    made.fill_store(store, [made.chosen_on_test(case) for case in made.make_cases() if case.result is not None])
    page = Page(to_html(document_of(store)))
    assert "CHOSEN ON TEST CLIPS" in page.words[:400]
    assert ("role", "alert") in page.attributes


def test_the_sentence_at_the_top_counts_ups_and_downs_and_names_the_best(filled: TrialStore) -> None:
    table = collect(filled, made.SWEEP)
    down = replace(table.gains[1], h=-2.0)
    document = describe(replace(table, gains=(replace(table.gains[0], h=1.0), down)))
    assert document.headline.startswith("SEPT -0.5 H on average over 2 datasets; ")
    assert "Of 2 comparisons, 1 up and 1 down: ESC10 H +1.0 (base " in document.conclusion
    assert "Highest H: ESC10 CoOp + SEPT" in document.conclusion


def with_tests(gain: Gain, replicas: int, folds: int, p: float, p_claim: float) -> Gain:
    """The gain with a test of so many replicas, folds and 40 recordings each, and these p values."""
    least = two_sided_t(math.sqrt(40 * folds), folds - 1) if folds > 1 else 1.0
    test = PairedTest(replicas, folds, p, p, smallest_p(replicas), smallest_p(folds), 40 * folds, p_claim, least)
    return replace(gain, h=-2.0, tests=dict.fromkeys(gain.tests, test), p_holm=p, p_claim_holm=p_claim)


@pytest.mark.parametrize(
    ("given", "said", "claimed"),
    [
        (
            (20, 10, 0.001, 0.002),
            (
                "This is significant beyond the variation of shots, seeds, test folds and test clips "
                "(paired tests: p = 0.001 over 20 replicas; p = 0.002 over 10 test folds and 400 sources of test "
                "clips)."
            ),
            True,
        ),
        (
            (10, 5, 0.002, 0.0625),
            (
                "This is significant beyond the variation of shots and seeds on these test clips, but not for other "
                "clips (paired tests: p = 0.002 over 10 replicas; p = 0.062 over 5 test folds and 200 sources of test "
                "clips)."
            ),
            False,
        ),
        (
            (10, 1, 0.002, 1.0),
            (
                "This is significant beyond the variation of seeds on these test clips, but not for other clips "
                "(paired tests: p = 0.002 over 10 replicas; p = 1.00 over 1 test fold and 40 sources of test clips, "
                "where p cannot be below 1.00)."
            ),
            False,
        ),
        (
            (20, 10, 0.5, 0.25),
            (
                "This is not significant beyond the variation of shots and seeds (paired tests: "
                "p = 0.50 over 20 replicas; p = 0.25 over 10 test folds and 400 sources of test "
                "clips)."
            ),
            False,
        ),
    ],
)
def test_a_gain_is_claimed_no_further_than_its_tests_go(
    given: tuple[int, int, float, float], said: str, claimed: bool, filled: TrialStore
) -> None:
    table = collect(filled, made.SWEEP)
    table = replace(table, gains=(with_tests(table.gains[1], *given),))
    document = describe(table)
    assert document.headline.startswith("SEPT -2.0 H for CoOp on FSDD; ")
    verdict = "significant" if claimed else "not significant (needs at least 2 test folds)"
    assert document.headline.endswith(f"; {verdict if claimed or given[1] == 1 else 'not significant'}.")
    assert said in document.conclusion
    section = next(section for section in document.sections if section.name == "gain")
    row = next(line for line in to_markdown(document).partition("## Gain")[2].splitlines() if "FSDD" in line)
    assert ("| yes |" in row) is claimed
    assert ("| no |" in row) is not claimed
    assert ("seeds alone" in " ".join(section.notes)) is (given[1] == 1)
    assert ("$-2.0^{*}$" in to_latex(table)) is claimed
    assert ("*: beyond the variation of shots, seeds, test folds and test clips" in to_latex(table)) is claimed
    assert [gain["p_claim_holm"] for gain in table.to_json()["gains"]] == [given[3]]


def test_of_several_gains_those_are_counted_that_each_test_shows_and_could_show(filled: TrialStore) -> None:
    table = collect(filled, made.SWEEP)
    sure, few = with_tests(table.gains[0], 20, 10, 0.001, 0.002), with_tests(table.gains[1], 9, 1, 0.004, 1.0)
    document = describe(replace(table, gains=(sure, few)))
    assert (
        "Significant (5 %, Holm) beyond the variation of shots, seeds, test folds and test clips: 1 of 2, 0 up and 1 "
        "down (paired test over folds and clips; 1 has too few folds or clips with counts for a test); of shots and "
        "seeds on these test clips: 2 of 2, 0 up and 2 down (over replicas)."
    ) in document.conclusion


def test_the_sweeps_own_p_values_of_claims_are_corrected_as_those_over_replicas(filled: TrialStore) -> None:
    gains = collect(filled, made.SWEEP).gains
    assert [gain.p_claim_holm for gain in gains] == holm([gain.tests["h"].p_claim for gain in gains])


def test_what_bold_is_stands_with_every_table_that_has_it(filled: TrialStore) -> None:
    table = collect(filled, made.SWEEP)
    for text in (to_markdown(describe(table)), to_latex(table)):
        # One of the methods has a trial more.
        unequal = " (whole budgets, which differ)"
        assert f"Bold: highest H of each dataset{unequal}, whether or not the difference is significant." in text


def test_the_latex_table_has_every_row_with_as_many_cells_and_escapes_words(filled: TrialStore) -> None:
    table = collect(filled, made.SWEEP)
    rows = tuple(replace(row, dataset="50%_&{#}~^\\$") for row in table.rows[:3])
    text = to_latex(replace(table, rows=rows, gains=()))
    body = text.partition("\\midrule")[2].partition("\\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert len(lines) == 3
    assert (
        lines[0].strip().startswith("50\\%\\_\\&\\{\\#\\}\\textasciitilde{}\\textasciicircum{}\\textbackslash{}\\$ &")
    )
    assert all(len(re.findall(r"(?<!\\)&", line)) == 4 for line in lines)
    assert f"{rows[0].test.h:.1f} $\\pm$ {rows[0].test.h_std:.1f}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_latex_table_compiles(filled: TrialStore, tmp_path: Path) -> None:
    _, files = write_report(filled, made.SWEEP, latex=True)
    assert files.latex is not None
    table = filled.files.read(files.latex).decode()
    source = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n{table}\\end{{document}}\n"
    (tmp_path / "table.tex").write_text(source)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
