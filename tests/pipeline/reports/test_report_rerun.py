from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny_inputs
from tiny_sweep import make_spec, run_inline

from pipeline.prompts import export_prompt
from pipeline.reports import rerun_command, write_report
from pipeline.reports.rerun import meant_trials, rerun
from pipeline.store import LocalFiles, TrialStore
from sept_core.errors import InputError
from sept_core.results import Report
from sept_core.trial_config import TrialConfig

PROVIDER = tiny_inputs.provide


def keep(folder: Path, **changes: Any) -> None:
    """Run the sweep, with what a launch keeps of its spec."""
    spec = make_spec(**changes)
    TrialStore(LocalFiles(folder)).write_spec(spec.name, spec.text())
    run_inline(spec, folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep; nothing here writes into it."""
    folder = tmp_path_factory.mktemp("again")
    keep(folder, trials=3)
    return folder


@pytest.fixture
def tiny(root: Path) -> TrialStore:
    return TrialStore(LocalFiles(root))


def note(told: dict[str, list[int]], report: Report, config: TrialConfig) -> None:
    told.setdefault(config.signature, []).append(report.epoch)


def test_every_row_of_a_report_comes_out_the_same_when_its_command_is_run(tiny: TrialStore, root: Path) -> None:
    table, files = write_report(tiny, "tiny")
    text = tiny.files.read(files.table).decode()
    before = tiny.files.list("trials")
    for row in table.rows:
        (signature,) = meant_trials(tiny, "tiny", row.study)
        assert f"`{rerun_command('tiny', signature)}`" in text
        told: dict[str, list[int]] = {}
        done = rerun(tiny, str(root), "tiny", signature, provider=PROVIDER, progress=partial(note, told))
        assert done.differing == ()
        assert (done.largest, done.elsewhere) == (0.0, ())
        assert done.here.startswith("1 thread on ")
        assert done.result.test["h"] == row.test.h
        assert told == {signature: [report.epoch for report in done.stored.curve]}
    assert tiny.files.list("trials") == before


def test_a_row_means_the_trials_of_all_its_test_folds_and_a_folds_study_its_own(tmp_path: Path) -> None:
    folds = {"FSDD": ["nicolas", "theo"]}
    # More trials for the baseline than for its twin: its gain compares others than its row.
    keep(tmp_path, trials=2, methods=["coop", "coop+sept"], budgets={"coop": 4}, folds=folds, selection="strict")
    store = TrialStore(LocalFiles(tmp_path))
    study_of = {proposal.signature: proposal.study for proposal in store.proposals("tiny")}
    for method in ("coop", "coop+sept"):
        row = f"FSDD.mini.base-to-new.{method}"
        both = meant_trials(store, "tiny", row)
        assert {study_of[one] for one in both} == {f"{row}.fold-nicolas", f"{row}.fold-theo"}
        assert meant_trials(store, "tiny", f"FSDD.{method}") == both
        for fold in folds["FSDD"]:
            own = tuple(one for one in both if study_of[one] == f"{row}.fold-{fold}")
            for wanted in (f"{row}.fold-{fold}", f"FSDD.{method}.fold-{fold}", f"{method}.fold-{fold}"):
                assert meant_trials(store, "tiny", wanted) == own
    with pytest.raises(InputError, match="has no trial 'coop.fold-the'.*the study of a fold those of that fold"):
        meant_trials(store, "tiny", "coop.fold-the")


def test_another_result_is_told_with_what_differs_and_by_how_much(tiny: TrialStore, root: Path) -> None:
    row = write_report(tiny, "tiny")[0].rows[1]
    done = rerun(tiny, str(root), "tiny", row.choices[0].signature[:8], provider=tiny_inputs.provide_other_test_labels)
    assert set(done.differing) == {"test", "replicas", "confusion", "tested"}
    assert done.largest == max(abs(done.result.test[name] - done.stored.test[name]) for name in done.stored.test)
    assert done.largest > 0


def test_what_cannot_be_run_again_is_refused_with_the_reason(tiny: TrialStore, root: Path) -> None:
    for signature in ("ffffffffffffffff", ""):
        with pytest.raises(InputError, match=f"sweep 'tiny' has no trial '{signature}'.*see its report"):
            rerun(tiny, str(root), "tiny", signature, provider=PROVIDER)
    with pytest.raises(InputError, match="unknown sweep 'tyni'"):
        rerun(tiny, str(root), "tyni", "0", provider=PROVIDER)


def test_what_computed_it_is_told_where_nothing_else_is_known_to_differ(
    tiny: TrialStore, root: Path, sept: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = write_report(tiny, "tiny")[0].rows[1].choices[0].signature
    monkeypatch.setitem(rerun.__kwdefaults__, "provider", tiny_inputs.provide_other_test_labels)
    code, out, _ = sept("rerun", "tiny", signature, "--root", root)
    assert code == 1
    assert "Not the same: test, replicas, confusion" in out
    assert "  computed here with 1 thread on the CPU; the trials of the sweep may have used others" in out
    assert "TEST" not in out


def test_what_was_compared_is_named_with_the_clips_that_were_right_where_they_were_stored(
    root: Path, tmp_path: Path, sept: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TrialStore(LocalFiles(Path(shutil.copytree(root, tmp_path / "own"))))
    monkeypatch.setitem(rerun.__kwdefaults__, "provider", PROVIDER)
    (signature,) = meant_trials(store, "tiny", "zero-shot")
    same = "The same to the last digit: validation, test, every replica, confusion matrices, {}curve.\n"
    code, out, _ = sept("rerun", "tiny", signature, "--root", tmp_path / "own")
    assert code == 0
    assert same.format("which test clips were right, ") in out
    stored = store.read_result("FSDD.mini.base-to-new.zero-shot", signature)
    assert stored is not None
    store.write_result(dataclasses.replace(stored, tested={}))
    code, out, _ = sept("rerun", "tiny", signature, "--root", tmp_path / "own")
    assert code == 0
    assert same.format("") in out


def test_a_result_of_an_earlier_release_is_the_same_although_it_does_not_say_how_much_sept_acted(
    root: Path, tmp_path: Path
) -> None:
    store = TrialStore(LocalFiles(Path(shutil.copytree(root, tmp_path / "own"))))
    (signature,) = meant_trials(store, "tiny", "coop+sept")
    stored = store.read_result("FSDD.mini.base-to-new.coop+sept", signature)
    assert stored is not None
    assert all("sept/gradient" in report.metrics for report in stored.curve)
    first = stored.curve[0]
    fewer = {name: value for name, value in first.metrics.items() if not name.startswith("sept/")}
    for metrics, differing in ((fewer, ()), (first.metrics | {"sept/gradient": 101.0}, ("curve",))):
        curve = (dataclasses.replace(first, metrics=metrics), *stored.curve[1:])
        store.write_result(dataclasses.replace(stored, curve=curve))
        assert rerun(store, str(tmp_path / "own"), "tiny", signature, provider=PROVIDER).differing == differing


def test_numbers_that_were_chosen_on_test_clips_are_marked_when_they_come_again(
    tmp_path: Path, sept: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, trials=1, methods=["zero-shot", "coop+sept"], selection="paper")
    monkeypatch.setitem(rerun.__kwdefaults__, "provider", PROVIDER)
    store = TrialStore(LocalFiles(tmp_path))
    signature = next(one.signature for one in store.proposals("tiny") if one.config.epochs)
    code, out, _ = sept("rerun", "tiny", signature, "--root", tmp_path)
    assert code == 0
    assert ": validation " not in out
    assert "on TEST clips" in out
    assert "CHOSEN ON TEST CLIPS" in out
    assert json.loads(sept("rerun", "tiny", signature, "--root", tmp_path, "--json")[1])["warning"]
    assert "CHOSEN ON TEST CLIPS" in sept("best", "tiny", "--root", tmp_path)[1]
    told = [row.get("warning") for row in json.loads(sept("best", "tiny", "--root", tmp_path, "--json")[1])]
    assert len(told) == 2
    assert all(told)
    monkeypatch.setitem(export_prompt.__kwdefaults__, "provider", PROVIDER)
    assert "CHOSEN ON TEST CLIPS" in sept("export", "tiny", "coop+sept", "--root", tmp_path, "--to", "prompt")[1]
    card = json.loads(Path("prompt/card.json").read_text(encoding="utf-8"))
    assert "CHOSEN ON TEST CLIPS" in card["metrics_are"]
    shown = sept("sweep", "status", "tiny", "--root", tmp_path)[1]
    assert "CHOSEN ON TEST CLIPS" in shown
    assert "best TEST H" in shown


def test_a_trial_that_has_not_finished_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    keep(tmp_path, trials=1, methods=["zero-shot", "coop+sept"])
    store = TrialStore(LocalFiles(tmp_path))
    proposal = store.proposals("tiny")[0]
    store.files.delete(f"trials/{proposal.study}/{proposal.signature}/result.json")
    with pytest.raises(InputError, match=r"the result of trial \w+ is gone; launch the sweep again"):
        rerun(store, str(tmp_path), "tiny", proposal.signature, provider=PROVIDER)
    store.files.delete(f"sweeps/tiny/verdicts/{proposal.study}/{proposal.number:05d}.json")
    with pytest.raises(InputError, match="has no finished result to compare with"):
        rerun(store, str(tmp_path), "tiny", proposal.signature, provider=PROVIDER)
