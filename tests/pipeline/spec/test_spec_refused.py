"""Specs that are wrong: one line for each mistake, with key, value and what to do."""

from __future__ import annotations

import pickle
import time
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from quickstart_spec import quickstart, refusal

from pipeline.spec import load_sweep, parse_sweep
from sept_core.errors import InputError
from sept_core.learners import LEARNERS
from sept_core.learners.coop import CoOp


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"trails": 3}, "trails: unknown key 'trails'; did you mean 'trials'?"),
        ({"training.epocs": 3}, "training.epocs: unknown key 'epocs'; did you mean 'epochs'?"),
        ({"spaces.coop.lr": {"lo": 1}}, "spaces.coop.lr.lo: unknown key 'lo'; did you mean 'low'?"),
        ({"spaces.coop.lrr": {"fixed": 1}}, "spaces.coop.lrr: unknown hyper-parameter 'lrr'; did you mean 'lr'?"),
        ({"spaces.coop.lambda_se": {"fixed": 1}}, "spaces.coop.lambda_se: unknown hyper-parameter 'lambda_se'"),
        ({"spaces.kgcoop.lr": {"fixed": 1}}, "spaces.kgcoop: no method of this sweep uses 'kgcoop'"),
        ({"spaces.coop.n_ctx": {"low": 1, "high": 1000}}, "spaces.coop.n_ctx: 1000 is out of range; allowed: 0 to"),
        ({"spaces.sept.n_neighbors": {"fixed": 2.5}}, "spaces.sept.n_neighbors: 2.5 is not a whole number"),
        ({"spaces.coop.lr": {"low": 0.1}}, "spaces.coop.lr: low and high go together"),
        ({"spaces.coop.lr": {"low": 0.1, "high": 0.1}}, "low 0.1 is not below high 0.1"),
        ({"spaces.coop.lr": {"low": 0, "high": 1, "log": True}}, "a logarithmic range starts above 0"),
        ({"spaces.coop.lr": {"fixed": 1, "choices": [1]}}, "give one of choices: [...], low: and high:, or fixed:"),
        ({"spaces.coop.lr": {"fixed": 1, "log": True}}, "log and step need low: and high:"),
        ({"spaces.coop.n_ctx": {"choices": [2, 2]}}, "choices repeat a value"),
        ({"spaces.coop.n_ctx": {"choices": [2, True]}}, "spaces.coop.n_ctx.choices.1: True: should be a valid"),
        ({"spaces.coop.lr": {"low": "1e-x", "high": 0.1}}, "spaces.coop.lr.low: '1e-x': should be a valid number"),
        ({"spaces.coop.lr": {"choices": [0.001, "1e-3"]}}, "spaces.coop.lr: choices repeat a value"),
        ({"spaces.coop.lr": {"choices": [0.01, "1e2"]}}, "spaces.coop.lr: 100 is out of range; allowed: 1e-08 to 10"),
        ({"spaces.coop.lr": {"fixed": False}}, "spaces.coop.lr.fixed: False: should be a valid number or string; YAML"),
        ({"trials": True}, "trials: True: a number is needed here (YAML reads yes and on as true"),
        ({"seeds": [0, True]}, "seeds: [0, True]: a number is needed here"),
        ({"seeds": 3}, "seeds: 3: not a list; write a list: seeds: [3]"),
        ({"datasets": "ESC10"}, "datasets: 'ESC10': not a list; write a list: datasets: [ESC10]"),
        ({"folds": {"ESC10": 2}}, "folds.ESC10: 2: not a list; write a list: ESC10: [2]"),
        ({"methods": [True]}, "methods.0: True: should be a valid string; YAML reads yes, no, on and off as"),
        ({"name": 2024}, "name: 2024: should be a valid string; put it in quotes: '2024'"),
        ({"pruner": False}, "pruner: False: not a mapping of keys to values"),
        ({"training": 20}, "training: 20: not a mapping of keys to values"),
        ({"trials": None}, "trials: empty: should be a valid integer; give it a value"),
        ({"name": date(2026, 1, 2)}, "should be a valid string; put it in quotes: '2026-01-02'"),
        ({"resources": {"cpus_per_trial": float("inf")}}, "resources.cpus_per_trial: inf: should be a finite number"),
        (
            {"selection": "held-out"},
            "selection: 'held-out': should be 'heldout', 'strict', 'nested' or 'paper'; did you mean",
        ),
        ({"sampler": {"name": "tp"}}, "sampler.name: 'tp': should be 'tpe' or 'random'; did you mean 'tpe'?"),
        ({"training.precision": "bf16"}, "training.precision: 'bf16': should be 'float32' or 'bfloat16'; did you mean"),
        ({"methods": ["coop", "coop+spet"]}, "methods.1: unknown method 'coop+spet'; did you mean 'coop+sept'?"),
        ({"budgets": {"esc10": 1, "ESC10": 2}}, "budgets.ESC10: 'ESC10' is given twice; keep one of them"),
        ({"trials": 0}, "trials: 0: should be greater than or equal to 1"),
        ({"trials": "many"}, "trials: 'many': should be a valid integer"),
        ({"folds": [1, 2]}, "folds: [1, 2]: is neither 'all' nor a mapping of datasets to lists of folds"),
        ({"folds": "al"}, "folds: 'al': is neither 'all' nor a mapping of datasets to lists of folds; did you mean"),
        ({"resources": {"workers": "aut"}}, "resources.workers: 'aut': is neither 'auto' nor a whole number; did you"),
        ({"resources": {"cpus": 2.5}}, "resources.cpus: 2.5: is neither 'auto' nor a whole number"),
        ({"resources": {"gpus": [1]}}, "resources.gpus: [1]: is neither 'auto' nor a whole number"),
        ({"datasets": ["ESC11"]}, "datasets.0: unknown dataset 'ESC11'; did you mean 'ESC10'?"),
        ({"datasets": ["ESC10", "esc10"]}, "the same entry twice"),
        ({"encoder": "minni"}, "encoder: unknown encoder 'minni'; did you mean 'mini'?"),
        ({"methods": ["coop", "cop"]}, "methods.1: unknown baseline 'cop'; did you mean 'coop'?"),
        ({"methods": ["zero-shot+sept"]}, "methods.0: 'zero-shot' learns nothing"),
        ({"folds": {"ESC10": [9]}}, "folds.ESC10: ESC10 has no fold '9'; known: 1, 2, 3, 4, 5"),
        ({"folds": {"ESC50": [1]}}, "folds.ESC50: 'ESC50' is not a dataset of this sweep"),
        ({"protocol": "one-shot"}, "protocol: 'one-shot': should be 'base-to-new'"),
        ({"name": "../x"}, "name: '../x': letters, digits"),
        ({"resources": {"gpus_per_trial": 0.4}}, "resources.gpus_per_trial: 0.4: 0, 1, 1/n, or auto"),
        ({"resources": {"gpus_per_trial": "2/3"}}, "resources.gpus_per_trial: '2/3': 0, 1, 1/n, or auto"),
        ({"resources": {"gpus_per_trial": 2}}, "resources.gpus_per_trial: 2: 0, 1, 1/n, or auto"),
        ({"resources": {"by_method": {"dept": {}}}}, "resources.by_method.dept: 'dept' is not a method of this sweep"),
        ({"budgets": {"ESC50": 3}}, "budgets.ESC50: 'ESC50' is not a dataset of this sweep"),
        ({"budgets": {"ESC10.dept": 3}}, "budgets.ESC10.dept: 'ESC10.dept' is not a method, dataset or study of this"),
        ({"budgets": {"coop": 0}}, "budgets.coop: 0: "),
        (
            {"priorities": {"cop": 1}},
            "priorities.cop: 'cop' is not a method, dataset or study of this sweep; did you mean",
        ),
        ({"resources": {"workers": 0}}, "resources.workers: 0: at least 1"),
        ({"sampler": {"name": "random", "group": True}}, "sampler: group does not apply to the sampler 'random'"),
        ({"sampler": {"name": "tpe", "multivariate": False, "group": True}}, "sampler: group needs multivariate"),
        ({"pruner": {"name": "none", "n_warmup_epochs": 1}}, "pruner: n_warmup_epochs does not apply to the pruner"),
        ({"seeds": []}, "seeds: []: must not be empty"),
    ],
)
def test_a_wrong_value_is_one_line_with_key_value_and_what_to_do(changes: dict[str, Any], says: str) -> None:
    line = refusal(changes)
    assert says in line
    assert "unable to" not in line


