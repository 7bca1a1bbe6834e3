"""Ranking by a learned prompt: the numbers of the evaluation, for any names."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trial_made import UNSEEN, suited

from sept_core.checked_json import seal, unseal
from sept_core.classnames import check_names
from sept_core.datasets import EmbeddingTable
from sept_core.encoders import Encoder
from sept_core.errors import InputError
from sept_core.prediction import Predictor
from sept_core.prompt import CARD, PARAMETERS, Prompt, load_prompt, read_prompt
from sept_core.trial import TrialInputs, TrialResult, TrialRun, make_config

METHODS = UNSEEN
LEFT_OUT = object()
Learned = tuple[Prompt, TrialResult, EmbeddingTable, list[int]]


@pytest.fixture(scope="module")
def learned(encoder: Encoder, make_table: Callable[..., EmbeddingTable]) -> Callable[[str], Learned]:
    """A prompt of one test fold and two seeds, its trial's result, the table and the rows of the test fold."""
    table = make_table()
    inputs = TrialInputs(encoder, table)
    made: dict[str, Learned] = {}

    def learn(method: str) -> Learned:
        if method not in made:
            hyper = suited(method, {"n_ctx": 2, "lr": 0.5})
            config = make_config(inputs, method, hyper, shots=2, folds=["theo"], seeds=[0, 1], epochs=2, batch_size=8)
            run = TrialRun(config, inputs)
            while not run.finished:
                run.advance()
            result = run.result()
            card = {
                "study": config.study_key,
                "method": method,
                "baseline": config.baseline,
                "hyper": config.hyper,
                "encoder": {"name": "tiny", "fingerprint": encoder.fingerprint},
                "dataset": {"name": "FSDD"},
                "classes": {"trained": result.classnames["base"], "all": list(table.info.classnames)},
                "replicas": list(result.replicas),
            }
            rows = [row for row, fold in enumerate(table.folds) if fold == "theo"]
            made[method] = Prompt(card, run.learned), result, table, rows
        return made[method]

    return learn


def change(files: dict[str, bytes], **other: object) -> None:
    """Give a card other values, and the seal that fits them."""
    files[CARD] = seal({**unseal(files[CARD]), **other})


def only(prompt: Prompt, replica: int) -> Prompt:
    """One replica of a prompt."""
    card = {**prompt.card, "replicas": [prompt.card["replicas"][replica]]}
    return Prompt(card, {name: value[replica : replica + 1] for name, value in prompt.params.items()})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("half", ["base", "new"])
def test_each_replica_ranks_first_what_the_evaluation_predicts(
    method: str, half: str, learned: Callable[[str], Learned], encoder: Encoder
) -> None:
    prompt, result, table, rows = learned(method)
    names = result.classnames[half]
    # In another order: it must not matter, nor which head a learner has for which class.
    shuffled = random.Random(1).sample(names, len(names))
    chosen = [row for row in rows if table.classnames[row] in names]
    total = [[0] * len(names) for _ in names]
    for replica in (0, 1):
        ranked = Predictor(only(prompt, replica), encoder).probabilities(table.embeddings[chosen], shuffled)
        for row, best in zip(chosen, ranked.argmax(-1).tolist(), strict=True):
            total[names.index(table.classnames[row])][names.index(shuffled[best])] += 1
    assert total == result.confusion[half]


@pytest.mark.parametrize("method", METHODS)
def test_probabilities_of_any_names_are_the_mean_over_replicas_and_sum_to_one(
    method: str, learned: Callable[[str], Learned], encoder: Encoder
) -> None:
    prompt, _, table, rows = learned(method)
    audio, names = table.embeddings[rows], ["dog_bark", "helicopter", "three"]
    together = Predictor(prompt, encoder).probabilities(audio, names)
    alone = [Predictor(only(prompt, replica), encoder).probabilities(audio, names) for replica in (0, 1)]
    torch.testing.assert_close(together.sum(-1), torch.ones(len(rows), dtype=torch.float64))
    torch.testing.assert_close(together, sum(alone) / 2)
    # A clip alone is ranked as among others.
    torch.testing.assert_close(Predictor(prompt, encoder).probabilities(audio[3:4], names), together[3:4])


@pytest.mark.parametrize("method", METHODS)
def test_each_replica_is_right_among_all_names_as_often_as_its_evaluation_says(
    method: str, learned: Callable[[str], Learned], encoder: Encoder
) -> None:
    prompt, result, table, rows = learned(method)
    names = random.Random(2).sample(prompt.card["classes"]["all"], 10)
    for replica in (0, 1):
        ranked = Predictor(only(prompt, replica), encoder).probabilities(table.embeddings[rows], names)
        right = [
            table.classnames[row] == names[best] for row, best in zip(rows, ranked.argmax(-1).tolist(), strict=True)
        ]
        assert 100 * sum(right) / len(right) == pytest.approx(result.replicas[replica]["test_all"])


