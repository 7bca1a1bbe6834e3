"""Exports the best prompt of a study: the stored parameters, measured again, with a card.

A finished trial leaves its last checkpoint in the store. If that is gone (deleted by a rule of a bucket, for example),
the configuration is trained again: a trial is a function of its configuration, so on the same kind of machine the
numbers are the same. Either way the parameters are measured as in the trial before the export, and the card says
whether the accuracies are equal to the recorded ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.prompts.card import make_card
from pipeline.reports import collect
from pipeline.reports.find_row import pick_study
from pipeline.search.devices import as_a_worker
from pipeline.search.inputs import Loader, load_inputs
from pipeline.search.trial_context import check_version, load_there, trial_place
from pipeline.spec.known_sweep import known_sweep
from pipeline.store import TrialStore
from sept_core.errors import InputError, SeptError
from sept_core.prompt import Prompt, not_finite_in
from sept_core.prompt_form import Wording
from sept_core.protocol_facts import protocol_of
from sept_core.results import TrialResult
from sept_core.trial_config import TrialConfig

if TYPE_CHECKING:
    from sept_core.trial import TrialInputs, TrialRun

__all__ = ["Exported", "export_prompt", "finished_run"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """A prompt and its origin.

    Attributes:
        retrained: Whether its parameters had to be trained again.
        differences: Metrics that differ from the record of the sweep: name to (recorded, measured now); empty if all
            are equal to the last digit.
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
    chosen_is: Callable[[str, str, int], object] = lambda study, signature, replicas: None,
) -> Exported:
    """Export the best prompt of a study: the one of the trial that is best over all test folds.

    Args:
        store: The trial store.
        root: Its address, where embeddings and neighbours are stored too.
        sweep: Name of the sweep.
        study: As in ``pick_study``.
        best_replica: Export only the replica with the best held-out accuracy instead of all.
        weights: Location of the encoder's weights; None for the one in the sweep.
        text_model: Location of its tokenizer; None for the one in the sweep.
        provider: Loads what trials read.
        progress: Called with the epochs done and the total, if the trial has to be trained again.
        chosen_is: Called with the study and the signature of the prompt, and its number of replicas, before anything
            is measured: to look at the places where it goes.

    Raises:
        InputError: No such sweep or study, the trial is of another method version, embeddings or weights are missing or
            not those of the trial, or the best replica is asked for in a study that was chosen on test clips.
        SeptError: No trial has finished yet, the training fails this time, or parameters are not finite.
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
    config = recorded.config
    chosen_is(chosen.study, chosen.signature, 1 if best_replica else len(config.folds) * len(config.seeds))
    place = trial_place(store, sweep, chosen.study, config)
    wanted = place.inputs
    wanted = replace(wanted, weights=weights or wanted.weights, text_model=text_model or wanted.text_model)
    place = replace(place, inputs=wanted)
    with as_a_worker(place.threads):
        inputs = load_there(root, place, provider)
        run, retrained = finished_run(store, config, inputs, progress)
        measured = run.result()
        params = run.learned
    if not_finite := not_finite_in(params):
        raise SeptError(f"the parameters of trial {chosen.signature} are not finite, in {not_finite}")
    differences = _differences(recorded, measured)
    origin: dict[str, Any] = {
        "from": "the configuration, trained again" if retrained else "the trial's last checkpoint",
        "measured_again": "equal to the record of the sweep to the last digit"
        if not differences
        else {name: {"recorded": before, "now": now} for name, (before, now) in differences.items()},
    }
    stage, info = run.tested, inputs.table.info
    by_prompt = dict(zip(Wording.of(config.hyper).names(info.classnames), info.classnames, strict=True))
    trained = [by_prompt[name] for name in stage.classes]
    row = next((row for row in table.studies if row.study == chosen.row), None)
    card = make_card(sweep, chosen, row, measured, recorded, info, trained, [len(rows) for rows in stage.rows], origin)
    prompt = Prompt(card, params)
    return Exported(_best_replica(prompt) if best_replica else prompt, retrained, differences)


def finished_run(
    store: TrialStore, config: TrialConfig, inputs: TrialInputs, progress: Callable[[int, int], object]
) -> tuple[TrialRun, bool]:
    """The finished trial, from its last checkpoint if possible, and whether it had to be trained further or again."""
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
    """The replica with the best accuracy on its held-out clips; the first of equals."""
    rows = prompt.card["replicas"]
    measure = f"val_{protocol_of(prompt.card['protocol']).objective}"
    index = max(range(len(rows)), key=lambda at: (rows[at][measure], -at))
    own = f"percent, mean over all {len(rows)} replicas of the trial; those of this replica are under replicas"
    card = {
        **prompt.card,
        "replicas": [rows[index]],
        "inference": "the softmax of the method's logits over the given names, by one replica, the one with the best "
        f"held-out accuracy ({measure}) of {len(rows)}; probabilities are not calibrated, and do not account for "
        "classes that are not among the names",
        "metrics_are": "; ".join(filter(None, (prompt.card["caution"], own))),
    }
    return Prompt(card, {name: value[index : index + 1] for name, value in prompt.params.items()})
