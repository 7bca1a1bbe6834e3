"""Failed trials, lost workers, and lost or damaged records of a sweep."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from played_sweep import Heard, Play
from tiny_sweep import make_spec, outcome_of

from sept_core.errors import SeptError
from sept_core.results import Report


def test_a_failed_trial_is_a_decision_and_the_sweep_goes_on(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.trials.failing = 5
    heard = play.run(0)
    failed = [(decision, result) for decision, result in heard.ends.values() if decision.state == "failed"]
    assert failed
    assert all(decision.error == "ValueError: no luck" for decision, _ in failed)
    assert all(result is not None and result.state == "failed" for _, result in failed)
    assert heard.state == "finished"


def test_failed_trials_are_run_once_more_when_asked_for_and_nothing_else_is(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.trials.failing = 5
    play.run(0)
    before = outcome_of(tmp_path)
    failed = {key for key, decision in before["verdicts"].items() if decision[1] == "failed"}
    assert play.store.forget_failures("tiny", lambda: None) == len(failed) > 0
    play.trials.failing = 0
    trained = len(play.trials.trained)
    heard = play.run(1)
    after = outcome_of(tmp_path)
    assert after["members"] == before["members"]
    changed = {key for key in after["verdicts"] if after["verdicts"][key] != before["verdicts"][key]}
    assert changed == failed
    assert {after["verdicts"][key][1] for key in failed} <= {"finished", "pruned"}
    again = {entry.partition(":")[0] for entry in play.trials.trained[trained:]}
    assert again <= {after["members"][key][0] for key in failed}
    assert heard.state == "finished"


def test_failures_are_remembered_alike_by_a_calm_and_a_rough_sweep(tmp_path: Path) -> None:
    calm, rough = Play(tmp_path / "calm"), Play(tmp_path / "rough", losses=10, crashes=10)
    calm.trials.failing = rough.trials.failing = 5
    calm.run(0)
    rough.run(5)
    assert outcome_of(tmp_path / "rough") == outcome_of(tmp_path / "calm")


def test_a_trial_that_kills_every_worker_fails_and_does_not_hold_up_the_sweep(tmp_path: Path) -> None:
    heard = Heard()
    driver = Play(tmp_path).driver(heard)
    while (proposal := driver.ask()) is not None:
        assert driver.begun(proposal, ())
        driver.lost(proposal, "as arranged")
    assert driver.finished
    assert {decision.state for decision, _ in heard.ends.values()} == {"failed"}
    assert all("lost 6 workers in a row" in decision.error for decision, _ in heard.ends.values())


def test_a_trial_that_kills_every_worker_after_its_first_report_fails_too(tmp_path: Path) -> None:
    heard = Heard()
    driver = Play(tmp_path).driver(heard)
    curve = (Report(1, {"val/h": 0.5, "val/base": 0.5, "val/new": 0.5}, 1.0, 1),)
    begun: Counter[tuple[str, int]] = Counter()
    while (proposal := driver.ask()) is not None:
        begun[proposal.study, proposal.number] += 1
        assert driver.begun(proposal, curve if begun[proposal.study, proposal.number] > 1 else ())
        assert driver.reported(proposal, curve)
        driver.lost(proposal, "as arranged")
    assert driver.finished
    assert {decision.state for decision, _ in heard.ends.values()} == {"failed"}
    # From the first report on six were lost; that each of them begins with it is nothing new.
    assert set(begun.values()) == {6}


def test_a_trial_whose_workers_are_lost_before_it_begins_while_others_begin_fails_too(tmp_path: Path) -> None:
    heard = Heard()
    driver = Play(tmp_path, make_spec(methods=["coop", "coop+sept"], trials=3)).driver(heard)
    while (proposal := driver.ask()) is not None:
        assert proposal.config.sept or driver.begun(proposal, ())
        driver.lost(proposal, "as arranged")
    assert driver.finished
    reasons = {decision.study.rpartition(".")[2]: decision.error for decision, _ in heard.ends.values()}
    assert reasons["coop"] == "lost 6 workers in a row without a new report; the last one: as arranged"
    assert reasons["coop+sept"] == "lost 6 workers in a row before it started; the last one: as arranged"


def test_workers_that_never_begin_are_no_fault_of_any_trial_and_end_the_launch(tmp_path: Path) -> None:
    play = Play(tmp_path, losses=100)
    with pytest.raises(SeptError, match="11 workers in a row were lost before they started.*the same command again"):
        play.run(0)
    assert outcome_of(tmp_path)["verdicts"] == {}
    play.losses = 0
    assert play.run(0).state == "finished"


def test_a_lost_result_is_made_again_and_the_decision_stands(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.run(0)
    before, whole = play.store.decisions("tiny"), outcome_of(tmp_path)
    lost = next(decision for decision in before if decision.state == "finished" and decision.study.endswith("sept"))
    (tmp_path / "trials" / lost.study / lost.signature / "result.json").write_text("{")
    play.trials.checkpoints.pop(lost.signature)
    heard = play.run(1)
    assert heard.ends[lost.study, lost.number][1] is not None
    assert play.store.decisions("tiny") == before
    assert outcome_of(tmp_path) == whole


def test_a_damaged_proposal_is_proposed_again_as_it_was(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.run(0)
    whole = outcome_of(tmp_path)
    (tmp_path / "sweeps/tiny/members/FSDD.mini.base-to-new.coop/00003.json").write_text("garbage")
    heard = play.run(1)
    assert outcome_of(tmp_path) == whole
    assert heard.state == "finished"


def test_a_damaged_decision_is_given_again_as_it_was(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.run(0)
    whole = outcome_of(tmp_path)
    for path in (tmp_path / "sweeps/tiny/verdicts/FSDD.mini.base-to-new.coop").iterdir():
        path.write_text("garbage")
    play.run(1)
    assert outcome_of(tmp_path) == whole


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_damaged_decision_amid_unended_proposals_does_not_wedge_the_sweep(tmp_path: Path, number: int) -> None:
    play = Play(tmp_path)
    play.run(0)
    whole = outcome_of(tmp_path)
    decisions = tmp_path / "sweeps/tiny/verdicts/FSDD.mini.base-to-new.coop"
    (decisions / f"{number:05d}.json").write_text("garbage")
    for path in sorted(decisions.iterdir())[number + 1 :]:
        path.unlink()  # as of a driver killed before it decided them
    play.run(1)
    assert outcome_of(tmp_path) == whole