def test_depts_head_is_used_where_all_training_classes_are_among_the_names(
    learned: Callable[[str], Learned], encoder: Encoder
) -> None:
    prompt, _, table, rows = learned("dept")
    audio, bias = table.embeddings[rows], prompt.params["head.bias"]
    other = Prompt(prompt.card, {**prompt.params, "head.bias": bias + torch.arange(5.0)})
    for names, same in ((prompt.trained, False), ((*prompt.trained, "siren"), False), (prompt.trained[:2], True)):
        first, second = (Predictor(one, encoder).probabilities(audio, names) for one in (prompt, other))
        assert torch.equal(first, second) == same
    # It says which of the training classes a clip is, not whether it is one of them.
    names = ("siren", *prompt.trained)
    first, second = (Predictor(one, encoder).probabilities(audio, names) for one in (prompt, other))
    torch.testing.assert_close(first[:, 0], second[:, 0])


def test_a_dept_prompt_of_before_ranks_by_similarity_beside_other_names_as_its_release_did(
    learned: Callable[[str], Learned], encoder: Encoder
) -> None:
    prompt, _, table, rows = learned("dept")
    hyper = {name: value for name, value in prompt.card["hyper"].items() if name != "prompt_end"}
    before = Prompt({**prompt.card, "hyper": hyper}, prompt.params)
    other = Prompt(before.card, {**before.params, "head.bias": before.params["head.bias"] + torch.arange(5.0)})
    for names, same in ((before.trained, False), ((*before.trained, "siren"), True)):
        audio = table.embeddings[rows]
        first, second = (Predictor(one, encoder).probabilities(audio, names) for one in (before, other))
        assert torch.equal(first, second) == same


def test_another_encoder_is_refused_with_both_fingerprints(learned: Callable[[str], Learned], encoder: Encoder) -> None:
    other = dataclasses.replace(encoder, fingerprint="1111111111111111")
    with pytest.raises(InputError, match=r"fingerprint 00000000deadbeef.*1111111111111111.*give the weights"):
        Predictor(learned("coop")[0], other)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "fewer than two"),
        (["rain"], "fewer than two"),
        (["rain", " "], "is empty"),
        (["rain", "dog bark", "rain"], "'rain' is given twice"),
        (["dog bark", "Dog_Bark"], "'dog bark' and 'Dog_Bark' are the same in a prompt"),
    ],
)
def test_names_that_cannot_be_ranked_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_names(names)


def test_a_prompt_is_read_back_as_it_was_written(learned: Callable[[str], Learned], tmp_path: Path) -> None:
    prompt = learned("cocoop")[0]
    files = prompt.files()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    again = load_prompt(tmp_path)
    assert again.files() == files
    assert {name: value.tolist() for name, value in again.params.items()} == {
        name: value.tolist() for name, value in prompt.params.items()
    }
    assert (again.replicas, again.trained, again.classes) == (2, prompt.trained, prompt.classes)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda files: files.update({PARAMETERS: files[PARAMETERS][:-1] + b"\x01"}), "is not the file that card.json"),
        (lambda files: files.update({PARAMETERS: b""}), "is not the file that card.json"),
        (lambda files: files.update({CARD: files[CARD].replace(b"coop", b"c0op")}), "does not match its sha256"),
        (lambda files: files.update({CARD: b"\x00"}), "not JSON"),
        (lambda files: files.update({CARD: b'{"a":' + b"[" * 200_000}), "not JSON"),
        (lambda files: change(files, encoder={}), "lacks encoder.fingerprint"),
        (lambda files: change(files, encoder="mini"), "lacks encoder.fingerprint"),
        (lambda files: change(files, classes={"all": ["a"]}), "lacks classes.trained"),
        (lambda files: change(files, replicas=2), "has no list as replicas"),
        (lambda files: change(files, replicas=[]), "has no replicas"),
    ],
)
def test_damage_is_noticed(
    damage: Callable[[dict[str, bytes]], Any], said: str, learned: Callable[[str], Learned]
) -> None:
    files = learned("coop")[0].files()
    damage(files)
    with pytest.raises(InputError, match=rf"here: the prompt is damaged \(.*{said}.*sept export"):
        read_prompt(files[CARD], files[PARAMETERS], "here")


WRONG = (None, True, 10**30, "", "x" * 500, [1], {"a": {}})


def places(card: dict[str, Any]) -> list[tuple[str, ...]]:
    """The keys to every value of a card that predicting reads."""
    return [
        (key, *inner)
        for key in ("study", "method", "baseline", "hyper", "encoder", "dataset", "classes", "replicas", "format")
        for inner in [(), *((one,) for one in (card[key] if isinstance(card[key], dict) else ()))]
    ]


