"""A gain of trials in which SEPT hardly acted is marked wherever it is shown, and no other gain is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import synthetic_results as made

from pipeline.reports import collect, describe, gain_lines, read_records, to_html, to_latex, to_markdown
from pipeline.reports.activity import Activity
from pipeline.reports.conclusion import headline_of
from pipeline.store import TrialStore
from sept_core.results import Report

Metrics = dict[str, float]

IDLE = {"sept/active_intra": 0.0, "sept/active_inter": 0.6, "sept/gradient": 0.9}
ACTING = {"sept/active_intra": 30.0, "sept/active_inter": 2.0, "sept/gradient": 40.0}
ZERO = {"loss/intra": 0.0, "loss/inter": 0.0}


def with_metrics(case: made.Case, metrics: Metrics) -> made.Case:
    """The same trial with these metrics in every report."""
    assert case.result is not None
    curve = tuple(replace(report, metrics=report.metrics | metrics) for report in case.result.curve)
    return replace(case, result=replace(case.result, curve=curve), decision=replace(case.decision, curve=curve))


def filled(store: TrialStore, metrics: Callable[[int], Metrics], datasets: tuple[str, ...] = ("ESC10",)) -> TrialStore:
    """A sweep whose finished trials with SEPT report these metrics, by their number."""
    cases = [case for case in made.make_cases(9) if case.proposal.config.dataset in datasets]
    cases = [
        with_metrics(case, metrics(case.proposal.number)) if case.proposal.config.sept and case.result else case
        for case in cases
    ]
    made.fill_store(store, cases)
    return store


def forms(store: TrialStore) -> dict[str, str]:
    """Every form of the report that shows a gain."""
    records, table = read_records(store, made.SWEEP), collect(store, made.SWEEP)
    document = describe(table, records)
    return {
        "page": to_html(document),
        "markdown": to_markdown(document),
        "terminal": "\n".join(gain_lines(table)),
        "latex": to_latex(table),
        "headline": headline_of(table),
    }


@pytest.mark.parametrize("metrics", [IDLE, ZERO])
def test_a_gain_without_sept_acting_is_marked_in_every_form_and_in_the_first_sentence(
    store: TrialStore, metrics: Metrics
) -> None:
    shown = forms(filled(store, lambda _: metrics))
    assert all("hardly acted" in text for text in shown.values())
    assert "It hardly acted, so this is probably due to other hyper-parameters or chance" in shown["headline"]
    assert "hardly acted)" in shown["page"]
    gradient, inter = ("0.9", "0.6") if metrics is IDLE else ("0.0", "0.0")
    assert (
        f"SEPT hardly acted: 0.0 % of intra and {inter} % of inter hinges active, {gradient} % of the gradient"
        in shown["terminal"]
    )
    assert "^{\\dagger}$" in shown["latex"]


# What a report of an earlier release without zero losses leaves unknown is not marked either.
@pytest.mark.parametrize("metrics", [ACTING, {}, {"loss/intra": 0.0, "loss/inter": 0.01}])
def test_a_gain_with_sept_acting_or_unknown_has_no_mark(store: TrialStore, metrics: Metrics) -> None:
    shown = forms(filled(store, lambda _: metrics))
    assert all("hardly" not in text for text in shown.values())
    assert "dagger" not in shown["latex"]
    # No column without a value.
    assert ("SEPT's gradient, %" in shown["markdown"]) == bool(metrics == ACTING)


def test_the_mark_says_in_how_many_of_the_chosen_trials_it_is_so(store: TrialStore) -> None:
    filled(store, lambda number: IDLE if number % 2 else ACTING)
    table = collect(store, made.SWEEP)
    (gain,) = table.gains
    idle = sum(one.idle for one in gain.activities)
    assert 0 < idle < len(gain.activities)
    mark = f"hardly acted in {idle} of {len(gain.activities)} chosen trials"
    shown = forms(store)
    assert all(mark in text for name, text in shown.items() if name != "latex")
    assert f" (hardly acted, {idle} of {len(gain.activities)})" in shown["markdown"]
    assert "probably" not in shown["headline"]


def test_over_several_gains_the_first_sentence_counts_the_trials_of_all(store: TrialStore) -> None:
    filled(store, lambda _: IDLE, tuple(made.DATASETS))
    assert len(collect(store, made.SWEEP).gains) == 2
    assert ". It hardly acted, so" in forms(store)["headline"]


def test_the_chosen_trials_show_the_means_over_their_curves(store: TrialStore) -> None:
    filled(store, lambda number: ACTING | {"sept/active_intra": 10.0 + number})
    table = collect(store, made.SWEEP)
    lines = to_markdown(describe(table, read_records(store, made.SWEEP))).split("\n")
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ESC10 | CoOp + SEPT | ")]
    rows = [row for row in cells if row[-1].startswith("#")]
    assert rows
    for row in rows:
        assert row[-4:-1] == [f"{10 + int(row[-1].removeprefix('#'))}.0", "2.0", "40.0"]
    stored = json.loads(json.dumps(table.to_json()))
    assert stored["gains"][0]["activities"][0] == {"intra": pytest.approx(15, abs=5), "inter": 2.0, "gradient": 40.0,
                                                   "idle": False}  # fmt: skip


def reports(*metrics: Metrics) -> list[Report]:
    return [Report(at, {"val/h": 1.0} | some, 0.0, 0) for at, some in enumerate(metrics)]


def test_one_report_at_which_sept_acted_is_enough_not_to_be_marked() -> None:
    for curve, idle in (
        (reports(IDLE, IDLE), True),
        (reports(IDLE, IDLE | {"sept/gradient": 1.0}), False),
        # The first report is of an earlier release: zero losses say enough, others nothing.
        (reports(ZERO, IDLE), True),
        (reports({"loss/intra": 0.1, "loss/inter": 0.0}, IDLE), False),
    ):
        activity = Activity.of(curve)
        assert activity is not None
        assert activity.idle == idle
    assert Activity.of(reports({"loss/intra": 0.1, "loss/inter": 0.0})) is None
    assert Activity.of(reports({"loss/total": 0.0, "loss/base": 0.0})) is None
