"""The best prompt of a study leaves the store with the numbers that the sweep recorded, or says that it does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import synthetic_results as made
from finished import METHODS, SWEEP, add_trial, finish

from pipeline.prompts import export_prompt, fetch_prompt, write_prompt
from pipeline.reports import collect
from pipeline.reports.find_row import pick_study
from pipeline.store import TrialStore, open_files
from sept_core.checked_json import seal, unseal
from sept_core.checkpoint import load_checkpoint
from sept_core.errors import InputError
from sept_core.prompt import CARD, PARAMETERS, read_prompt


def trial_of(store: TrialStore, method: str) -> tuple[str, str]:
    row = pick_study(collect(store, SWEEP), method)
    return row.study, row.signature


@pytest.mark.parametrize("method", METHODS)
def test_the_kept_parameters_are_exported_and_measured_equal(method: str, finished_sweep: Path) -> None:
    store = TrialStore(open_files(finished_sweep))
    exported = export_prompt(store, str(finished_sweep), SWEEP, method)
    study, signature = trial_of(store, method)
    result = store.read_result(study, signature)
    assert result is not None
    card, prompt = exported.prompt.card, exported.prompt
    assert (exported.retrained, exported.differences) == (False, {})
    assert (card["study"], card["trial"]["signature"], card["method"]) == (study, signature, method)
    assert (card["test"], card["validation"], card["hyper"]) == (result.test, result.validation, result.config.hyper)
    assert card["classes"]["trained"] == result.classnames["base"]
    assert [row["training_clips"] for row in card["replicas"]] == [0 if method == "zero-shot" else 10] * 2
    checkpoint = store.read_checkpoint(result.config)
    assert checkpoint is not None
    kept = load_checkpoint(checkpoint, signature).states[-1].params
    # A cache's clips are in the embeddings already, so no checkpoint has them, but a prompt does.
    cache = {"keys", "values"} if method in ("tip-adapter", "treff") else set()
    assert prompt.params.keys() == kept.keys() | cache
    assert {name: prompt.params[name].tolist() for name in kept} == {
        name: value.tolist() for name, value in kept.items()
    }
    assert card["training"]["clips_contained"].startswith("the features of the training clips" if cache else "none")


@pytest.mark.parametrize("damaged", [False, True])
def test_what_is_not_kept_any_more_is_trained_once_more_to_the_same_bytes(damaged: bool, own_root: Path) -> None:
    store = TrialStore(open_files(own_root))
    kept = export_prompt(store, str(own_root), SWEEP, "coop+sept").prompt
    key = "/".join(("trials", *trial_of(store, "coop+sept"), "checkpoint.safetensors"))
    store.files.delete(key)
    if damaged:
        store.files.write(key, b"\x08" + bytes(15))
    again = export_prompt(store, str(own_root), SWEEP, "coop+sept")
    assert (again.retrained, again.differences) == (True, {})
    assert again.prompt.files()["prompt.safetensors"] == kept.files()["prompt.safetensors"]
    assert again.prompt.card["parameters"]["from"] == "the configuration, trained again"


def test_a_result_that_does_not_come_again_is_told_and_the_cards_metrics_are_those_measured(own_root: Path) -> None:
    store = TrialStore(open_files(own_root))
    result = store.read_result(*trial_of(store, "coop"))
    assert result is not None
    store.write_result(dataclasses.replace(result, test={**result.test, "h": result.test["h"] + 1}))
    exported = export_prompt(store, str(own_root), SWEEP, "coop")
    assert exported.differences == {"test/h": (result.test["h"] + 1, result.test["h"])}
    assert exported.prompt.card["test"] == result.test
    told = exported.prompt.card["parameters"]["measured_again"]
    assert told == {"test/h": {"recorded": result.test["h"] + 1, "now": result.test["h"]}}


def test_the_one_replica_is_chosen_by_held_out_clips(finished_sweep: Path) -> None:
    store = TrialStore(open_files(finished_sweep))
    every = export_prompt(store, str(finished_sweep), SWEEP, "dept").prompt
    one = export_prompt(store, str(finished_sweep), SWEEP, "dept", best_replica=True).prompt
    validation = [row["val_h"] for row in every.card["replicas"]]
    best = validation.index(max(validation))
    assert len(set(validation)) == 2
    assert one.card["replicas"] == [every.card["replicas"][best]]
    assert one.params["ctx"].tolist() == every.params["ctx"][best : best + 1].tolist()


def test_the_card_tells_the_estimate_of_the_procedure_from_the_prompts_own_figures(own_root: Path) -> None:
    store = TrialStore(open_files(own_root))
    alone = export_prompt(store, str(own_root), SWEEP, "coop").prompt.card
    # Nothing was chosen yet: the trial is the procedure.
    assert (alone["caution"], alone["procedure"]["test"]["h"]) == ("", alone["test"]["h"])
    assert "no test clip of its fold was used" in alone["chosen_by"]
    assert "of this same trial" in alone["procedure"]["figures_are"]
    assert "estimate" not in alone["procedure"]["figures_are"]
    add_trial(store, "coop", 1, {"n_ctx": 4, "lr": 0.5})
    # Both folds choose it: the row is this trial's, and its choice has seen no test clip of the fold.
    same = export_prompt(store, str(own_root), SWEEP, "coop").prompt.card["procedure"]
    assert [one["folds"] for one in same["chosen"]] == [["2", "3"]]
    assert "of this same trial" in same["figures_are"]
    assert "not a measurement of this prompt" not in same["figures_are"]
    assert "also estimate the procedure" in same["figures_are"]
    add_trial(store, "coop", 2, {"n_ctx": 2, "lr": 0.5})
    table = collect(store, SWEEP)
    row = next(row for row in table.rows if row.method == "coop")
    prompt = export_prompt(store, str(own_root), SWEEP, "coop").prompt
    card = prompt.card
    assert card["procedure"]["test"] == vars(row.test)
    assert [one["signature"] for one in card["procedure"]["chosen"]] == [one.signature for one, _ in row.merged]
    assert len(card["procedure"]["chosen"]) == 2
    assert "not a measurement of this prompt" in card["procedure"]["figures_are"]
    for words in (card["chosen_by"], card["metrics_are"], card["caution"]):
        assert "which include test clips of other folds" in words
    assert "no test clip of its fold was used" not in card["chosen_by"]
    one = export_prompt(store, str(own_root), SWEEP, "coop", best_replica=True).prompt.card
    assert card["caution"] in one["metrics_are"]
    # A card of an earlier release has neither.
    files = prompt.files()
    plain = {name: value for name, value in unseal(files[CARD]).items() if name not in ("procedure", "caution")}
    assert read_prompt(seal(plain), files[PARAMETERS], "old").trained == prompt.trained


def test_no_replica_is_chosen_on_test_clips(store: TrialStore) -> None:
    made.fill_store(store, [made.chosen_on_test(made.make_case("FSDD", "coop", 0))])
    with pytest.raises(
        InputError, match=r"coop: the best replica would be chosen on test clips .*without --best-replica"
    ):
        export_prompt(store, "nowhere", made.SWEEP, best_replica=True)


def test_studies_are_found_by_what_a_person_types(finished_sweep: Path) -> None:
    table = collect(TrialStore(open_files(finished_sweep)), SWEEP)
    for wanted in ("ESC10.mini.base-to-new.coop+sept", "ESC10.coop+sept", "coop+sept"):
        assert pick_study(table, wanted).method == "coop+sept"
    for wanted, said in (
        (None, "has several studies; give one: ESC10.mini.base-to-new.zero-shot, "),
        ("ESC10", "'ESC10' may be several studies; give one: "),
        ("ESC10.mini.base-to-new.cop", "no study 'ESC10.mini.base-to-new.cop'; did you mean"),
    ):
        with pytest.raises(InputError, match=said.replace(".", r"\.")):
            pick_study(table, wanted)


def test_another_prompt_is_replaced_only_when_asked_to(finished_sweep: Path, tmp_path: Path) -> None:
    store, folder = TrialStore(open_files(finished_sweep)), str(tmp_path / "prompt")
    first, second = (export_prompt(store, str(finished_sweep), SWEEP, method).prompt for method in ("coop", "dept"))
    write_prompt(folder, first)
    write_prompt(folder, first)
    with pytest.raises(InputError, match=r"there is another prompt; give another folder, or --force"):
        write_prompt(folder, second)
    assert fetch_prompt(folder).files() == first.files()
    write_prompt(folder, second, force=True)
    assert fetch_prompt(folder).files() == second.files()


def test_a_prompt_that_was_cut_off_while_it_was_replaced_is_replaced_unasked(
    finished_sweep: Path, tmp_path: Path
) -> None:
    store, folder = TrialStore(open_files(finished_sweep)), tmp_path / "prompt"
    first, second = (export_prompt(store, str(finished_sweep), SWEEP, method).prompt for method in ("coop", "dept"))
    write_prompt(str(folder), first)
    (folder / PARAMETERS).write_bytes(second.files()[PARAMETERS])
    with pytest.raises(InputError, match="the prompt is damaged .* export it again"):
        fetch_prompt(str(folder))
    write_prompt(str(folder), second)
    assert fetch_prompt(str(folder)).files() == second.files()
    # What a later release wrote, and a card of something else, are not damaged.
    later = seal({**unseal(first.files()[CARD]), "format": 2})
    for there in ({CARD: later, PARAMETERS: b"x"}, {CARD: b"{}"}):
        other = tmp_path / f"other{len(there)}"
        other.mkdir()
        for name, data in there.items():
            (other / name).write_bytes(data)
        with pytest.raises(InputError, match="there is another prompt"):
            write_prompt(str(other), first)
        assert {path.name: path.read_bytes() for path in other.iterdir()} == there


def test_a_bucket_takes_and_gives_a_prompt_and_a_sweep(s3_root: str, prompt_folder: Path) -> None:
    prompt = fetch_prompt(str(prompt_folder))
    assert write_prompt(f"{s3_root}/prompt", prompt) == f"{s3_root}/prompt/card.json"
    assert fetch_prompt(f"{s3_root}/prompt").files() == prompt.files()
    with pytest.raises(InputError, match=r"no prompt there \(card.json is missing\)"):
        fetch_prompt(f"{s3_root}/nothing")
    store = finish(s3_root)
    assert (
        export_prompt(store, s3_root, SWEEP, "coop").prompt.files()["prompt.safetensors"]
        == (prompt.files()["prompt.safetensors"])
    )
