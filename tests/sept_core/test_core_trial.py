from __future__ import annotations

import dataclasses
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_made import TRAINED, config, finish, numbers

from sept_core.checkpoint import CheckpointError, load_checkpoint, read_header
from sept_core.datasets import get_dataset, halves
from sept_core.errors import InputError
from sept_core.results import Report, TrialResult
from sept_core.semantic import load_neighbors
from sept_core.trial import TrialInputs, TrialRun, failed_result, hyper_parameters
from sept_core.trial_config import TrialConfig


@pytest.fixture
def inputs(encoder, make_table):
    return TrialInputs(encoder, make_table("FSDD"), load_neighbors("FSDD"))


def test_a_trial_reports_on_held_out_clips_and_ends_with_test_metrics(inputs):
    run = TrialRun(config(inputs), inputs)
    assert [run.advance().epoch, run.advance().epoch] == [2, 4]
    assert run.finished
    result = run.result()
    assert [report.epoch for report in result.curve] == [2, 4]
    assert set(result.curve[0].metrics) == {
        "val/h", "val/base", "val/new", "loss/total", "loss/base", "loss/intra", "loss/inter",
        "sept/active_intra", "sept/active_inter", "sept/gradient",
    }  # fmt: skip
    assert result.objective == result.curve[-1].objective
    assert len(result.replicas) == 4
    assert result.test["h"] == pytest.approx(sum(row["test_h"] for row in result.replicas) / 4)
    clips = sum(sum(row) for row in result.confusion["base"])
    assert clips == 4 * 5 * 4  # replicas x base classes x test clips of each


def test_zero_shot_is_one_report_and_done(inputs):
    trial = config(inputs, "zero-shot", sept=False, hyper={})
    assert trial.epochs == 0
    assert trial.hyper["template"] == get_dataset("FSDD").template
    run = TrialRun(trial, inputs)
    run.advance()
    assert run.finished
    assert len({(row["fold"], row["test_base"]) for row in run.result().replicas}) == 2  # seeds change no test set


def test_a_trial_continued_from_a_checkpoint_ends_bit_equal(inputs):
    trial = config(inputs)
    straight = finish(TrialRun(trial, inputs))
    first = TrialRun(trial, inputs)
    first.advance()
    second = TrialRun(trial, inputs, checkpoint=first.checkpoint())
    assert second.epoch == 2
    assert numbers(finish(second)) == numbers(straight)


def test_a_run_restored_at_its_last_report_only_makes_the_result(inputs):
    trial = config(inputs)
    run = TrialRun(trial, inputs)
    straight = finish(run)
    again = TrialRun(trial, inputs, checkpoint=run.checkpoint())
    assert again.finished
    assert numbers(again.result()) == numbers(straight)


def test_the_same_signature_gives_the_same_numbers_and_any_change_another_signature(inputs, make_table):
    trial = config(inputs)
    assert trial.signature == config(inputs).signature
    assert numbers(finish(TrialRun(trial, inputs))) == numbers(finish(TrialRun(trial, inputs)))
    changed = [
        config(inputs, shots=3),
        config(inputs, seeds=(0, 2)),
        config(inputs, folds=("theo",)),
        config(inputs, epochs=5),
        config(inputs, batch_size=9),
        config(inputs, report_every=1),
        config(inputs, hyper={"n_ctx": 3, "lr": 0.05, "n_neighbors": 2, "lambda_se": 3.0, "margin_inter": 0.9}),
        config(inputs, sept=False),
        config(inputs, precision="bfloat16"),
        config(dataclasses.replace(inputs, table=make_table("FSDD", seed=1))),
    ]
    assert len({trial.signature, *(other.signature for other in changed)}) == 1 + len(changed)


def test_a_signature_stays_what_it_is_over_the_years():
    frozen = TrialConfig(
        method_version=1, protocol="base-to-new", selection="heldout", encoder="mini", encoder_fingerprint="f" * 16,
        dataset="ESC10", manifest_digest="d" * 16, embeddings_digest="b" * 16, neighbors_digest="e" * 16,
        templates_digest="c" * 16, baseline="coop", sept=True, shots=16,
        hyper={"lr": 0.002, "n_ctx": 16, "margin_mode": "handcrafted"},
        folds=("2", "3"), seeds=(0, 1), epochs=50, report_every=10, batch_size=16,
    )  # fmt: skip
    assert frozen.signature == "04cbe3eeb676502f"
    assert TrialConfig.model_validate_json(frozen.model_dump_json()).signature == frozen.signature
    assert frozen.study_key == "ESC10.mini.base-to-new.coop+sept"


@pytest.mark.parametrize("selection", ["heldout", "nested"])
@pytest.mark.parametrize("baseline", TRAINED)
def test_permuting_test_labels_changes_test_metrics_and_nothing_else(inputs, baseline, selection):
    trial = config(inputs, baseline, folds=("theo",), seeds=(0,), selection=selection)
    plain = finish(TrialRun(trial, inputs))
    table = inputs.table
    names = list(table.classnames)
    base, new = halves(get_dataset("FSDD").classnames)
    shuffle = random.Random(3)
    for half in (base, new):
        rows = [i for i, name in enumerate(names) if name in half and table.folds[i] == "theo"]
        labels = [names[i] for i in rows]
        shuffle.shuffle(labels)
        for i, label in zip(rows, labels, strict=True):
            names[i] = label
    permuted = dataclasses.replace(table, classnames=tuple(names))
    other = finish(TrialRun(trial, TrialInputs(inputs.encoder, permuted, inputs.neighbors)))
    mine, theirs = numbers(plain), numbers(other)
    assert mine["test"] != theirs["test"]
    for data in (mine, theirs):
        del data["test"], data["confusion"], data["tested"]
        data["replicas"] = [{k: v for k, v in row.items() if not k.startswith("test_")} for row in data["replicas"]]
    assert mine == theirs


