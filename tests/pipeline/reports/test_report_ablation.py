"""An ablation: exactly one thing differs, trained for the folds of the choice, compared replica by replica."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_inputs
from tiny_sweep import make_spec, run_inline

from pipeline.data.stored_spec import stored_spec
from pipeline.reports import collect, read_records, write_report
from pipeline.reports.ablation import AblationTable, ablation_cells, ablation_row, read_ablations
from pipeline.reports.paired import interval, sign_flip
from pipeline.search.ablation import ablation_spec, check_unchanged
from pipeline.spec import SweepSpec, spec_differences
from pipeline.store import LocalFiles, Proposal, TrialStore
from sept_core.errors import InputError
from sept_core.hyper import Value
from sept_core.trial import failed_result
from sept_core.trial_config import TrialConfig

Sept = Callable[..., tuple[int, str, str]]

FOLDS = {"FSDD": ["nicolas", "theo"]}
SEPT = {"lambda_se", "margin_intra", "margin_inter", "margin_mode", "n_neighbors", "n_templates"}
ROW = "FSDD.mini.base-to-new.coop+sept"
# One configuration, so that it is known what is chosen: N 2 of 3 terms, T 5 of 10 templates.
FIXED = {
    "coop": {"n_ctx": {"fixed": 2}, "lr": {"fixed": 0.2}},
    "sept": {
        "n_neighbors": {"fixed": 2},
        "margin_intra": {"fixed": 1.1},
        "margin_inter": {"fixed": 1.2},
        "lambda_se": {"fixed": 20.0},
    },
}


def searched(root: Path, **changes: Any) -> TrialStore:
    """A sweep that has been run, and stored as a launch stores it."""
    spec = make_spec(**{"methods": ["coop", "coop+sept"], "folds": FOLDS, "seeds": [0, 1, 2]} | changes)
    store = TrialStore(LocalFiles(root))
    store.write_spec(spec.name, spec.text())
    run_inline(spec, root)
    return store


def ablated(store: TrialStore, root: Path, row: str = "coop+sept") -> SweepSpec:
    """The spec of the ablation of a row."""
    found = ablation_row(store, "tiny", row)
    spec = stored_spec(store, "tiny")
    inputs = tiny_inputs.provide(str(root), next(one.inputs for one in spec.studies() if one.sept))
    return ablation_spec(found.key, spec, {pick.fold: pick.proposal.config for pick in found.picks}, inputs)


def trained(store: TrialStore, root: Path) -> SweepSpec:
    spec = ablated(store, root)
    store.write_spec(spec.name, spec.text())
    run_inline(spec, root)
    return spec


def tables(store: TrialStore) -> tuple[AblationTable, ...]:
    records = read_records(store, "tiny")
    return read_ablations(store, records, records.rows)


def by_variant(store: TrialStore, spec: SweepSpec) -> dict[str, Proposal]:
    assert spec.ablation is not None
    return {
        name: proposal
        for proposal in store.proposals(spec.name)
        for one in spec.ablation.trials
        if (one.method, one.hyper) == (proposal.config.method, proposal.params)
        for name in one.folds.values()
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of one configuration and its ablation; nothing here writes into it, except the report."""
    folder = tmp_path_factory.mktemp("ablated")
    trained(searched(folder, spaces=FIXED), folder)
    return folder


@pytest.fixture
def tiny(root: Path) -> TrialStore:
    return TrialStore(LocalFiles(root))


def test_each_variant_differs_from_the_chosen_configuration_in_one_thing(tiny: TrialStore, root: Path) -> None:
    spec = ablated(tiny, root)
    found = by_variant(tiny, spec)
    chosen = ablation_row(tiny, "tiny", ROW).picks[0].proposal.config
    changed: dict[str, dict[str, Value]] = {}
    for name, proposal in found.items():
        different = {key for key, value in proposal.config if value != getattr(chosen, key)}
        if name == "SEPT off":
            assert different == {"sept", "hyper", "neighbors_digest", "templates_digest"}
            assert proposal.config.hyper == {key: one for key, one in chosen.hyper.items() if key not in SEPT}
            continue
        assert different == {"hyper"}
        changed[name] = {key: one for key, one in proposal.config.hyper.items() if one != chosen.hyper[key]}
    constant = changed.pop("constant margins")
    assert set(constant) == {"margin_mode", "margin_intra", "margin_inter"}
    assert changed == {
        "intra only": {"margin_inter": 0.0},
        "inter only": {"margin_intra": 1e6},
        "no margins": {"margin_mode": "none"},
        "N halved": {"n_neighbors": 1},
        "N doubled": {"n_neighbors": 3},
        "T halved": {"n_templates": 2},
        "T doubled": {"n_templates": 10},
    }
    assert spec.ablation is not None
    assert spec.ablation.remarks == {"N doubled": "3 instead of 4 neighbours: there are no more"}
    assert len({proposal.signature for proposal in found.values()}) == len(found) == 9


