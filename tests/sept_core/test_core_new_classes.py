"""What of the new classes enters a base-to-new trial, and what does not.

A trial is trained twice: as it is, and with other names for all new classes, other clips of them (training and test)
and other neighbours. For a given configuration the learned parameters are the same to the last bit.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F
from trial_made import TRAINED, UNSEEN, suited

from sept_core.datasets import DatasetInfo, halves
from sept_core.learners import LEARNERS
from sept_core.semantic import load_neighbors
from sept_core.trial import TrialInputs, TrialRun, make_config

METHODS = [
    *(name for name in UNSEEN if LEARNERS[name].reads_clips or name in TRAINED),
    *(f"{name}+sept" for name in TRAINED),
]
# After the base classes in the alphabet, so that the same half is base.
OTHERS = ("siren", "thunder storm", "typing", "violin", "whistling in the wind")


@pytest.fixture
def both(encoder, make_table):
    """The inputs of a person's own data set, and the same with everything about its new classes changed."""
    table, neighbors = make_table("FSDD"), load_neighbors("FSDD")
    names = table.info.classnames
    base, new = halves(names)
    info = DatasetInfo("Toy", "speech", names, table.info.template, table.info.folds, "kfold", extra=True)
    table = dataclasses.replace(table, dataset="Toy", description=info)
    renamed = dict(zip(new, OTHERS, strict=True))
    other_info = dataclasses.replace(info, classnames=tuple(renamed.get(name, name) for name in names))
    assert halves(other_info.classnames) == (base, OTHERS)
    embeddings = table.embeddings.clone()
    rows = [row for row, name in enumerate(table.classnames) if name in new]
    embeddings[rows] = F.normalize(torch.randn(len(rows), 12, generator=torch.Generator().manual_seed(9)), dim=-1)
    other = dataclasses.replace(
        table,
        description=other_info,
        classnames=tuple(renamed.get(name, name) for name in table.classnames),
        embeddings=embeddings,
    )
    terms = {name: own for name, own in neighbors.by_class.items() if name in base}
    mine = dataclasses.replace(neighbors, dataset="Toy")
    theirs = dataclasses.replace(mine, by_class=terms | dict.fromkeys(OTHERS, ("a crow", "a rooster")))
    return TrialInputs(encoder, table, mine), TrialInputs(encoder, other, theirs)


@pytest.mark.parametrize("selection", ["heldout", "nested"])
@pytest.mark.parametrize("method", METHODS)
def test_no_name_clip_or_neighbour_of_a_new_class_enters_what_is_learned(both, method, selection):
    hyper = suited(method, {"n_ctx": 2, "lr": 0.05, "n_neighbors": 2})
    runs = []
    for inputs in both:
        config = make_config(
            inputs, method, hyper, shots=2, folds=("theo",), seeds=(0, 1), epochs=2, report_every=1, batch_size=8,
            selection=selection,
        )  # fmt: skip
        run = TrialRun(config, inputs)
        while not run.finished:
            run.advance()
        runs.append(run)
    plain, changed = runs
    for mine, theirs in zip(plain._trainings, changed._trainings, strict=True):
        assert mine.params.keys() == theirs.params.keys()
        assert all(torch.equal(value, theirs.params[name]) for name, value in mine.params.items())
    mine, theirs = plain.result(), changed.result()
    assert mine.test["base"] == theirs.test["base"]
    assert mine.test["new"] != theirs.test["new"]
    curves = [[report.metrics for report in result.curve] for result in (mine, theirs)]
    if selection == "nested":
        # Nor what the search sees.
        assert curves[0] == curves[1]
        assert mine.validation == theirs.validation
    else:
        # The search of heldout sees accuracies on new classes, on other clips of them than those of the test.
        for one, other in zip(*curves, strict=True):
            assert {name for name in one if one[name] != other[name]} <= {"val/new", "val/h"}
        assert mine.validation["new"] != theirs.validation["new"]
