"""Neighbours that know nothing of new classes: what a trial uses, what it counts, and what an option drops."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest

from sept_core.datasets import get_dataset, halves
from sept_core.errors import InputError
from sept_core.semantic import Neighbors, knowledge_warnings, naming_untrained, used_neighbors
from sept_core.semantic.new_class_names import described_naming
from sept_core.trial import TrialInputs, TrialRun, make_config, trial_neighbors
from sept_core.trial_config import TrialConfig

FSDD = get_dataset("FSDD")
BASE, NEW = halves(FSDD.classnames)
TERMS = {name: tuple(f"{name} {word}" for word in ("spoken", "uttered", "whispered")) for name in BASE}
BLIND = Neighbors("FSDD", TERMS, {}, BASE)


def naming(name: str, *terms: str) -> Neighbors:
    """The blind lists, with these terms first for a class."""
    return dataclasses.replace(BLIND, by_class=TERMS | {name: (*terms, *TERMS[name])})


@pytest.fixture
def inputs(encoder, make_table):
    return TrialInputs(encoder, make_table("FSDD"), BLIND)


def config(inputs, method="coop+sept", **changes):
    hyper = {"n_ctx": 2} | ({"n_neighbors": 2} if method.endswith("+sept") else {})
    defaults = {"hyper": hyper, "shots": 2, "folds": ("theo",), "epochs": 2, "report_every": 1, "batch_size": 8}
    return make_config(inputs, method, **(defaults | changes))


def finish(trial, inputs):
    run = TrialRun(trial, inputs)
    while not run.finished:
        run.advance()
    return run.result()


def renamed(table, names):
    """The table as a dataset of one's own with other names of its new classes."""
    names = dict(zip(NEW, names, strict=True))
    info = dataclasses.replace(FSDD, name="digits", classnames=(*BASE, *sorted(names.values())))
    assert halves(info.classnames)[0] == BASE
    classnames = tuple(names.get(name, name) for name in table.classnames)
    return dataclasses.replace(table, dataset="digits", description=info, classnames=classnames)


@pytest.mark.parametrize("selection", ["nested", "heldout"])
def test_whatever_new_classes_are_called_lists_digest_training_and_validation_are_the_same(inputs, selection):
    chance = random.Random(1)
    at_random = ["zz" + "".join(chance.choices("abcdefghij", k=8)) for _ in NEW]
    # Words of every neighbour: whatever would look for new classes' names in lists finds these everywhere.
    of_neighbours = ["spoken", "uttered", "whispered", "zza", "zzb"]
    found, said = [], []
    for names in (at_random, of_neighbours):
        named = dataclasses.replace(inputs, table=renamed(inputs.table, names))
        trial = config(named, selection=selection)
        result = finish(trial, named)
        # Held-out clips of new classes are told apart by their names, which is what `nested` leaves out.
        seen = [
            {
                name: value
                for name, value in report.metrics.items()
                if selection == "nested" or not name.startswith("val")
            }
            for report in result.curve
        ]
        base = {name: value for name, value in result.test.items() if name.startswith("base")}
        lists = trial_neighbors(named, "base-to-new")
        found.append((lists, trial.neighbors_digest, seen, result.validation["base"], base))
        said += [line for line in result.warnings if "neighbours" in line]
    assert found[0] == found[1]
    assert found[0][1] == BLIND.digest
    counted = "digits: 15 of 15 neighbours name a class that was not trained on"
    assert said == [f"{counted} (kept: the lists were written without knowing them)"]


def test_lists_of_new_classes_change_nothing_but_what_is_said_of_the_lists(inputs):
    wider = dataclasses.replace(BLIND, by_class=TERMS | dict.fromkeys(NEW, ("rain",) * 3), written_from=None)
    trial, other = config(inputs), config(dataclasses.replace(inputs, neighbors=wider))
    assert other == trial
    plain, knowing = finish(trial, inputs), finish(other, dataclasses.replace(inputs, neighbors=wider))
    assert (plain.curve, plain.validation, plain.test) == (knowing.curve, knowing.validation, knowing.test)
    said = "FSDD: the neighbours were written knowing the names of 5 classes that were not trained on"
    assert [line for line in knowing.warnings if line not in plain.warnings] == [said]
    assert not any("neighbours" in line for line in plain.warnings)


