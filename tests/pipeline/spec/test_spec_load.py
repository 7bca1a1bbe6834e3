"""A sweep's YAML: what ships is right, and what is wrong gives one line with file, key, value and what to do."""

from __future__ import annotations

import pickle
import time
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.spec import SweepSpec, load_sweep, parse_sweep, spec_differences
from pipeline.spec.load import shipped_sweeps
from sept_core.datasets import DATASETS, DatasetInfo
from sept_core.errors import InputError
from sept_core.learners import LEARNERS
from sept_core.learners.coop import CoOp
from sept_core.trial import hyper_parameters


def quickstart(**changes: Any) -> SweepSpec:
    return load_sweep("quickstart", changes)


def refusal(changes: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        load_sweep("quickstart", changes)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("quickstart.yaml")
    return line


def test_quickstart_compares_coop_with_and_without_sept_on_two_datasets() -> None:
    studies = load_sweep("quickstart").studies()
    assert [study.key for study in studies] == [
        f"{dataset}.mini.base-to-new.{method}"
        for dataset in ("ESC10", "FSDD")
        for method in ("zero-shot", "coop", "coop+sept")
    ]
    assert [study.trials for study in studies[:3]] == [1, 8, 8]
    assert set(studies[1].searched) == {"n_ctx", "lr"}
    assert set(studies[2].searched) == {"n_ctx", "lr", "n_neighbors", "lambda_se"}


@pytest.mark.parametrize("name", ["coop", "sept", "sweeps/quickstart"])
def test_every_shipped_file_carries_the_command_that_runs_it(name: str) -> None:
    text = files("search_spaces").joinpath(f"{name}.yaml").read_text()
    assert text.startswith("#")
    assert "sept sweep launch search_spaces/sweeps/quickstart.yaml" in text


def test_a_study_space_is_its_baseline_plus_sept_with_the_sweeps_overrides_laid_over() -> None:
    spec = quickstart(**{"spaces.coop.n_ctx": {"fixed": 16}, "spaces.sept.lambda_se": {"choices": [1.0, 10.0]}})
    _, plain, with_sept = spec.studies()[:3]
    assert plain.constants == {"n_ctx": 16}
    assert set(plain.searched) == {"lr"}
    assert with_sept.constants == {"n_ctx": 16, "margin_inter": 1.0, "margin_intra": 1.0}
    assert with_sept.searched["lambda_se"].choices == (1.0, 10.0)
    assert with_sept.searched["lr"] == plain.searched["lr"]


def test_a_study_with_nothing_to_search_has_one_trial() -> None:
    fixed = {"spaces.coop": {"n_ctx": {"fixed": 4}, "lr": {"choices": [0.01]}}}
    assert quickstart(**fixed).studies()[1].trials == 1


def test_what_the_store_keeps_reads_back_as_the_same_spec() -> None:
    spec = quickstart(**{"folds": {"esc10": [2, 3]}, "spaces.coop.lr": {"low": 0.01, "high": 0.02, "step": 0.005}})
    assert parse_sweep(spec.text(), "spec.yaml") == spec
    assert spec.folds_of("ESC10") == ("2", "3")
    assert spec.folds_of("FSDD") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": {"name": "random", "seed": 5}},
        {"sampler": {"name": "tpe", "multivariate": False}},
        {"pruner": {"name": "none"}},
        {"pruner": {"name": "median", "n_warmup_epochs": 3}},
        {"selection": "nested"},
        {"encoder": {"name": "mini", "weights": "somewhere"}},
        {"training.precision": "bfloat16"},
        {"resources": {"workers": "auto", "gpus_per_trial": "1/4"}},
        {"budgets": {"ESC10": 3}, "priorities": {"coop": 2}},
        {"protocol": "cross-dataset", "datasets": [], "sources": ["ESC10"], "targets": ["FSDD"]},
    ],
)
def test_whatever_a_spec_says_the_store_reads_back_the_same(changes: dict[str, Any]) -> None:
    spec = quickstart(**changes)
    assert parse_sweep(spec.text(), "spec.yaml") == spec


