"""A prompt of a strict sweep: one test fold's, since no configuration has seen all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished import inputs

from pipeline.prompts import export_prompt
from pipeline.search.devices import as_a_worker
from pipeline.search.sizing import trial_config
from pipeline.spec import SweepSpec, parse_sweep
from pipeline.store import Decision, Proposal, TrialStore, open_files
from sept_core.errors import InputError
from sept_core.trial import TrialRun

ROW = "ESC10.mini.base-to-new.coop"
SPEC = """
name: strict
encoder: mini
selection: strict
datasets: [ESC10]
methods: [coop]
trials: 1
shots: 2
folds: {ESC10: ['2', '3']}
training: {epochs: 2, report_every: 1}
"""


def finish(store: TrialStore, spec: SweepSpec, fold: str | None) -> None:
    """One finished trial of a fold's study; None for that of all folds."""
    study = next(study for study in spec.studies() if study.fold == fold)
    config = trial_config(spec, study, inputs(), {"n_ctx": 2, "lr": 0.05})
    run = TrialRun(config, inputs())
    with as_a_worker(1):
        while not run.finished:
            run.advance()
        result = run.result()
    store.add_proposal(spec.name, Proposal(config.study_key, 0, config.signature, config, {"n_ctx": 2, "lr": 0.05}, 1))
    store.write_checkpoint(config, run.checkpoint())
    store.write_result(result)
    decision = (config.study_key, 0, config.signature, "finished", config.epochs, result.objective, result.curve, 2)
    store.write_decision(spec.name, Decision(*decision))  # type: ignore[arg-type]


def test_a_prompt_is_of_one_folds_study_which_the_person_names(tmp_path: Path) -> None:
    store, spec = TrialStore(open_files(tmp_path)), parse_sweep(SPEC, "strict.yaml")
    store.write_spec(spec.name, spec.text())
    for fold in ("2", "3"):
        finish(store, spec, fold)
    for wanted in ("coop", "ESC10.coop", ROW, "ESC10"):
        with pytest.raises(InputError) as caught:
            export_prompt(store, str(tmp_path), "strict", wanted)
        assert str(caught.value) == (
            f"'{wanted}' has a search for each test fold (selection: strict): no configuration is best over all folds; "
            f"give the study of one fold: {ROW}.fold-2, {ROW}.fold-3"
        )
    for wanted in (f"{ROW}.fold-3", "ESC10.coop.fold-3"):
        exported = export_prompt(store, str(tmp_path), "strict", wanted)
        card = exported.prompt.card
        assert (card["study"], card["selection"], card["training"]["folds"]) == (f"{ROW}.fold-3", "strict", ["3"])
        assert "in a search that used the replicas of this test fold alone" in card["chosen_by"]
        assert (exported.retrained, exported.differences) == (False, {})
        # The row has another trial for fold 2.
        said = card["procedure"]["figures_are"]
        assert said.endswith("; this prompt is the choice for test fold 3 only")
        assert "over all folds" not in said
        assert [one["folds"] for one in card["procedure"]["chosen"]] == [["2"], ["3"]]
    with pytest.raises(InputError, match="has no study 'ESC10.coop.fold-4'; did you mean 'ESC10.coop.fold-"):
        export_prompt(store, str(tmp_path), "strict", "ESC10.coop.fold-4")


@pytest.mark.parametrize("selection", ["strict", "heldout", "paper"])
def test_of_one_test_fold_the_row_is_the_prompts_own_figures(selection: str, tmp_path: Path) -> None:
    text = SPEC.replace("['2', '3']", "['3']").replace("selection: strict", f"selection: {selection}")
    store, spec = TrialStore(open_files(tmp_path)), parse_sweep(text, "strict.yaml")
    store.write_spec(spec.name, spec.text())
    finish(store, spec, "3" if selection == "strict" else None)
    card = export_prompt(store, str(tmp_path), "strict", "coop").prompt.card
    said = card["procedure"]["figures_are"]
    assert "of this same trial" in said
    assert "not a measurement of this prompt" not in said
    assert card["procedure"]["test"]["h"] == card["test"]["h"]
    # The warning goes with every number that was chosen on test clips.
    assert said.startswith("CHOSEN ON TEST CLIPS") == (selection == "paper")
