"""``selection: strict``: a trial of one test fold, and the key of the study that it belongs to."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sept_core.checkpoint import load_checkpoint
from sept_core.errors import InputError
from sept_core.semantic import load_neighbors
from sept_core.trial import TrialInputs, TrialRun, make_config
from sept_core.trial_config import TrialConfig, row_key_of, study_key_of

FOLDS = ("theo", "lucas")
ROW = "FSDD.tiny.base-to-new.coop+sept"


@pytest.fixture
def inputs(encoder, make_table):
    return TrialInputs(encoder, make_table("FSDD"), load_neighbors("FSDD"))


def finish(inputs, method, **changes):
    hyper = {"n_ctx": 3, "lr": 0.05} if "coop" in method or method == "dept" else {}
    hyper |= {"n_neighbors": 2, "lambda_se": 3.0} if "+sept" in method else {}
    given = {"hyper": hyper, "shots": 2, "seeds": (0, 1), "epochs": 2, "report_every": 1, "batch_size": 8} | changes
    run = TrialRun(make_config(inputs, method, **given), inputs)
    while not run.finished:
        run.advance()
    return run


def learned(run, rows):
    params = load_checkpoint(run.checkpoint(), run.config.signature).states[-1].params
    return {name: value[rows] for name, value in params.items()}


@pytest.mark.parametrize("method", ["zero-shot", "coop", "coop+sept", "cocoop", "kgcoop+sept", "dept"])
def test_a_strict_trial_is_its_folds_share_of_a_heldout_trial(inputs, method):
    whole = finish(inputs, method, folds=FOLDS)
    for place, fold in enumerate(FOLDS):
        alone = finish(inputs, method, folds=(fold,), selection="strict")
        # Accuracies count clips, so they are equal to the last digit; parameters are not: products of other shapes.
        assert alone.result().replicas == tuple(row for row in whole.result().replicas if row["fold"] == fold)
        both = (learned(whole, slice(2 * place, 2 * place + 2)), learned(alone, slice(None)))
        torch.testing.assert_close(both[0], both[1], rtol=1e-9, atol=1e-9)


def test_a_strict_trial_of_a_transfer_is_its_source_folds_share(inputs, make_table):
    wide = TrialInputs(inputs.encoder, inputs.table, None, {"SESA": make_table("SESA", 2)})
    whole = finish(wide, "coop", folds=FOLDS, protocol="cross-dataset").result()
    alone = finish(wide, "coop", folds=FOLDS[1:2], protocol="cross-dataset", selection="strict").result()
    assert alone.replicas == tuple(row for row in whole.replicas if row["fold"] == FOLDS[1])
    with pytest.raises(InputError, match="'nested' does not apply to cross-dataset; use selection: heldout or strict"):
        make_config(wide, "coop", protocol="cross-dataset", selection="nested")


def test_a_strict_trial_has_one_fold(inputs):
    with pytest.raises(InputError, match="folds: a trial of selection 'strict' has one test fold, not 2: theo, lucas"):
        make_config(inputs, "coop", folds=("theo", "lucas"), selection="strict", shots=2)
    one = make_config(inputs, "coop", folds=("theo",), selection="strict", shots=2)
    stored = one.model_dump(mode="json")
    assert TrialConfig.model_validate(stored) == one
    with pytest.raises(ValidationError, match="selection 'strict' has one test fold, not 2"):
        TrialConfig.model_validate(stored | {"folds": ["theo", "lucas"]})


def test_a_fold_that_cannot_be_used_is_refused_with_what_a_sweep_can_name_instead(inputs):
    usable = "jackson, lucas, nicolas, theo, yweweler"
    says = f"fold 'george' of FSDD cannot be used; usable: {usable}; in a sweep: folds: {{FSDD: [{usable}]}}"
    with pytest.raises(InputError) as caught:
        make_config(inputs, "coop", folds=("george",), selection="strict", shots=2)
    assert str(caught.value) == says


def test_a_strict_trials_study_names_its_fold(inputs):
    one = make_config(inputs, "coop+sept", folds=("theo",), selection="strict", shots=2)
    assert (one.row_key, one.study_key) == (ROW, f"{ROW}.fold-theo")
    heldout = make_config(inputs, "coop+sept", folds=("theo",), shots=2)
    assert (heldout.row_key, heldout.study_key) == (ROW, ROW)
    assert heldout.signature != one.signature


@pytest.mark.parametrize("fold", ["1", "10", "theo", "speaker_3", "2021-03", "x" * 40])
def test_a_plain_folds_name_stands_in_the_key_as_it_is(fold):
    assert study_key_of(ROW, fold) == f"{ROW}.fold-{fold}"


@pytest.mark.parametrize(
    ("fold", "kept"),
    [
        ("speaker 3", "speaker_3"),
        ("../../etc", "etc"),
        ("a/b", "a_b"),
        ("v1.2", "v1_2"),
        ("größe", "gr_e"),
        ("日本", ""),
        ("-x", "x"),
        ("a--00000000", "a_00000000"),
        ("50% $(rm -rf)&*?", "50_rm_rf"),
        ("y" * 200, "y" * 24),
    ],
)
def test_any_other_folds_name_is_told_by_a_hash(fold, kept):
    key = study_key_of(ROW, fold)
    assert re.fullmatch(re.escape(f"{ROW}.fold-{kept}--") + "[0-9a-f]{8}", key)


@given(st.lists(st.text(min_size=1), min_size=2, max_size=8, unique=True))
def test_keys_are_safe_everywhere_and_tell_folds_apart(folds):
    keys = [study_key_of(ROW, fold) for fold in folds]
    assert len(set(keys)) == len(folds)
    for key in keys:
        # What files, S3, URLs and shells take as it is, with the dots and the plus that a row has anyway.
        assert re.fullmatch(r"[A-Za-z0-9._+-]{1,120}", key)
        assert key.startswith(f"{ROW}.fold-")
        assert len(key.split(".")) == 5


def test_a_row_is_named_by_its_four_parts():
    assert row_key_of("FSDD", "tiny", "base-to-new", "coop+sept") == ROW
    assert study_key_of(ROW, None) == ROW