@pytest.mark.parametrize("name", ["quickstart", "all_mini", "cross_dataset", "full", "paper"])
def test_shipped_sweeps_are_read_back_by_the_store(name: str) -> None:
    spec = load_sweep(name)
    assert parse_sweep(spec.text(), "spec.yaml") == spec


def test_names_are_taken_in_any_case_and_kept_as_registered() -> None:
    assert quickstart(datasets=["esc10", "fsdd"]).datasets == ("ESC10", "FSDD")


def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(
        files("search_spaces").joinpath("sweeps/quickstart.yaml").read_text().replace("trials: 8", "trials: 9")
    )
    assert load_sweep(path).trials == 9
    assert load_sweep(str(path)).trials == 9


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
        ({"spaces.coop.lr": {"fixed": 1, "log": True}}, "log and step belong to low: and high:"),
        ({"spaces.coop.n_ctx": {"choices": [2, 2]}}, "choices are doubled"),
        ({"spaces.coop.n_ctx": {"choices": [2, True]}}, "spaces.coop.n_ctx.choices.1: True: should be a valid"),
        ({"spaces.coop.lr": {"low": "1e-x", "high": 0.1}}, "spaces.coop.lr.low: '1e-x': should be a valid number"),
        ({"spaces.coop.lr": {"choices": [0.001, "1e-3"]}}, "spaces.coop.lr: choices are doubled"),
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
        ({"budgets": {"esc10": 1, "ESC10": 2}}, "budgets.ESC10: 'ESC10' stands twice; keep one of them"),
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
        ({"folds": {"ESC50": [1]}}, "folds.ESC50: 'ESC50' is no dataset of this sweep"),
        ({"protocol": "few-shot"}, "protocol: 'few-shot': should be 'base-to-new'"),
        ({"name": "../x"}, "name: '../x': letters, digits"),
        ({"resources": {"gpus_per_trial": 0.4}}, "resources.gpus_per_trial: 0.4: 0, 1, 1/n, or auto"),
        ({"resources": {"gpus_per_trial": "2/3"}}, "resources.gpus_per_trial: '2/3': 0, 1, 1/n, or auto"),
        ({"resources": {"gpus_per_trial": 2}}, "resources.gpus_per_trial: 2: 0, 1, 1/n, or auto"),
        ({"resources": {"by_method": {"dept": {}}}}, "resources.by_method.dept: 'dept' is no method of this sweep"),
        ({"budgets": {"ESC50": 3}}, "budgets.ESC50: 'ESC50' is no dataset of this sweep"),
        ({"budgets": {"ESC10.dept": 3}}, "budgets.ESC10.dept: 'ESC10.dept' is no method, dataset or study of this"),
        ({"budgets": {"coop": 0}}, "budgets.coop: 0: "),
        (
            {"priorities": {"cop": 1}},
            "priorities.cop: 'cop' is no method, dataset or study of this sweep; did you mean",
        ),
        ({"resources": {"workers": 0}}, "resources.workers: 0: at least 1"),
        ({"sampler": {"name": "random", "group": True}}, "sampler: group means nothing to the sampler 'random'"),
        ({"sampler": {"name": "tpe", "multivariate": False, "group": True}}, "sampler: group needs multivariate"),
        ({"pruner": {"name": "none", "n_warmup_epochs": 1}}, "pruner: n_warmup_epochs means nothing to the pruner"),
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


def test_a_key_that_is_left_empty_is_as_good_as_none() -> None:
    empty: dict[str, Any] = {"neighbors": None, "folds": None, "budgets": None, "training.precision": None}
    assert quickstart(**empty).text() == quickstart().text()
    assert quickstart(**{"resources": None, "resources.workers": 2}).resources.workers == 2


