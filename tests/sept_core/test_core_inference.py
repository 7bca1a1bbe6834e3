"""SEPT costs nothing once training has ended: prediction with and without it runs the same operations."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from trial_made import TRAINED, UNSEEN, config, finish

from sept_core.learners import LEARNERS, MODIFIERS
from sept_core.semantic import load_neighbors
from sept_core.trial import TrialInputs, TrialRun


@pytest.fixture
def inputs(encoder, make_table):
    return TrialInputs(encoder, make_table("FSDD"), load_neighbors("FSDD"))


class Operations(TorchDispatchMode):
    """Lists the operations of torch with the shapes of what they are given, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[tuple[int, ...]]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = (one for some in args for one in (some if isinstance(some, list | tuple) else [some]))
        self.seen.append((str(func), [tuple(one.shape) for one in given if isinstance(one, torch.Tensor)]))
        return func(*args, **(kwargs or {}))


def operations_of(run):
    with Operations() as operations:
        run.scores()
    return operations.seen


@pytest.mark.parametrize(
    "baseline",
    [
        method
        for name in LEARNERS
        if name in TRAINED and name in UNSEEN
        for method in (name, *(f"{name}+{own}" for own in MODIFIERS))
    ],
)
def test_prediction_with_sept_is_prediction_without_it(inputs, baseline):
    runs = [TrialRun(config(inputs, baseline, sept, epochs=1, report_every=1), inputs) for sept in (False, True)]
    trained = [finish(run).parameters for run in runs]
    plain, with_sept = ({name: value.shape for name, value in run.learned.items()} for run in runs)
    assert with_sept == plain
    state = runs[0].training.state()  # without what training does not change
    assert trained == [sum(value[0].numel() for value in state.params.values())] * 2
    # SEPT was trained with: it is not the same prompt.
    assert any(not torch.equal(runs[0].learned[name], value) for name, value in runs[1].learned.items())
    assert operations_of(runs[1]) == operations_of(runs[0])
    assert len(operations_of(runs[0])) > 10
