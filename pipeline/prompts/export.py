"""The prompt for use of a study, out of the store: its kept parameters, measured again, with a card.

A finished trial leaves its last checkpoint. Where that is gone (rules that clean a bucket up, say), the configuration
is trained once more: a trial is a function of its configuration, so on the same kind of machine the same numbers come
out. Either way the parameters are put through the trial's own measurement before they are handed out, and the card
says whether what comes out is what the sweep has recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.prompts.card import make_card
from pipeline.reports import collect
from pipeline.reports.picking import pick_study
from pipeline.search.devices import as_a_worker
from pipeline.search.inputs import Loader, load_inputs
from pipeline.search.trial_context import check_version, load_there, trial_place
from pipeline.spec.stored import known_sweep
from pipeline.store import TrialStore
from sept_core.errors import InputError, SeptError
from sept_core.prompt import Prompt, not_finite_in
from sept_core.results import TrialConfig, TrialResult
from sept_core.wording import Wording

if TYPE_CHECKING:
    from sept_core.trial import TrialInputs, TrialRun

__all__ = ["Exported", "export_prompt"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """A prompt and how it was come by.

    Attributes:
        retrained: Whether its parameters had to be trained once more.
        differences: Metrics that are not those that the sweep has recorded: name to (recorded, measured now); empty
            where all are equal to the last digit.
    """

    prompt: Prompt
    retrained: bool
    differences: dict[str, tuple[float, float]]


def export_prompt(
    store: TrialStore,
    root: str,
    sweep: str,
    study: str | None = None,
    *,
    best_replica: bool = False,
    weights: str | None = None,
    text_model: str | None = None,
    provider: Loader = load_inputs,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Exported:
    """The prompt for use of a study: of its trial that is best over all test folds.

    Args:
        store: The trial store.
        root: Its address, where embeddings and neighbours are looked for too.
        sweep: Name of the sweep.
        study: As ``pick_study``.
        best_replica: Keep only the replica with the best held-out accuracy instead of all.
        weights: Where the encoder's weights lie; None for where the sweep says.
        text_model: Its tokenizer, likewise.
        provider: As in `launch`.
        progress: Called with epochs done and in all where a training has to be done once more.

    Raises:
        InputError: No such sweep or study, the trial is of another method version, embeddings or weights are missing or
            not those of the trial, or the best replica is asked for of a study whose replicas were measured on test
            clips alone.
        SeptError: No trial has finished yet, the training does not end well this time, or what was learned is not
            finite.
    """
    known_sweep(store, sweep, study)
    table = collect(store, sweep)
    chosen = pick_study(table, study)
    if best_replica and chosen.selection == "paper":
        raise InputError(
            "the best replica would be chosen on test clips (selection: paper)",
            where=chosen.study,
            fix="export all replicas, without --best-replica",
        )
    recorded = store.read_result(chosen.study, chosen.signature)
    if recorded is None:
        raise SeptError(f"the result of trial {chosen.signature} is gone; launch the sweep again")
    check_version(recorded)
    from sept_core.checkpoint import load_checkpoint

    config = recorded.config
    place = trial_place(store, sweep, config)
    wanted = place.inputs
    wanted = replace(wanted, weights=weights or wanted.weights, text_model=text_model or wanted.text_model)
    place = replace(place, inputs=wanted)
    with as_a_worker(place.threads):
        inputs = load_there(root, place, provider)
        run, retrained = _finished_run(store, config, inputs, progress)
        measured = run.result()
        state = load_checkpoint(run.checkpoint(), config.signature).states[-1]
    if not_finite := not_finite_in(state.params):
        raise SeptError(f"the parameters of trial {chosen.signature} are not finite, in {not_finite}")
    differences = _differences(recorded, measured)
    origin: dict[str, Any] = {
        "from": "the configuration, trained once more" if retrained else "the trial's last checkpoint",
        "measured_again": "equal to what the sweep has recorded, to the last digit"
        if not differences
        else {name: {"recorded": before, "now": now} for name, (before, now) in differences.items()},
    }
    stage, info = run.tested, inputs.table.info
    by_prompt = dict(zip(Wording.of(config.hyper).names(info.classnames), info.classnames, strict=True))
    trained = [by_prompt[name] for name in stage.classes]
    row = next((row for row in table.studies if row.study == chosen.row), None)
    card = make_card(sweep, chosen, row, measured, recorded, info, trained, [len(rows) for rows in stage.rows], origin)
    prompt = Prompt(card, state.params)
    return Exported(_best_replica(prompt) if best_replica else prompt, retrained, differences)


def _finished_run(
    store: TrialStore, config: TrialConfig, inputs: TrialInputs, progress: Callable[[int, int], object]
) -> tuple[TrialRun, bool]:
    """The trial at its end, from its last checkpoint; trained on from there, or anew, where it does not end there."""
    from sept_core.checkpoint import CheckpointError
    from sept_core.trial import TrialRun

    checkpoint = store.read_checkpoint(config)
    try:
        run = TrialRun(config, inputs, checkpoint)
    except CheckpointError as error:
        logger.warning("%s; training it again", error)
        run = TrialRun(config, inputs)
    if run.finished:
        return run, False
    trains = config.epochs > 0
    while not run.finished:
        progress(run.epoch, config.epochs)
        run.advance()
    progress(config.epochs, config.epochs)
    return run, trains


def _differences(recorded: TrialResult, measured: TrialResult) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for part in ("validation", "test"):
        before, now = getattr(recorded, part), getattr(measured, part)
        found |= {f"{part}/{name}": (before[name], now[name]) for name in before if before[name] != now.get(name)}
    return found


def _best_replica(prompt: Prompt) -> Prompt:
    """The one replica with the best accuracy on its held-out clips; of equals, the first."""
    rows = prompt.card["replicas"]
    measure = "val_h" if "val_h" in rows[0] else "val_source"
    index = max(range(len(rows)), key=lambda at: (rows[at][measure], -at))
    own = f"percent, mean over all {len(rows)} replicas of the trial; those of this one stand in replicas"
    card = {
        **prompt.card,
        "replicas": [rows[index]],
        "inference": "the softmax of logit_scale * cosine over the names given, by one replica, the one with the best "
        f"held-out accuracy ({measure}) of {len(rows)}; probabilities are not calibrated, and say nothing of classes "
        "that are not among the names",
        "metrics_are": "; ".join(filter(None, (prompt.card["caution"], own))),
    }
    return Prompt(card, {name: value[index : index + 1] for name, value in prompt.params.items()})