def test_a_card_with_any_other_value_predicts_or_is_one_line(
    learned: Callable[[str], Learned], encoder: Encoder
) -> None:
    prompt, _, table, rows = learned("kgcoop")
    whole, refused = unseal(prompt.files()[CARD]), []
    for place in places(whole):
        for value in (*WRONG, LEFT_OUT):
            card = copy.deepcopy(whole)
            holder = card if len(place) == 1 else card[place[0]]
            if value is LEFT_OUT:
                del holder[place[-1]]
            else:
                holder[place[-1]] = value
            try:
                read = read_prompt(seal(card), prompt.files()[PARAMETERS], "here")
                Predictor(read, encoder).probabilities(table.embeddings[rows[:2]], ["rain", "wind"])
            except InputError as error:
                refused.append(str(error))
    assert len(refused) > 90
    assert max(map(len, refused)) < 900


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda params: params.update(ctx=params["ctx"].repeat(1, 40, 1)), r"'ctx' has shape \[2, 80, \d+\], not"),
        (lambda params: params.pop("ctx"), "its parameters lack 'ctx'"),
        (lambda params: params.clear(), "holds nothing"),
        (lambda params: params.update(more=torch.ones(2, 1)), "have 'more', which dept does not have"),
        (lambda params: params.update(ctx=params["ctx"][:, :1]), r"'ctx' has shape \[2, 1, \d+\], not \[2, 2, \d+\]"),
        (lambda params: params.update(ctx=params["ctx"][:, :0]), r"'ctx' has shape \[2, 0, \d+\], not"),
        (lambda params: params.update(ctx=params["ctx"][..., 1:]), r"'ctx' has shape \[2, 2, \d+\], not"),
        (lambda params: params.update(ctx=params["ctx"][..., None]), r"'ctx' has shape \[2, 2, \d+, 1\], not"),
        (lambda params: params.update(ctx=params["ctx"][:1]), r"'ctx' of shape \[1, 2, \d+\], not of 2 replicas"),
        (lambda params: params.update(ctx=torch.ones(2)), r"'ctx' of shape \[2\], not of 2 replicas"),
        (lambda params: params.update(ctx=torch.tensor(1.0)), r"'ctx' of shape \[\], not of 2 replicas"),
        (lambda params: params.update(ctx=params["ctx"].int()), "'ctx' of type int32, not float16 or"),
        (lambda params: params.update(ctx=params["ctx"].bool()), "'ctx' of type bool, not float16 or"),
        (lambda params: params.update(ctx=params["ctx"].to(torch.float8_e5m2)), "'ctx' of type float8_e5m2, not"),
        (lambda params: params.update(ctx=params["ctx"] * float("nan")), "not finite, in ctx"),
        (lambda params: params.update({"head.bias": params["head.bias"][:, 1:]}), "'head.bias' has shape"),
    ],
)
def test_parameters_that_do_not_fit_the_learner_are_one_line(
    damage: Callable[[dict[str, torch.Tensor]], Any], said: str, learned: Callable[[str], Learned], encoder: Encoder
) -> None:
    prompt = learned("dept")[0]
    params = dict(prompt.params)
    damage(params)
    files = Prompt(prompt.card, params).files()
    with pytest.raises(InputError, match=rf"the prompt (is damaged|cannot be used).*{said}.*sept export"):
        Predictor(read_prompt(files[CARD], files[PARAMETERS], "here"), encoder)


def test_parameters_cut_short_under_a_card_that_fits_them_are_one_line(learned: Callable[[str], Learned]) -> None:
    files = learned("coop")[0].files()
    for size in (0, 4, 8, 30, len(files[PARAMETERS]) - 1):
        data = files[PARAMETERS][:size]
        card = seal({**unseal(files[CARD]), "parameters_sha256": hashlib.sha256(data).hexdigest()})
        with pytest.raises(InputError, match=r"here: the prompt is damaged \("):
            read_prompt(card, data, "here")


def test_a_place_without_a_prompt_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no prompt there \(card.json: No such file"):
        load_prompt(tmp_path)


def test_who_asks_for_other_names_at_the_same_time_changes_nothing(
    learned: Callable[[str], Learned], encoder: Encoder
) -> None:
    prompt, _, table, _ = learned("coop")
    names, others = ["dog", "siren"], ["rain", "wind", "a car"]

    class Overtaken(Predictor):
        """What it keeps is another thread's at once."""

        kept: Any = None

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, self.kept if name == "_encoded" and self.kept else value)

    alone = Predictor(prompt, encoder)
    alone.probabilities(table.embeddings[:2], others)
    overtaken = Overtaken(prompt, encoder)
    overtaken.kept = alone._encoded
    found = overtaken.probabilities(table.embeddings[:2], names)
    assert torch.equal(found, alone.probabilities(table.embeddings[:2], names))
    assert torch.allclose(found.sum(dim=1), torch.ones(2, dtype=torch.float64))