def test_numbers_are_read_as_a_person_writes_them_wherever_only_a_number_makes_sense() -> None:
    text = """
name: mine
encoder: mini
datasets: [ESC10]
methods: [coop, coop+sept]
trials: 1e2
seeds: [0, 1e0]
shots: 1_6
training: {epochs: 2e1, report_every: 0x5}
sampler: random
pruner: none
budgets: {coop: 1e1}
resources: {cpus_per_trial: 1e0, gpus_per_trial: 2.5e-1}
spaces:
  coop: {lr: {choices: [1e-3, .5]}, n_ctx: {fixed: 4e0}, logit_scale: {low: 1e-1, high: 1E2, log: yes}}
  sept: {margin_mode: {choices: [none, constant]}}
"""
    spec = parse_sweep(text, "my.yaml")
    assert (spec.trials, spec.seeds, spec.shots, spec.budgets) == (100, (0, 1), 16, {"coop": 10})
    assert (spec.training.epochs, spec.training.report_every) == (20, 5)
    assert (spec.sampler.name, spec.pruner.name) == ("random", "none")
    assert (spec.resources.cpus_per_trial, spec.resources.gpus_per_trial) == (1.0, 0.25)
    space = spec.spaces["coop"]
    assert space["lr"].choices == (0.001, 0.5)
    assert space["n_ctx"].fixed == 4
    assert (space["logit_scale"].low, space["logit_scale"].high, space["logit_scale"].log) == (0.1, 100, True)
    assert spec.spaces["sept"]["margin_mode"].choices == ("none", "constant")
    assert parse_sweep(spec.text(), "spec.yaml") == spec


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1", r"my\.yaml: not YAML: line 1"),
        ("- 1\n- 2\n", r"my\.yaml: not a mapping"),
        ("", r"my\.yaml: not a mapping"),
        ("name: x\ntrials: 2\nname: y\n", r"my\.yaml: key 'name' stands twice \(line 3\)"),
        ("name: x\ntrials: 010\n", r"my\.yaml: YAML reads 010 as 8 \(line 2\); write 8 if that is meant"),
        ("name: x\ntrials: 1:30\n", r"my\.yaml: YAML reads 1:30 as 90 \(line 2\); write 90 if that is meant"),
        ("on: 3\n", r"my\.yaml: the key True is no text; YAML reads yes, no, on and off as true and false"),
        ("name: &a [*a]\n", r"my\.yaml: not YAML: line 1: an alias \(\*name\) within what it stands for"),
        ("name: x\nseeds: 2024-13-01\n", r"my\.yaml: not YAML: line 2: '2024-13-01' is no timestamp; if it is a text,"),
        ("trials: !!int many\n", r"my\.yaml: not YAML: line 1: 'many' is no int"),
        ("trials: !!bool many\n", r"my\.yaml: not YAML: line 1: 'many' is no bool"),
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
    "aliases": (LAUGHS, r"line 1: its aliases \(\*name\) stand for more than 100,000 values; write out"),
    "merges": (MERGED_LAUGHS, r"line 1: its aliases \(\*name\) stand for more than 100,000 values"),
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


def test_what_is_done_with_neighbours_that_name_a_new_class_is_kept_with_the_sweep_and_makes_another_search() -> None:
    spec = quickstart(neighbors_naming_new="drop")
    assert parse_sweep(spec.text(), "stored").neighbors_naming_new == spec.neighbors_naming_new == "drop"
    assert "neighbors_naming_new" not in quickstart().text()
    assert spec_differences(quickstart(), spec) == ["neighbors_naming_new was keep and is now drop"]
    assert "neighbors_naming_new" in refusal({"neighbors_naming_new": "leave"})
    cross: dict[str, Any] = {"protocol": "cross-dataset", "datasets": [], "sources": ["ESC10"], "targets": ["FSDD"]}
    said = refusal(cross | {"neighbors_naming_new": "drop"})
    assert "neighbors_naming_new: drop has no meaning for cross-dataset" in said


def test_what_is_done_with_crossing_clips_and_faulty_copies_is_kept_with_the_sweep() -> None:
    spec = quickstart(crossing="drop", accept_faulty_splits=["esc10"])
    assert (spec.crossing, spec.accept_faulty_splits) == ("drop", ("ESC10",))
    again = parse_sweep(spec.text(), "stored")
    assert (again.crossing, again.accept_faulty_splits) == ("drop", ("ESC10",))
    assert "crossing" not in quickstart().text()
    with pytest.raises(InputError, match=r"crossing.*'leave'"):
        quickstart(crossing="leave")
    with pytest.raises(InputError, match=r"accept_faulty_splits\.SESA: 'SESA' is no dataset of this sweep"):
        quickstart(accept_faulty_splits=["SESA"])


