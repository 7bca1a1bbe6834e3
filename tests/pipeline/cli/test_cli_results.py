"""What shows results and fits a terminal: ``sept best``, ``trials``, ``compare``, ``sweep list``, ``report``."""

from __future__ import annotations

import io
import json
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import synthetic_results as made

import pipeline
from pipeline.store import TrialStore

Sept = Callable[..., tuple[int, str, str]]

COOP = "FSDD.mini.base-to-new.coop"


@pytest.fixture
def filled(store: TrialStore, tmp_path: Path) -> Path:
    made.fill_store(store, made.make_cases(8))
    return tmp_path / "root"


def test_best_fits_100_columns_and_its_commands_name_the_sweeps_own_study_and_classes(
    sept: Sept, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = sept("best", made.SWEEP, "--root", filled)
    assert code == 0
    *lines, export, predict = out.splitlines()
    assert max(map(len, lines)) <= 100
    dataset = export.split()[3].partition(".")[0]
    base, new = made.DATASETS[dataset][1:]
    assert export.startswith(f"  sept export {made.SWEEP} {dataset}.")
    assert predict.endswith(f"--classes '{base[0]}, {new[-1]}, my new class'")


def test_sweeps_are_listed_with_state_best_and_age_and_a_damaged_one_hides_no_other(
    sept: Sept, filled: Path, store: TrialStore
) -> None:
    made.fill_store(store, made.make_cases(2)[:1], "begun")
    store.write_spec("torn", "name: torn\nmethods: [cop]\n")
    code, out, _ = sept("sweep", "list", "--root", filled)
    assert code == 0
    cells = {line.split()[0]: line.split() for line in out.splitlines()[2:4]}
    assert cells[made.SWEEP][1:3] == ["finished", "34/14"]
    assert cells["begun"][1:3] == ["stopped", "1/14"]
    assert max(map(len, out.splitlines()[:4])) <= 100
    assert "cannot be read: sweeps/torn/spec.yaml" in out
    first, *_, last = json.loads(sept("sweep", "list", "--root", filled, "--json")[1])
    assert (first["sweep"], last["sweep"]) == (made.SWEEP, "torn")
    status = pipeline.status(made.SWEEP, filled)
    assert first["best"] == max(study.best_objective or 0.0 for study in status.studies)
    assert sept("sweep", "list", "--root", filled / "none")[:2] == (
        0,
        f"no sweep in {filled / 'none'} yet; start one: sept quickstart --root {filled / 'none'}\n",
    )


def test_trials_show_validation_and_what_varies_never_test_accuracies(sept: Sept, filled: Path) -> None:
    code, out, _ = sept("trials", made.SWEEP, "FSDD.coop", "--sort", "val", "--root", filled)
    assert code == 0
    title, head, _, *rows = out.split("\n\n")[0].splitlines()
    assert (title, head.split()) == ("FSDD.coop", ["trial", "state", "val", "base", "new", "lr", "n_ctx"])
    values = [float(row.split()[2]) for row in rows if "finished" in row]
    assert values == sorted(values, reverse=True)
    # A pruned trial has the validation of a shorter training.
    assert rows[-1].split()[:2] == ["#1", "pruned"]
    assert "test" not in out
    pruned = sept("trials", made.SWEEP, "--state", "pruned", "--root", filled)[1]
    assert [line.split()[0] for line in pruned.splitlines() if " pruned " in line] == ["#1"] * 4


def test_trials_as_csv_are_the_frame_of_the_python_api(sept: Sept, filled: Path) -> None:
    code, out, _ = sept("trials", made.SWEEP, "--csv", "--root", filled)
    assert code == 0
    frame, read = pipeline.trials(made.SWEEP, filled), pd.read_csv(io.StringIO(out))
    assert list(read.columns) == list(frame.columns)
    assert list(read.signature) == list(frame.sort_values(["number", "study"]).signature)
    assert read.test_h.notna().sum() == (frame.state == "finished").sum()
    assert "." not in "".join(pd.read_csv(io.StringIO(out), dtype=str).params_n_ctx.dropna())


@pytest.mark.parametrize("column", ["test", "test_h"])
def test_trials_are_not_sorted_by_test_accuracies(column: str, sept: Sept, filled: Path) -> None:
    code, out, err = sept("trials", made.SWEEP, "--sort", column, "--root", filled)
    assert (code, out) == (2, "")
    assert f"not sorted by '{column}': that would choose one on test data; use --sort val" in err
    code, _, err = sept("trials", made.SWEEP, "--sort", "nctx", "--root", filled)
    assert (code, "did you mean 'n_ctx'?" in err, err.count("\n")) == (2, True, 1)
    code, _, err = sept("trials", made.SWEEP, "coop+spet", "--root", filled)
    assert (code, "did you mean 'coop+sept'?" in err) == (2, True)


def test_trials_chosen_on_test_clips_are_marked(sept: Sept, store: TrialStore, tmp_path: Path) -> None:
    store.write_spec("paper", made.SPEC.replace(made.SWEEP, "paper") + "selection: paper\n")
    case = made.chosen_on_test(made.make_case("FSDD", "coop", 0))
    store.add_proposal("paper", case.proposal)
    store.write_decision("paper", case.decision)
    assert "CHOSEN ON TEST CLIPS" in sept("trials", "paper", "--root", tmp_path / "root")[1]


def test_compare_shows_only_what_differs_within_100_columns(sept: Sept, filled: Path) -> None:
    code, out, _ = sept("compare", "FSDD.coop/0", "FSDD.coop/2", "FSDD.coop+sept", "--root", filled)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    assert out.startswith(f"A  {made.SWEEP}/FSDD.coop/0  ")
    assert "logit_scale" not in out
    assert "shared replicas of 3 test folds" in out
    found = json.loads(sept("compare", "FSDD.coop/0", "FSDD.coop/2", "--root", filled, "--json")[1])
    assert found["paired"][0]["replicas"] == 3


@pytest.mark.parametrize("there", [True, False])
def test_a_report_opens_in_the_browser_or_says_where_it_is(
    there: bool, sept: Sept, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def browser(page: str) -> bool:
        opened.append(page)
        return there

    monkeypatch.setattr(webbrowser, "open", browser)
    code, _, err = sept("report", made.SWEEP, "--open", "--root", filled)
    page = filled / "sweeps" / made.SWEEP / "report" / "report.html"
    assert (code, opened) == (0, [page.as_uri()])
    assert err == ("" if there else f"No browser was found; open the page yourself: {page}\n")


def test_export_looks_at_its_destination_before_it_measures(sept: Sept, filled: Path, tmp_path: Path) -> None:
    """The store has no embeddings, so that measuring would end with another error."""
    there = tmp_path / "prompt"
    there.mkdir()
    (there / "card.json").write_text("{}")
    command = ("export", made.SWEEP, "FSDD.coop", "--root", filled)
    for options, said in (
        (["--to", there], "there is another prompt; give another folder, or --force"),
        (["--register", "a/b"], "'a/b' cannot name a model in MLflow"),
        (["--register", "ab", "--mlflow", "http://127.0.0.1:9"], "it cannot be reached"),
    ):
        code, out, err = sept(*command, *options)
        assert (code > 0, out, said in err, err.count("\n")) == (True, "", True, 1), err