def test_results_and_reports_survive_json(inputs):
    result = finish(TrialRun(config(inputs), inputs))
    assert TrialResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    failed = failed_result(result.config, result.curve[:1], "Traceback: boom")
    assert TrialResult.from_json(json.loads(json.dumps(failed.to_json()))) == failed


@pytest.mark.parametrize("key", ["signature", "config", "curve", "validation", "test", "state", "replicas"])
def test_a_damaged_result_is_never_read_as_one(inputs, key):
    data = finish(TrialRun(config(inputs), inputs)).to_json()
    for damage in (None, "x", 3):
        with pytest.raises(ValueError, match=r"not a|signature|state|finished"):
            TrialResult.from_json(data | {key: damage})
    del data[key]
    with pytest.raises(ValueError, match="not a trial result"):
        TrialResult.from_json(data)


def test_a_report_without_a_finite_objective_is_refused():
    with pytest.raises(ValueError, match="val/h"):
        Report.from_json({"epoch": 1, "metrics": {"val/h": float("nan")}, "time_s": 0.0, "timestamp_ms": 1})


def test_checkpoints_are_small_and_say_what_they_are(inputs):
    trial = config(inputs)
    run = TrialRun(trial, inputs)
    run.advance()
    data = run.checkpoint()
    assert len(data) < 20_000
    header = read_header(data)
    assert (header["signature"], header["epochs"]) == (trial.signature, [2])
    with pytest.raises(CheckpointError, match="wanted"):
        load_checkpoint(data, "0" * 16)


def test_a_damaged_checkpoint_is_an_error_and_never_a_crash(inputs):
    trial = config(inputs)
    run = TrialRun(trial, inputs)
    run.advance()
    data = run.checkpoint()

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, len(data) - 1), st.integers(0, 255))
    def damaged(cut, byte):
        with pytest.raises(CheckpointError):
            load_checkpoint(data[:cut], trial.signature)
        flipped = data[:cut] + bytes([byte]) + data[cut + 1 :]
        if flipped != data:
            with pytest.raises(CheckpointError):
                load_checkpoint(flipped, trial.signature)

    damaged()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hyper": {"n_ctxx": 4}}, "unknown hyper-parameter 'n_ctxx'.*did you mean 'n_ctx'"),
        ({"hyper": {"n_ctx": 0}}, "n_ctx: a random context of no tokens"),
        ({"hyper": {"n_ctx": 2.5}}, "n_ctx: 2.5 is not a whole number"),
        ({"hyper": {"lr": "fast"}}, "lr: 'fast' is not a number"),
        ({"hyper": {"lr": float("nan")}}, "lr: nan is not a finite number"),
        ({"hyper": {"n_ctx": float("inf")}}, "n_ctx: inf is not a finite number"),
        ({"hyper": {"margin_mode": "hand"}}, "margin_mode: 'hand' is not one of"),
        ({"folds": ("george",)}, "fold 'george' of FSDD cannot be used"),
        ({"folds": ()}, "at least one fold"),
        ({"seeds": (1, 1)}, "same replica twice"),
        ({"shots": 0}, "shots: 0 is too small"),
        (
            {"protocol": "base-to-old"},
            "unknown protocol 'base-to-old'; did you mean 'base-to-new'\\? known: base-to-new, few-shot, cross-dataset",
        ),
        ({"protocol": "cross-dataset"}, "at least one target"),
        ({"selection": "test"}, "unknown selection 'test'; .*known: heldout, strict, nested, paper"),
        ({"baseline": "cop"}, "unknown baseline 'cop'; did you mean 'coop'"),
        ({"baseline": "zero-shot", "hyper": {}}, "SEPT has nothing to act on"),
    ],
)
def test_what_cannot_be_used_is_refused_with_key_and_value(inputs, change, message):
    with pytest.raises(InputError, match=message):
        config(inputs, **change)


def test_inputs_that_are_not_the_configurations_are_refused(inputs, make_table):
    trial = config(inputs)
    other = dataclasses.replace(inputs.table, manifest_digest="f" * 16)
    with pytest.raises(InputError, match="manifest_digest 0123456789abcdef"):
        TrialRun(trial, TrialInputs(inputs.encoder, other, inputs.neighbors))
    with pytest.raises(InputError, match="neighbors_digest"):
        TrialRun(trial, TrialInputs(inputs.encoder, inputs.table, None))
    with pytest.raises(InputError, match="were made by encoder"):
        config(TrialInputs(dataclasses.replace(inputs.encoder, fingerprint="1" * 16), inputs.table, inputs.neighbors))


def test_a_config_completes_every_hyper_parameter(inputs):
    assert set(config(inputs).hyper) == set(hyper_parameters("coop", True))
    assert config(inputs).hyper["logit_scale"] == inputs.encoder.logit_scale
    assert "lambda_se" not in hyper_parameters("coop", False)