N_CTX = {"spaces.coop.n_ctx": {"choices": [2, 4, 8]}}
LR = {"spaces.coop.lr": {"low": 0.01, "high": 0.05, "log": True}}


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": 16, "resources.workers": 7},
        {"budgets": {"coop": 9}},
        {"priorities": {"esc10": 3}},
        {"datasets": ["SESA", "FSDD", "ESC10"]},
        {"methods": ["zero-shot", "coop", "coop+sept", "dept", "dept+sept"]},
        N_CTX,
        LR,
        {"spaces.coop.n_ctx": {"fixed": 2}, "spaces.coop.lr": {"choices": [0.01, 0.02]}},
        {"spaces.sept.n_neighbors": {"low": 2, "high": 3}},
        {"accept_faulty_splits": ["esc10"]},
    ],
)
def test_a_sweep_may_go_on_with_larger_budgets_narrower_spaces_and_more_studies(changes: dict[str, Any]) -> None:
    assert spec_differences(quickstart(), quickstart(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"trials": 4}, ["trials of ESC10.mini.base-to-new.coop were 8 and are now 4, and may only be raised"]),
        ({"budgets": {"ESC10.coop": 4}}, ["trials of ESC10.mini.base-to-new.coop were 8 and are now 4"]),
        ({"parallel": 3}, ["parallel was 2 and is now 3"]),
        ({"crossing": "drop"}, ["crossing was keep and is now drop"]),
        ({"training.epochs": 50}, ["training.epochs was 20 and is now 50"]),
        ({"training.precision": "bfloat16"}, ["training.precision was float32 and is now bfloat16"]),
        ({"datasets": ["ESC10"]}, ["datasets had FSDD and may only be added to"]),
        ({"methods": ["coop", "coop+sept"]}, ["methods had zero-shot and may only be added to"]),
        ({"folds": {"ESC10": [2, 3]}}, ["folds of ESC10 were all and are now 2, 3"]),
        ({"encoder": "msclap-2023"}, ["encoder was mini and is now msclap-2023"]),
        (
            {"spaces.coop.n_ctx": {"choices": [2, 32]}},
            ["spaces.coop.n_ctx was choices [2, 4, 8, 16] and is now choices [2, 32], and may only be narrowed"],
        ),
        ({"spaces.sept.n_neighbors": {"low": 1, "high": 12}}, ["spaces.sept.n_neighbors was low 1, high 10"]),
        ({"spaces.coop.lr": {"low": 0.01, "high": 0.05}}, ["spaces.coop.lr was"]),
        ({"spaces.coop.logit_scale": {"fixed": 100.0}}, ["spaces.coop.logit_scale was not set and is now fixed 100.0"]),
    ],
)
def test_what_would_make_another_search_is_named_with_before_and_after(
    changes: dict[str, Any], says: list[str]
) -> None:
    differences = spec_differences(quickstart(), quickstart(**changes))
    assert all(any(line.startswith(start) for line in differences) for start in says), differences


def test_budgets_and_priorities_are_looked_up_by_study_then_method_then_dataset() -> None:
    values = {"esc10": 3, "coop": 4, "ESC10.coop+sept": 5}
    spec = quickstart(budgets=values, priorities=values)
    found = {study.key.replace(".mini.base-to-new", ""): (study.trials, study.priority) for study in spec.studies()}
    assert found == {
        "ESC10.zero-shot": (1, 3),
        "ESC10.coop": (4, 4),
        "ESC10.coop+sept": (5, 5),
        "FSDD.zero-shot": (1, 0),
        "FSDD.coop": (4, 4),
        "FSDD.coop+sept": (8, 0),
    }
    assert parse_sweep(spec.text(), "spec.yaml") == spec


