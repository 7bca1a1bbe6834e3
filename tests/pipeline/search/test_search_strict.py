"""``selection: strict``: what searches for a test fold never measures a test clip of this fold."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from test_search_driver import Play
from tiny_inputs import TEST_FOLD, provide, provide_random_test_clips
from tiny_sweep import make_spec, outcome_of, run_inline

from pipeline.cli.progress import Tally
from pipeline.cli.show_status import one_line, render
from pipeline.search.selection import best_decision
from pipeline.store import LocalFiles, TrialStore
from pipeline.tracking.describe import study_tags
from pipeline.tracking.labels import run_name, study_name
from pipeline.watch.status import sweep_status

FOLDS = ("nicolas", TEST_FOLD)
TRIALS = 8
# A seed under which TPE's proposals depend on the outcomes: with few trials, it looks at which one was best.
SEARCH: dict[str, Any] = {"folds": {"FSDD": list(FOLDS)}, "trials": TRIALS, "sampler.seed": 4}
BASE_TO_NEW: dict[str, Any] = SEARCH | {"methods": ["coop+sept"]}
TRANSFER: dict[str, Any] = SEARCH | {
    "methods": ["coop"],
    "protocol": "cross-dataset",
    "datasets": [],
    "sources": ["FSDD"],
    "targets": ["ESC10"],
    "spaces": {"coop": {"n_ctx": {"choices": [1, 2]}, "lr": {"low": 0.01, "high": 5.0, "log": True}}},
}


def two_runs(tmp_path: Path, changes: dict[str, Any], selection: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The whole sweep, and once more with other sounds and labels for the test clips of one fold; by study."""
    spec = make_spec(changes, selection=selection)
    runs = []
    for name, provider in (("first", provide), ("second", provide_random_test_clips)):
        run_inline(spec, tmp_path / name, provider)
        runs.append(by_study(tmp_path / name))
    return runs[0], runs[1]


def by_study(root: Path) -> dict[str, dict[str, Any]]:
    """All that steered each study and came out of it, without signatures, which the embeddings enter."""
    outcome = outcome_of(root)
    decisions = TrialStore(LocalFiles(root)).decisions("tiny")
    studies: dict[str, dict[str, Any]] = {}
    for (study, number), (_, params) in outcome["members"].items():
        of = studies.setdefault(study, {"proposed": [], "verdicts": [], "validation": [], "test": []})
        of["proposed"].append(params)
        of["verdicts"].append(outcome["verdicts"][study, number][1:])
        if (result := outcome["results"].get((study, number))) is not None:
            of["validation"].append((result["curve"], result["validation"], replicas(result, "val_")))
            of["test"].append((result["test"], replicas(result, "test_")))
    for study, of in studies.items():
        best = best_decision(decision for decision in decisions if decision.study == study)
        of["chosen"] = None if best is None else best.number
    return studies


def replicas(result: dict[str, Any], prefix: str) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key.startswith(prefix)} for row in result["replicas"]]