def test_a_baseline_that_cannot_name_unseen_classes_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(LEARNERS, "closed", type("Closed", (CoOp,), {"name": "closed", "unseen": False}))
    for method in ("closed", "closed+sept"):
        line = refusal({"methods": ["coop", method]})
        assert "methods.1: 'closed' cannot name a class that it was not trained on" in line
        assert "use protocol: few-shot" in line
    line = refusal({"methods": ["coop", "closed+sept"], "protocol": "few-shot"})
    assert "methods.1: 'closed' does not learn text features of any name, so SEPT has nothing to act on" in line


def test_a_missing_key_is_named() -> None:
    document = yaml.safe_load(files("search_spaces").joinpath("sweeps/quickstart.yaml").read_text())
    del document["training"]["epochs"]
    with pytest.raises(InputError, match=r"my\.yaml: training\.epochs: missing; add 'epochs:'"):
        parse_sweep(yaml.safe_dump(document), "my.yaml")


FOUR_ERRORS = """
name: mine
encoder: minni
datasets: [ESC10, FSDDD]
methods: [coop]
trials: 0
training: {epochs: 2, report_evry: 1}
"""


def test_a_file_with_four_errors_shows_four_lines_each_with_the_word_that_was_meant() -> None:
    with pytest.raises(InputError) as caught:
        parse_sweep(FOUR_ERRORS, "my.yaml")
    lines = str(caught.value).split("\n")
    assert sorted(line.split(";")[0] for line in lines) == [
        "my.yaml: datasets.1: unknown dataset 'FSDDD'",
        "my.yaml: encoder: unknown encoder 'minni'",
        "my.yaml: training.report_evry: unknown key 'report_evry'",
        "my.yaml: trials: 0: should be greater than or equal to 1",
    ]
    assert sum("did you mean" in line for line in lines) == 3
    # Errors cross process boundaries in Ray.
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_errors_within_lists_mappings_and_spaces_are_all_shown() -> None:
    changes: dict[str, Any] = {
        "spaces.coop": {"lrr": {"fixed": 1}, "lr": {"choices": ["1e-3", 20]}, "n_ctx": {"low": 1}},
        "budgets": {"cop": 3, "coop": 0},
        "folds": {"ESC10": [9], "ESC50": [1]},
    }
    with pytest.raises(InputError) as caught:
        load_sweep("quickstart", changes)
    places = [error.where.removeprefix("quickstart.yaml: ") for error in caught.value.each]
    assert sorted(places) == [
        "budgets.coop",
        "budgets.cop",
        "folds.ESC10",
        "folds.ESC50",
        "spaces.coop.lr",
        "spaces.coop.lrr",
        "spaces.coop.n_ctx",
    ]