def test_one_hinge_is_switched_off_exactly_and_the_other_acts(tiny: TrialStore, root: Path) -> None:
    found = by_variant(tiny, ablated(tiny, root))
    for name, off, on in (("intra only", "inter", "intra"), ("inter only", "intra", "inter")):
        result = tiny.read_result(found[name].study, found[name].signature)
        assert result is not None
        assert [report.metrics[f"loss/{off}"] for report in result.curve] == [0.0] * len(result.curve)
        assert max(report.metrics[f"loss/{on}"] for report in result.curve) > 0


def test_the_table_has_the_paired_differences_to_the_row_of_the_report(tiny: TrialStore, root: Path) -> None:
    (table,) = tables(tiny)
    report = next(row for row in collect(tiny, "tiny").rows if row.study == ROW)
    chosen = {(one["fold"], one["seed"]): one["test_h"] for one in report.replicas}
    first, *rows = table.rows
    assert (first.difference, first.test) == (
        None,
        {"base": report.test.base, "new": report.test.new, "h": report.test.h},
    )
    assert [row.name for row in rows] == [*by_variant(tiny, ablated(tiny, root))]
    for row in rows:
        proposal = by_variant(tiny, ablated(tiny, root))[row.name]
        result = tiny.read_result(proposal.study, proposal.signature)
        assert result is not None
        moved = [one["test_h"] - chosen[one["fold"], one["seed"]] for one in result.replicas]
        assert (row.state, row.folds, row.replicas) == ("finished", ("nicolas", "theo"), 6)
        assert row.test == {name: result.test[name] for name in ("base", "new", "h")}
        assert row.difference == pytest.approx(statistics.fmean(moved))
        assert row.p == sign_flip(moved)
        assert row.interval == interval(moved)


def test_the_report_has_it_in_page_text_and_numbers_and_fits_a_terminal(tiny: TrialStore) -> None:
    _, files = write_report(tiny, "tiny")
    page, text = (tiny.files.read(key).decode() for key in (files.page, files.table))
    assert '<section id="ablation">' in page
    assert "| SEPT off |" in text
    assert "N doubled: 3 instead of 4 neighbours: there are no more." in text
    assert "switching SEPT off changes H by" in text
    (numbers,) = json.loads(tiny.files.read(files.results))["ablations"]
    assert [row["name"] for row in numbers["rows"]][:2] == ["chosen (SEPT)", "SEPT off"]
    columns, cells = ablation_cells(tables(tiny)[0])
    assert sum(max(map(len, column)) + 1 for column in zip(columns, *cells, strict=True)) <= 100


def test_an_ablation_is_a_sweep_in_which_nothing_is_chosen(tiny: TrialStore, root: Path, sept: Sept) -> None:
    name = ablated(tiny, root).name
    for command in (["report", name], ["best", name]):
        code, out, err = sept(*command, "--root", root)
        assert (code, out) == (2, "")
        assert f"'{name}' is an ablation of {ROW}, and nothing is chosen among its variants" in err
        assert f"sept report tiny --root {root}, or sept ablate tiny {ROW} --root {root}\n" in err
        assert err.count("\n") == 1


def test_its_stored_spec_continues_it(tiny: TrialStore, root: Path) -> None:
    spec = ablated(tiny, root)
    again = stored_spec(tiny, spec.name)
    assert again == spec
    assert spec_differences(again, spec) == []
    before = tiny.files.list("trials")
    run_inline(again, root)
    assert tiny.files.list("trials") == before


def test_each_fold_has_variants_of_its_own_choice(tmp_path: Path) -> None:
    store = searched(tmp_path, trials=6)
    row = ablation_row(store, "tiny", ROW)
    chosen = {pick.fold: pick.proposal.config for pick in row.picks}
    spec = trained(store, tmp_path)
    assert spec.ablation is not None
    for one in spec.ablation.trials:
        for fold, name in one.folds.items():
            if name == "intra only":
                assert one.hyper == chosen[fold].hyper | {"margin_inter": 0.0}
    assert sum(len(one.folds) for one in spec.ablation.trials) <= 9 * len(FOLDS["FSDD"])
    (table,) = tables(store)
    off = next(one for one in table.rows if one.name == "SEPT off")
    assert (off.folds, off.replicas) == (("nicolas", "theo"), 6)


def test_with_strict_each_fold_is_a_study(tmp_path: Path) -> None:
    store = searched(tmp_path, trials=2, selection="strict", seeds=[0])
    spec = trained(store, tmp_path)
    studies = [study.key for study in spec.studies()]
    assert studies == [
        f"FSDD.mini.base-to-new.{method}.fold-{fold}" for method in spec.methods for fold in FOLDS["FSDD"]
    ]
    (table,) = tables(store)
    assert all(row.state == "finished" for row in table.rows)
    # Two replicas can reject nothing.
    assert all(row.interval is None for row in table.rows)