def test_resources_may_differ_by_baseline_and_method() -> None:
    own = {"coop": {"gpus_per_trial": "1/4"}, "coop+sept": {"gpus_per_trial": "1/2", "cpus_per_trial": 2}}
    spec = quickstart(resources={"gpus_per_trial": "auto", "by_method": own})
    assert [spec.resources.of(method) for method in spec.methods] == [(1, "auto"), (1, 0.25), (2, 0.5)]
    assert parse_sweep(spec.text(), "spec.yaml") == spec


def test_hyper_parameters_of_the_shipped_spaces_are_those_that_the_method_declares() -> None:
    searched = set(load_sweep("quickstart").studies()[2].space)
    assert searched <= set(hyper_parameters("coop", True))


OWN = DatasetInfo("birds", "events", ("jay", "kite", "tit", "wren"), "A {}.", ("1", "2"), "kfold", extra=True)


def cross(**changes: Any) -> SweepSpec:
    return load_sweep("cross_dataset", changes, [OWN])


def test_every_shipped_sweep_is_valid_and_says_how_it_is_run() -> None:
    assert shipped_sweeps() == ("all_mini", "cross_dataset", "full", "paper", "quickstart")
    for name in shipped_sweeps():
        spec = load_sweep(name)
        assert spec.name == name
        assert parse_sweep(spec.text(), "spec.yaml") == spec
        header = files("search_spaces").joinpath(f"sweeps/{name}.yaml").read_text().partition("name:")[0]
        assert f"sept sweep launch {name}" in header or f"sept sweep launch search_spaces/sweeps/{name}.yaml" in header


BENCHMARK = {info.name for info in DATASETS.values() if not info.extra}
TRAINED = {"coop", "cocoop", "kgcoop", "dept"}


@pytest.mark.parametrize(("name", "datasets"), [("all_mini", {"ESC10"}), ("full", BENCHMARK), ("paper", BENCHMARK)])
def test_a_whole_sweep_has_every_baseline_with_and_without_sept_on_every_dataset(name: str, datasets: set[str]) -> None:
    spec = load_sweep(name)
    assert set(spec.methods) == {"zero-shot"} | TRAINED | {f"{name}+sept" for name in TRAINED}
    assert {study.dataset for study in spec.studies()} == datasets
    assert len(spec.studies()) == 9 * len(datasets)


def test_all_mini_needs_nothing_but_the_package() -> None:
    assert load_sweep("all_mini").encoder.name == "mini"


def test_the_full_sweep_searches_what_the_paper_fixes() -> None:
    full, paper = (
        {study.key: set(study.searched) for study in load_sweep(name).studies()} for name in ("full", "paper")
    )
    added = {"n_ctx", "margin_intra", "margin_inter"}
    assert full["ESC50.msclap-2023.base-to-new.coop+sept"] - paper["ESC50.msclap-2023.base-to-new.coop+sept"] == added


def test_the_papers_sweep_has_three_seeds_and_chooses_on_held_out_clips() -> None:
    spec = load_sweep("paper")
    assert (spec.encoder.name, spec.seeds, spec.selection) == ("msclap-2023", (0, 1, 2), "heldout")