def test_one_mistake_gives_one_line_and_not_what_follows_from_it() -> None:
    for changes in (
        {"datasets": ["ESC10", "FSDDD"], "neighbors": {"FSDD": "x.json"}, "budgets": {"FSDD": 3}},
        {"methods": ["cop"], "budgets": {"coop": 3}, "spaces": {"coop": {"lr": {"fixed": 0.1}}}},
        {"protocol": "cross-dataset"},
        {"methods": []},
    ):
        refusal(changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1", r"my\.yaml: not YAML: line 1"),
        ("- 1\n- 2\n", r"my\.yaml: not a mapping"),
        ("", r"my\.yaml: not a mapping"),
        ("name: x\ntrials: 2\nname: y\n", r"my\.yaml: key 'name' is given twice \(line 3\)"),
        ("name: x\ntrials: 010\n", r"my\.yaml: YAML reads 010 as 8 \(line 2\); write 8 if that is meant"),
        ("name: x\ntrials: 1:30\n", r"my\.yaml: YAML reads 1:30 as 90 \(line 2\); write 90 if that is meant"),
        ("on: 3\n", r"my\.yaml: the key True is not a string; YAML reads yes, no, on and off as true and false"),
        ("name: &a [*a]\n", r"my\.yaml: not YAML: line 1: an alias \(\*name\) inside its own definition"),
        (
            "name: x\nseeds: 2024-13-01\n",
            r"my\.yaml: not YAML: line 2: '2024-13-01' is not a valid timestamp; if it is text,",
        ),
        ("trials: !!int many\n", r"my\.yaml: not YAML: line 1: 'many' is not a valid int"),
        ("trials: !!bool many\n", r"my\.yaml: not YAML: line 1: 'many' is not a valid bool"),
        ("? [a]\n: 1\n", r"my\.yaml: not YAML: line 1: found unhashable key"),
    ],
)
def test_a_file_that_is_no_sweep_is_one_line(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_sweep(text, "my.yaml")


LAUGHS = "name: x\n" + "".join(f"a{at}: &a{at} [{', '.join([f'*a{at - 1}' if at else 'ha'] * 9)}]\n" for at in range(9))

MERGED_LAUGHS = "a0: &a0 {k: 1}\n" + "".join(
    f"a{at}: &a{at} {{<<: [{', '.join([f'*a{at - 1}'] * 9)}]}}\n" for at in range(1, 9)
)

# Each line is harmless.
DEEPER = "".join(f"a{at}: &a{at} {'[' * 20}*a{at - 1}{']' * 20}\n" for at in range(1, 3))

HOSTILE = {
    "aliases": (LAUGHS, r"line 1: its aliases \(\*name\) expand to more than 100,000 values; write them out"),
    "merges": (MERGED_LAUGHS, r"line 1: its aliases \(\*name\) expand to more than 100,000 values"),
    "deep": ("name: " + "[" * 1000, "nested more than 50 deep"),
    "a little deep": ("name: " + "[" * 60 + "]" * 60, "line 1: nested more than 50 deep"),
    "deep by aliases": (f"a0: &a0 {'[' * 20}{']' * 20}\n{DEEPER}", r"line \d: nested more than 50 deep"),
    "long": ("name: x\nnotes: " + "a" * 2_000_000, "longer than 2,000,000 characters"),
    "a long number": (f"trials: {'9' * 5000}", "line 1: a number of more than 100 characters"),
    "a long octal number": (f"trials: 0{'7' * 5000}", "line 1: a number of more than 100 characters"),
    "a long hexadecimal number": (f"trials: 0x{'f' * 5000}", "line 1: a number of more than 100 characters"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_one_line_at_once(kind: str) -> None:
    text, says = HOSTILE[kind]
    started = time.monotonic()
    with pytest.raises(InputError, match=rf"^my\.yaml: not YAML: {says}") as raised:
        parse_sweep(text, "my.yaml")
    assert len(str(raised.value)) < 300
    assert time.monotonic() - started < 30


def test_anchors_aliases_and_merges_are_read_as_yaml_means_them() -> None:
    text = """
name: x
datasets: [FSDD]
methods: [coop]
trials: 1
spaces:
  coop: {lr: &lr {fixed: 0.01}, logit_scale: *lr}
encoder: mini
training: {<<: {epochs: 1, report_every: 2}, report_every: 1}
"""
    spec = parse_sweep(text, "my.yaml")
    assert spec.spaces["coop"]["lr"] == spec.spaces["coop"]["logit_scale"]
    assert (spec.training.epochs, spec.training.report_every) == (1, 1)


def test_thousands_of_errors_are_found_at_once_and_a_long_value_is_cut_short() -> None:
    text = "name: x\n" + "".join(f"key{at}: 1\n" for at in range(3000)) + f"trials: {list(range(900))}\n"
    started = time.monotonic()
    with pytest.raises(InputError) as raised:
        parse_sweep(text, "my.yaml")
    assert time.monotonic() - started < 30
    assert max(map(len, str(raised.value).splitlines())) < 600


def test_a_file_that_is_not_there_is_one_line_that_names_what_ships(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the sweep: No such file or directory.*quickstart"):
        load_sweep(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"quickstar: cannot read the sweep.*did you mean 'quickstart'\?"):
        load_sweep("quickstar")
    (tmp_path / "my_sweep.yaml").write_text("name: x\n")
    with pytest.raises(InputError, match=r"did you mean '[^']*my_sweep\.yaml'\?"):
        load_sweep(tmp_path / "my_swep.yaml")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoder": 3}, "encoder: 3: give a name, or a mapping with name, weights and text_model"),
        ({"encoder": {"name": "mini", "weight": "x"}}, "encoder.weight: unknown key 'weight'; did you mean 'weights'?"),
        ({"encoder": {"weights": "x"}}, "encoder.name: missing"),
        ({"neighbors": {"ESC50": "x.json"}}, "neighbors.ESC50: 'ESC50' is not a dataset of this sweep; those of this"),
        (
            {"encoder": {"name": "mini", "weights": "s3://me:secret@bucket/w"}},
            "encoder.weights: 's3://bucket/w' carries a user, password or token, which would be stored",
        ),
        ({"neighbors": {"FSDD": "https://x/y?token=secret"}}, "neighbors.FSDD: 'https://x/y?token=***' carries"),
    ],
)
def test_a_wrong_encoder_or_list_is_one_line(changes: dict[str, Any], says: str) -> None:
    assert says in refusal(changes)


def test_nested_takes_no_list_from_which_the_names_of_new_classes_were_dropped() -> None:
    line = refusal({"selection": "nested", "neighbors_naming_new": "drop"})
    assert "neighbors_naming_new: drop uses the names of the new classes" in line


def test_words_of_several_lengths_have_no_fixed_length() -> None:
    starts = {"choices": ["a photo of a", "this is a sound of"]}
    line = refusal({"spaces.coop": {"context_init": starts, "n_ctx": {"fixed": 6}}})
    assert "n_ctx is 6, and the context starts from 2 texts of different lengths" in line
    assert quickstart(**{"spaces.coop": {"context_init": starts, "n_ctx": {"fixed": 0}}}).studies()