def test_across_datasets_the_mean_of_the_targets_is_compared(tmp_path: Path) -> None:
    transfer = {"protocol": "cross-dataset", "datasets": None, "sources": ["FSDD"], "targets": ["ESC10"]}
    store = searched(tmp_path, trials=1, folds={"FSDD": ["theo"]}, seeds=[0], **transfer)
    trained(store, tmp_path)
    (table,) = tables(store)
    assert table.parts == ("source", "targets")
    chosen, *rows = table.rows
    assert chosen.test is not None
    for row in rows:
        assert row.test is not None
        assert row.difference == pytest.approx(row.test["targets"] - chosen.test["targets"])
    assert "| SEPT off |" in store.files.read(write_report(store, "tiny")[1].table).decode()


def test_another_choice_has_another_ablation(tmp_path: Path) -> None:
    store = searched(tmp_path, trials=1, seeds=[0], folds={"FSDD": ["theo"]})
    first = trained(store, tmp_path)
    assert len(tables(store)) == 1
    for key in store.files.list("sweeps/tiny"):
        if "members" in key or "verdicts" in key:
            store.files.delete(key)
    searched_again = make_spec(
        methods=["coop", "coop+sept"], folds={"FSDD": ["theo"]}, seeds=[0], trials=1, **{"sampler.seed": 8}
    )
    store.write_spec("tiny", searched_again.text(), store.read_spec("tiny"))
    run_inline(searched_again, tmp_path)
    assert tables(store) == ()
    assert ablated(store, tmp_path).name != first.name


def test_unfinished_and_failed_variants_are_shown_as_such(tmp_path: Path) -> None:
    store = searched(tmp_path, spaces=FIXED, folds={"FSDD": ["theo"]}, seeds=[0])
    spec = trained(store, tmp_path)
    found = by_variant(store, spec)
    one, other = found["no margins"], found["T halved"]
    store.files.delete(f"trials/{one.study}/{one.signature}/result.json")
    result = store.read_result(other.study, other.signature)
    assert result is not None
    store.files.delete(f"trials/{other.study}/{other.signature}/result.json")
    store.write_result(failed_result(other.config, result.curve, "ValueError: no luck"))
    states = {row.name: row.state for row in tables(store)[0].rows}
    assert (states["no margins"], states["T halved"], states["N doubled"]) == ("unfinished", "failed", "finished")
    write_report(store, "tiny")


@pytest.mark.parametrize(
    ("mode", "intra", "inter", "left_out"),
    [
        ("constant", (1.1, 0.0), (1e6, 1.2), {"constant margins", "T halved", "T doubled"}),
        ("none", (0.0, 0.0), (1e6, 2.0), {"no margins", "T halved", "T doubled"}),
    ],
)
def test_other_margins_have_their_own_way_to_switch_a_hinge_off(
    tmp_path: Path, mode: str, intra: tuple[float, float], inter: tuple[float, float], left_out: set[str]
) -> None:
    spaces = {"coop": FIXED["coop"], "sept": FIXED["sept"] | {"margin_mode": {"fixed": mode}}}
    store = searched(tmp_path, spaces=spaces, folds={"FSDD": ["theo"]}, seeds=[0])
    spec = ablated(store, tmp_path)
    assert spec.ablation is not None
    hyper = {name: one.hyper for one in spec.ablation.trials for name in one.folds.values()}
    for name, wanted in (("intra only", intra), ("inter only", inter)):
        assert (hyper[name]["margin_intra"], hyper[name]["margin_inter"]) == wanted
        assert hyper[name]["margin_mode"] == "constant"
    assert {name for name, said in spec.ablation.remarks.items() if said.startswith("left out")} == left_out
    assert not left_out & set(hyper)


def test_inputs_that_have_changed_are_refused(tiny: TrialStore, root: Path) -> None:
    spec = stored_spec(tiny, "tiny")
    config: TrialConfig = ablation_row(tiny, "tiny", ROW).picks[0].proposal.config
    inputs = tiny_inputs.provide_random_test_clips(str(root), next(one.inputs for one in spec.studies() if one.sept))
    check_unchanged(spec, config.study_key, config, tiny_inputs.provide(str(root), spec.studies()[1].inputs))
    with pytest.raises(InputError, match="its embeddings_digest was [0-9a-f]* when trial [0-9a-f]* was trained"):
        check_unchanged(spec, config.study_key, config, inputs)


@pytest.mark.parametrize(
    "values", [[3.0, 1.0, 2.5, -0.5, 4.0, 2.0], [1.0] * 7, [-2.0, 5.0, 0.0, 0.0, 1.0, 3.0, 2.0, 2.0]]
)
def test_the_interval_has_the_means_that_the_test_does_not_reject(values: list[float]) -> None:
    found = interval(values)
    assert found is not None
    low, high = found
    assert low <= statistics.fmean(values) <= high
    for shift, accepted in ((low + 0.02, True), (low - 0.02, False), (high - 0.02, True), (high + 0.02, False)):
        moved = [value - shift for value in values]
        total = abs(sum(moved))
        patterns = list(itertools.product((1, -1), repeat=len(values)))
        p = sum(abs(sum(s * v for s, v in zip(signs, moved, strict=True))) >= total - 1e-9 for signs in patterns)
        # Equal values leave no room between the ends.
        assert (p / len(patterns) > 0.05) == accepted or low == high
    assert interval(values[:5]) is None