def test_a_cross_dataset_study_is_one_source_and_one_method_and_its_targets_are_all_but_itself() -> None:
    spec = cross(sources=["esc10", "BIRDS"], targets=["ESC10", "fsdd", "birds"], methods=["coop", "coop+sept"])
    assert [(study.key, study.inputs.targets) for study in spec.studies()] == [
        ("ESC10.mini.cross-dataset.coop", ("FSDD", "birds")),
        ("ESC10.mini.cross-dataset.coop+sept", ("FSDD", "birds")),
        ("birds.mini.cross-dataset.coop", ("ESC10", "FSDD")),
        ("birds.mini.cross-dataset.coop+sept", ("ESC10", "FSDD")),
    ]
    assert parse_sweep(spec.text(), "spec.yaml", own=[OWN]) == spec


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"targets": ["ESC10"], "sources": ["esc10"]}, "targets: the only target of the source ESC10 is ESC10 itself"),
        ({"selection": "nested"}, "selection: selection 'nested' has no meaning for cross-dataset"),
        ({"selection": "paper"}, "selection: selection 'paper' has no meaning for cross-dataset"),
        ({"targets": []}, "targets: missing or empty; add 'targets: [...]'"),
        ({"datasets": ["ESC10"]}, "datasets: protocol cross-dataset has no datasets"),
        ({"protocol": "base-to-new"}, "sources: protocol base-to-new has no sources"),
        ({"folds": {"birds": [1]}}, "folds.birds: 'birds' is no dataset of this sweep"),
        ({"targets": ["bird"]}, "targets.0: unknown dataset 'bird'; did you mean 'birds'?"),
    ],
)
def test_a_cross_dataset_sweep_that_cannot_be_run_is_refused_in_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        cross(**changes)
    assert str(caught.value).startswith(f"cross_dataset.yaml: {says}")
    assert "\n" not in str(caught.value)


def test_nested_selection_needs_base_classes_that_can_be_split_again() -> None:
    assert quickstart(selection="nested").selection == "nested"
    assert quickstart(selection="paper").selection == "paper"
    with pytest.raises(InputError, match=r"selection: birds has 2 base classes, too few to split again.*heldout"):
        load_sweep("quickstart", {"selection": "nested", "datasets": ["ESC10", "birds"]}, [OWN])


def test_ones_own_dataset_is_known_only_where_it_was_prepared() -> None:
    spec = load_sweep("quickstart", {"datasets": ["birds"], "folds": {"Birds": [2]}}, [OWN])
    assert (spec.datasets, spec.folds_of("birds")) == (("birds",), ("2",))
    with pytest.raises(InputError, match=r"datasets\.0: unknown dataset 'birds'"):
        quickstart(datasets=["birds"])


def test_an_encoder_is_a_name_or_a_name_with_places_and_these_reach_every_study(tmp_path: Path) -> None:
    path = tmp_path / "sweeps" / "my.yaml"
    path.parent.mkdir()
    text = files("search_spaces").joinpath("sweeps/quickstart.yaml").read_text()
    places = "{name: msclap-2023, weights: ../clap.pth, text_model: hub:gpt2}"
    path.write_text(text.replace("encoder: mini", f"encoder: {places}") + "neighbors: {esc10: my.json}\n")
    spec = load_sweep(path)
    esc10, fsdd = (next(s for s in spec.studies() if s.dataset == name and s.sept) for name in ("ESC10", "FSDD"))
    assert esc10.encoder == "msclap-2023"
    # Relative to the file, and the same from whatever folder a worker runs in.
    assert Path(esc10.inputs.weights or "").resolve() == tmp_path / "clap.pth"
    assert Path(esc10.inputs.weights or "").is_absolute()
    assert (esc10.inputs.text_model, esc10.inputs.neighbors) == ("hub:gpt2", str(tmp_path / "sweeps" / "my.json"))
    assert fsdd.inputs.neighbors is None
    assert parse_sweep(spec.text(), "spec.yaml") == spec
    assert spec_differences(spec, load_sweep(path, {"encoder.weights": "/elsewhere.pth", "neighbors": {}})) == []
    assert spec_differences(spec, load_sweep(path, {"encoder": "mini"})) == ["encoder was msclap-2023 and is now mini"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoder": 3}, "encoder: 3: give a name, or a mapping with name, weights and text_model"),
        ({"encoder": {"name": "mini", "weight": "x"}}, "encoder.weight: unknown key 'weight'; did you mean 'weights'?"),
        ({"encoder": {"weights": "x"}}, "encoder.name: missing"),
        ({"neighbors": {"ESC50": "x.json"}}, "neighbors.ESC50: 'ESC50' is no dataset of this sweep; those of this"),
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
    assert "n_ctx is 6, and the context starts from 2 texts, each of a length of its own" in line
    assert quickstart(**{"spaces.coop": {"context_init": starts, "n_ctx": {"fixed": 0}}}).studies()
