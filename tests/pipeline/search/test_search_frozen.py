"""Stores written by earlier versions stay readable, and a sweep of this method version goes on.

Each folder under ``frozen/`` is what `freeze_store.py` left: some ended trials, and one at epoch 2 of 4.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
import tiny_inputs
from freeze_store import STOP_AT

from pipeline.prompts import export_prompt
from pipeline.reports import collect
from pipeline.reports.find_row import pick_study
from pipeline.reports.rerun import rerun
from pipeline.search.driver import SweepDriver
from pipeline.search.messages import Assignment
from pipeline.search.worker import TrialProcess
from pipeline.spec import StudyInputs, SweepSpec, parse_sweep
from pipeline.store import LocalFiles, TrialStore
from pipeline.watch.status import sweep_status
from sept_core.checkpoint import load_checkpoint
from sept_core.errors import InputError
from sept_core.trial import TrialInputs
from sept_core.trial_config import METHOD_VERSION

FROZEN = sorted(path.name for path in Path(__file__).with_name("frozen").iterdir())
NOW = f"method_{METHOD_VERSION}"


def provide(root: str, inputs: StudyInputs) -> TrialInputs:
    """The tiny inputs; their embeddings pass for those of the machine that wrote the store, but for last digits."""
    loaded = tiny_inputs.provide(root, inputs)
    configs = [proposal.config for proposal in TrialStore(LocalFiles(Path(root))).proposals("tiny")]
    vars(loaded.table)["digest"] = configs[0].embeddings_digest
    return loaded


@pytest.fixture(params=FROZEN)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TrialStore:
    shutil.copytree(Path(__file__).with_name("frozen") / request.param, tmp_path / "runs")
    return TrialStore(LocalFiles(tmp_path / "runs"))


def spec_of(store: TrialStore) -> SweepSpec:
    text = store.read_spec("tiny")
    assert text is not None
    return parse_sweep(text, "spec.yaml")


def test_everything_in_it_is_read(store: TrialStore) -> None:
    proposals, decisions = store.proposals("tiny"), store.decisions("tiny")
    assert len(decisions) == len(proposals) - 1 >= STOP_AT
    assert {decision.state for decision in decisions} == {"finished", "pruned"}
    for proposal in proposals:
        assert proposal.config.signature == proposal.signature
        data = store.read_checkpoint(proposal.config)
        if data is not None:
            checkpoint = load_checkpoint(data, proposal.signature)
            assert all(value.isfinite().all() for state in checkpoint.states for value in state.params.values())
    finished = [decision for decision in decisions if decision.state == "finished"]
    for decision in finished:
        result = store.read_result(decision.study, decision.signature)
        assert result is not None
        assert (result.objective, result.curve) == (decision.objective, decision.curve)


@pytest.mark.parametrize("store", sorted({*FROZEN} - {NOW}), indirect=True)
def test_a_sweep_of_an_earlier_method_version_is_shown_and_never_mixed_with_this_one(store: TrialStore) -> None:
    spec, root = spec_of(store), str(store.files.local_path("x").parent)  # type: ignore[union-attr]
    with pytest.raises(InputError, match=rf"method_version was \d+ when .* is {METHOD_VERSION} now.*--fork"):
        SweepDriver(spec, store, [], partial(provide, root)).replay()
    table = collect(store, "tiny")
    assert table.rows
    assert all("made under method version" in row.warnings[0] for row in table.rows)


def test_it_is_reported_by_the_rule_of_today(store: TrialStore) -> None:
    decisions = store.decisions("tiny")
    table = collect(store, "tiny")
    status = {study.key: study for study in sweep_status(store, "tiny").studies}
    assert len(table.rows) == len({decision.study for decision in decisions})
    for row in table.rows:
        finished = [decision for decision in decisions if decision.study == row.study and decision.state == "finished"]
        # With its one test fold: the best objective.
        best = min(finished, key=lambda decision: (-(decision.objective or 0.0), decision.number))
        result = store.read_result(best.study, best.signature)
        assert result is not None
        assert [(choice.fold, choice.signature) for choice in row.choices] == [("theo", best.signature)]
        measured = {name: value for name, value in vars(row.test).items() if value is not None}
        assert measured == pytest.approx({name: result.test[name] for name in measured}, abs=1e-9)
        assert status[row.study].best_objective == best.objective


@pytest.mark.parametrize("store", [NOW], indirect=True)
def test_its_sweep_goes_on_without_running_anything_again(store: TrialStore) -> None:
    spec, root = spec_of(store), str(store.files.local_path("x").parent)  # type: ignore[union-attr]
    before = {(decision.study, decision.number): decision for decision in store.decisions("tiny")}
    driver = SweepDriver(spec, store, [], partial(provide, root))
    driver.replay()
    inputs = {study.key: study.inputs for study in spec.studies()}
    begun = []
    while (proposal := driver.ask()) is not None:
        assert (proposal.study, proposal.number) not in before
        trial = TrialProcess(Assignment(root, provide, inputs[proposal.study], proposal.config))
        message = trial.step()
        assert message.phase == "begun", message.error
        begun.append(len(message.curve))
        go_on = driver.begun(proposal, message.curve)
        while go_on:
            message = trial.step()
            if message.phase == "ended":
                driver.concluded(proposal)
                break
            go_on = driver.reported(proposal, message.curve)
    assert driver.finished
    assert begun[0] == 2
    assert set(begun[1:]) == {0}
    after = {(decision.study, decision.number): decision for decision in store.decisions("tiny")}
    assert after.items() >= before.items()
    assert len(after) == sum(study.trials for study in spec.studies())


@pytest.mark.parametrize("store", sorted({*FROZEN} - {NOW}), indirect=True)
def test_a_trial_of_an_earlier_method_version_is_neither_trained_again_nor_exported(store: TrialStore) -> None:
    root = str(store.files.local_path("x").parent)  # type: ignore[union-attr]
    chosen = pick_study(collect(store, "tiny"), "coop+sept")
    # Nothing is loaded before that.
    for act in (
        lambda: rerun(store, root, "tiny", chosen.signature, provider=tiny_inputs.provide_nothing),
        lambda: export_prompt(store, root, "tiny", "coop+sept", provider=tiny_inputs.provide_nothing),
    ):
        with pytest.raises(InputError) as caught:
            act()
        said = str(caught.value)
        assert said.startswith(f"{chosen.signature}: the trial is of method version ")
        assert f", this release of {METHOD_VERSION}; install the version that made it: numpy " in said
        assert ", sept-sweep " in said
