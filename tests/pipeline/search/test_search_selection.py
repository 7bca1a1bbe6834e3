"""What is chosen for a test fold is a function of clips of the other folds, shown on whole sweeps of real trials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_inputs import TEST_FOLD, provide, provide_random_test_clips
from tiny_sweep import make_spec, run_inline

from pipeline.reports import collect, to_latex, write_report
from pipeline.reports.rerun import meant_trials
from pipeline.reports.rows import Row
from pipeline.search.selection import choose
from pipeline.store import LocalFiles, TrialStore
from pipeline.watch.status import sweep_status
from sept_core.checked_json import seal

# Proposals that see no outcome, so that both sweeps have the same configurations.
FOLDS: dict[str, Any] = {
    "methods": ["zero-shot", "coop", "coop+sept"],
    "folds": {"FSDD": ["nicolas", "theo", "yweweler"]},
    "seeds": [0, 1],
    "trials": 3,
    "training": {"epochs": 2, "report_every": 1, "batch_size": 8},
    "sampler": {"name": "random", "seed": 3},
    "pruner": {"name": "none"},
}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "heldout": {"methods": ["coop", "coop+sept"]},
    "nested": {"methods": ["coop+sept"], "selection": "nested"},
    "cross-dataset": {
        "methods": ["coop+sept"],
        "protocol": "cross-dataset",
        "datasets": [],
        "sources": ["FSDD"],
        "targets": ["ESC10"],
    },
}


def store_of(root: Path) -> TrialStore:
    return TrialStore(LocalFiles(root))


def seen_of(store: TrialStore, fold: str) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Of every trial what the replicas of a test fold were measured on in validation."""
    found = {}
    for decision in store.decisions("tiny"):
        result = store.read_result(decision.study, decision.signature)
        assert result is not None
        rows = [row for row in result.replicas if row["fold"] == fold]
        found[decision.study, decision.number] = [
            {name: value for name, value in row.items() if name.startswith("val_")} for row in rows
        ]
    return found


def chosen_of(store: TrialStore, fold: str) -> Mapping[str, int]:
    studies = {decision.study for decision in store.decisions("tiny")}
    by_study = {study: [one for one in store.decisions("tiny") if one.study == study] for study in studies}
    return {study: choose(decisions)[fold].number for study, decisions in by_study.items()}


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_the_choice_for_a_test_fold_does_not_depend_on_its_test_clips(protocol: str, tmp_path: Path) -> None:
    spec = make_spec(FOLDS | PROTOCOLS[protocol])
    for name, provider in (("as_is", provide), ("random", provide_random_test_clips)):
        run_inline(spec, tmp_path / name, provider)
    one, other = store_of(tmp_path / "as_is"), store_of(tmp_path / "random")
    assert [proposal.params for proposal in one.proposals("tiny")] == [
        proposal.params for proposal in other.proposals("tiny")
    ]
    # Bit for bit, of every trial.
    assert seen_of(one, TEST_FOLD) == seen_of(other, TEST_FOLD)
    values = [[decision.fold_values[TEST_FOLD] for decision in store.decisions("tiny")] for store in (one, other)]
    assert values[0] == values[1]
    assert chosen_of(one, TEST_FOLD) == chosen_of(other, TEST_FOLD)
    # What the choice cannot be made by: these clips are training and validation clips of the other folds.
    objectives = [[decision.objective for decision in store.decisions("tiny")] for store in (one, other)]
    assert all(before != after for before, after in zip(*objectives, strict=True))


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a sweep over three test folds and two seeds."""
    root = tmp_path_factory.mktemp("several")
    spec = make_spec(FOLDS, trials=6)
    store_of(root).write_spec("tiny", spec.text())
    run_inline(spec, root)
    return root


def test_table_status_and_results_show_the_same_numbers_and_they_are_the_chosen_replicas(several: Path) -> None:
    store = store_of(several)
    table, files = write_report(store, "tiny")
    written = {row["study"]: row for row in json.loads(store.files.read(files.results))["rows"]}
    status = {study.key: study for study in sweep_status(store, "tiny").studies}
    text, latex = store.files.read(files.table).decode(), to_latex(table)
    assert any(len(row.merged) > 1 for row in table.rows)
    for row in table.rows:
        rows = []
        for choice in row.choices:
            finished = [one for one in store.decisions("tiny") if one.study == row.study and one.state == "finished"]
            results = {one.number: store.read_result(one.study, one.signature) for one in finished}
            by_number = {
                number: [one for one in result.replicas if one["fold"] == choice.fold]
                for number, result in results.items()
                if result is not None
            }
            means = {number: sum(one["val_h"] for one in some) / len(some) for number, some in by_number.items()}
            assert choice.number == max(means, key=lambda number: (round(means[number], 9), -number))
            rows += by_number[choice.number]
        assert list(row.replicas) == rows
        assert row.test.h == pytest.approx(sum(one["test_h"] for one in rows) / len(rows))
        assert row.validation.h == pytest.approx(sum(one["val_h"] for one in rows) / len(rows))
        assert status[row.study].best_objective == pytest.approx(row.validation.h, abs=1e-9)
        assert written[row.study]["test"]["h"] == row.test.h
        assert written[row.study]["validation"]["h"] == row.validation.h
        assert f"{row.test.h:.1f} ± {row.test.h_std:.1f}" in text
        assert f"{row.test.h:.1f} $\\pm$ {row.test.h_std:.1f}" in latex


def test_a_studys_name_means_all_trials_that_stand_behind_its_row(several: Path) -> None:
    store = store_of(several)
    table, files = write_report(store, "tiny")
    text = store.files.read(files.table).decode()
    row = next(row for row in table.rows if len(row.merged) > 1)
    use = next(use for use in table.for_use if use.row == row.study)
    meant = meant_trials(store, "tiny", row.study)
    assert set(meant) == {choice.signature for choice in row.choices} | {use.signature}
    assert all(f"`sept rerun tiny {signature}`" in text for signature in meant)


def test_decisions_of_an_earlier_release_give_the_same_table(several: Path, tmp_path: Path) -> None:
    store = store_of(several)
    expected = collect(store, "tiny")
    before = {key: store.files.read(key) for key in store.files.list("")}
    old = store_of(tmp_path)
    for key, data in before.items():
        old.files.write(key, data)
    for decision in store.decisions("tiny"):
        plain = replace(decision, fold_values={}).to_json()
        assert "fold_values" not in plain
        old.files.write(f"sweeps/tiny/verdicts/{decision.study}/{decision.number:05d}.json", seal(plain))
    assert collect(old, "tiny") == expected
    assert sweep_status(old, "tiny").studies == sweep_status(store, "tiny").studies


def test_one_trial_in_all_folds_has_the_numbers_that_it_was_stored_with(several: Path) -> None:
    store = store_of(several)
    row = next(row for row in collect(store, "tiny").rows if row.method == "zero-shot")
    assert isinstance(row, Row)
    result = store.read_result(row.study, row.choices[0].signature)
    assert result is not None
    assert {name: getattr(row.test, name) for name in vars(row.test)} == {
        name: result.test[name] for name in vars(row.test)
    }