def test_terms_that_name_a_new_class_are_kept_counted_and_dropped_on_request(inputs):
    # three, two and zero are new; one is base, so that its name would break a rule.
    lists = naming("eight", "eight and two", "eighth after the third", "an eight")
    inputs = dataclasses.replace(inputs, neighbors=lists)
    kept, dropped = config(inputs), config(inputs, neighbors_naming_new="drop")
    assert "neighbors_naming_new" not in kept.model_dump(mode="json")
    assert dropped.model_dump(mode="json")["neighbors_naming_new"] == "drop"
    assert kept.signature != dropped.signature
    for one in (kept, dropped):
        assert TrialConfig.model_validate(json.loads(one.model_dump_json())) == one
    assert kept.neighbors_digest == lists.digest
    assert dropped.neighbors_digest == naming("eight", "an eight").digest
    used = trial_neighbors(inputs, "base-to-new", "drop")
    assert used.first(["eight"], 2) == [["an eight", "eight spoken"]]  # what stands behind moves up
    said = "FSDD: 2 of 18 neighbours name a class that was not trained on"
    results = [finish(one, inputs) for one in (kept, dropped)]
    assert [line for line in results[0].warnings if "neighbours" in line] == [
        f"{said} (kept: the lists were written without knowing them)"
    ]
    assert [line for line in results[1].warnings if "neighbours" in line] == [
        f"{said} (left out: neighbors_naming_new: drop uses the names of new classes)"
    ]
    assert results[0].curve != results[1].curve


def test_what_is_dropped_is_only_where_there_are_lists_and_new_classes(inputs, make_table):
    lists = dataclasses.replace(BLIND, by_class={name: (f"{name} said", f"saying {name}") for name in FSDD.classnames})
    inputs = dataclasses.replace(inputs, neighbors=lists)
    assert config(inputs, "coop", neighbors_naming_new="drop") == config(inputs, "coop")
    crossing = dataclasses.replace(inputs, targets={"ESC10": make_table("ESC10")})
    one, two = (config(crossing, protocol="cross-dataset", neighbors_naming_new=word) for word in ("keep", "drop"))
    assert one == two
    assert one.neighbors_digest == lists.digest
    with pytest.raises(InputError, match="unknown neighbors_naming_new 'leave'; known: keep, drop"):
        config(inputs, neighbors_naming_new="leave")


def test_more_neighbours_than_are_left_after_dropping_are_refused(inputs):
    lists = dataclasses.replace(BLIND, by_class=TERMS | {"eight": ("eight or two", "an eight")})
    inputs = dataclasses.replace(inputs, neighbors=lists)
    TrialRun(config(inputs), inputs)
    with pytest.raises(InputError, match="class 'eight' has 1 neighbours, 2 were requested.*lower n_neighbors to 1"):
        TrialRun(config(inputs, neighbors_naming_new="drop"), inputs)


def test_a_trial_is_refused_on_lists_that_are_not_its_own(inputs):
    trial = config(inputs)
    other = dataclasses.replace(inputs, neighbors=naming("eight", "an eight"))
    with pytest.raises(InputError, match="the trial was made for neighbors_digest"):
        TrialRun(trial, other)


def test_whom_a_term_names_is_said_by_class():
    lists = naming("four", "a four, then two", "fourth of three").only(["four"])
    assert naming_untrained(lists, FSDD, "base-to-new") == {
        "four": {"a four, then two": "two", "fourth of three": "three"}
    }
    assert naming_untrained(lists, FSDD, "cross-dataset") == {}
    assert described_naming({"a": {"x": "b", "y": "c"}, "d": {"z": "b"}}) == "a: 'x' (b), 'y' (c); d: 'z' (b)"


def test_a_base_class_may_hold_the_name_of_a_new_one():
    info = dataclasses.replace(FSDD, name="roads", classnames=("car horn", "tram car"))
    # Both class names hold "car", but neither name holds the other.
    lists = Neighbors("roads", {"car horn": ("horn of a tram car", "car beep")}, {}, ("car horn",))
    assert naming_untrained(lists, info, "base-to-new") == {"car horn": {"horn of a tram car": "tram car"}}
    info = dataclasses.replace(info, classnames=("a car horn", "car"))
    lists = Neighbors("roads", {"a car horn": ("car beep",)}, {}, ("a car horn",))
    assert naming_untrained(lists, info, "base-to-new") == {}


def test_one_class_and_one_term_are_said_in_the_singular_and_blind_lists_are_said_nothing_of():
    assert knowledge_warnings(BLIND, FSDD, "base-to-new") == ()
    lists = dataclasses.replace(naming("four", "a four, then two"), written_from=(*BASE, "two"))
    assert knowledge_warnings(lists, FSDD, "base-to-new") == (
        "FSDD: the neighbours were written knowing the names of 1 class that was not trained on",
        "FSDD: 1 of 16 neighbours names a class that was not trained on (kept)",
    )
    assert used_neighbors(lists, FSDD, "base-to-new").known == {*BASE, "two"}