@pytest.mark.parametrize("changes", [BASE_TO_NEW, TRANSFER], ids=["base-to-new", "cross-dataset"])
def test_nothing_that_steers_a_folds_search_has_measured_its_test_clips(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    first, second = two_runs(tmp_path, changes, "strict")
    assert [study.rpartition(".")[2] for study in first] == [f"fold-{fold}" for fold in FOLDS]
    tested = next(study for study in first if study.endswith(f".fold-{TEST_FOLD}"))
    # Bit for bit: every proposal, pruning, decision, curve, validation and so the choice.
    for what in ("proposed", "verdicts", "validation", "chosen"):
        assert first[tested][what] == second[tested][what], what
    # Else this would show little: most proposals are TPE's, after two at random, and the median pruner has pruned.
    assert len(first[tested]["proposed"]) == TRIALS
    assert "pruned" in [decision[0] for decision in first[tested]["verdicts"]]
    # Only what the fold's clips test has changed; targets have nothing to do with them.
    for (before, rows), (after, others) in zip(first[tested]["test"], second[tested]["test"], strict=True):
        assert rows != others
        assert before.get("ESC10") == after.get("ESC10")
    # They are held-out clips of the other folds, whose searches do see them.
    for study in set(first) - {tested}:
        assert first[study]["verdicts"] != second[study]["verdicts"]


def test_under_heldout_the_mean_over_folds_has_measured_them(tmp_path: Path) -> None:
    first, second = two_runs(tmp_path, BASE_TO_NEW, "heldout")
    (study,) = first
    assert first[study]["proposed"][:2] == second[study]["proposed"][:2]
    assert first[study]["verdicts"] != second[study]["verdicts"]
    assert first[study]["proposed"] != second[study]["proposed"]
    assert first[study]["chosen"] != second[study]["chosen"]


STRICT = make_spec(selection="strict", folds={"FSDD": list(FOLDS)}, methods=["zero-shot", "coop", "coop+sept"])
KEYS = [
    f"FSDD.mini.base-to-new.{method}.fold-{fold}" for method in ("zero-shot", "coop", "coop+sept") for fold in FOLDS
]


def test_whatever_gets_lost_every_folds_search_ends_the_same(tmp_path: Path) -> None:
    heard = Play(tmp_path / "whole", STRICT).run(0)
    assert [plan.key for plan in heard.plans] == KEYS
    assert [plan.fold for plan in heard.plans] == [*FOLDS] * 3
    whole = outcome_of(tmp_path / "whole")
    for seed in (1, 2):
        Play(tmp_path / str(seed), STRICT, losses=10, crashes=5).run(seed)
        assert outcome_of(tmp_path / str(seed)) == whole
    # Proposals of two folds are not the same: each sampler has a seed of its own.
    proposals = {study: [params for (of, _), (_, params) in whole["members"].items() if of == study] for study in KEYS}
    assert proposals[KEYS[2]][0] != proposals[KEYS[3]][0]


def test_a_fold_that_is_added_changes_nothing_of_those_before(tmp_path: Path) -> None:
    one = make_spec(selection="strict", folds={"FSDD": [TEST_FOLD]})
    Play(tmp_path, one).run(0)
    before = outcome_of(tmp_path)
    heard = Play(tmp_path, STRICT).run(1)
    after = outcome_of(tmp_path)
    assert after["members"].items() > before["members"].items()
    assert after["verdicts"].items() > before["verdicts"].items()
    assert heard.state == "finished"


def test_status_progress_and_mlflow_tell_folds_apart(tmp_path: Path) -> None:
    heard = Play(tmp_path, STRICT).run(0)
    store = TrialStore(LocalFiles(tmp_path))
    store.write_spec("tiny", STRICT.text())
    status = sweep_status(store, "tiny")
    assert [(study.key, study.fold) for study in status.studies] == list(zip(KEYS, [*FOLDS] * 3, strict=True))
    assert status.state == "finished"
    screen = io.StringIO()
    Console(width=80, file=screen).print(render(status))
    shown = screen.getvalue()
    assert "study, fold" in shown
    assert all(f"FSDD coop+sept {fold}" in shown for fold in FOLDS)
    assert "finished" in one_line(status)
    tally = Tally()
    tally.start(heard.plans)
    assert tally.titles[KEYS[-1]] == f"FSDD CoOp + SEPT, fold {FOLDS[-1]}"
    assert len(set(tally.titles.values())) == len(KEYS)
    proposals = store.proposals("tiny")
    names = {study_name(proposal) for proposal in proposals}
    assert len(names) == len(KEYS)
    assert f"FSDD | CoOp + SEPT | fold {TEST_FOLD}" in names
    assert {study_tags("tiny", proposal)["sept.study"] for proposal in proposals} == set(KEYS)
    assert {run_name(proposal) for proposal in proposals if proposal.study == KEYS[1]} == {
        f"#0 zero-shot | FSDD | fold {FOLDS[1]}"
    }
