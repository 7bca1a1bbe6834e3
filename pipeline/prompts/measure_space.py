"""Measures the prompt spaces of a sweep's chosen trials from their last checkpoints, after the search has ended.

Here alone, neighbours of new classes are read. They come from the file that covers all classes, whose writer knew the
new ones, and serve to look at results: nothing is trained or chosen with them, and no training can reach them, because
a trial's inputs have only the lists of its training classes (`sept_core.semantic.used_neighbors`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.data.prepared import find_neighbors
from pipeline.data.stored_spec import stored_spec
from pipeline.reports.rows import ForUse, method_title
from pipeline.reports.space_pairs import SpacePair, space_pairs, stored_spaces
from pipeline.reports.sweep_table import SweepTable
from pipeline.search.devices import as_a_worker
from pipeline.search.inputs import Loader, load_inputs
from pipeline.search.trial_context import check_version, load_there, trial_place
from pipeline.store import TrialStore
from pipeline.store.prompt_spaces import write_prompt_space
from sept_core.datasets import trained_classes
from sept_core.errors import InputError, SeptError
from sept_core.hyper import Value
from sept_core.learners import get_learner
from sept_core.prompt_form import Wording
from sept_core.prompt_space import PromptSpace
from sept_core.semantic.loss import SEPT_HYPER
from sept_core.trial_config import TrialConfig

if TYPE_CHECKING:
    from sept_core.datasets import DatasetInfo
    from sept_core.prompt_space import Learned, Names
    from sept_core.semantic import Neighbors
    from sept_core.trial import TrialInputs

__all__ = ["Measured", "measure_missing", "measure_pair"]


@dataclass(frozen=True)
class Measured:
    """What `measure_missing` did.

    Attributes:
        measured: Number of pairs measured now.
        left: Studies that were not, for lack of time.
        refused: Studies that cannot be measured, with the reason.
    """

    measured: int
    left: tuple[str, ...]
    refused: dict[str, str]


def measure_missing(
    store: TrialStore,
    root: str,
    sweep: str,
    table: SweepTable,
    *,
    seconds: float = float("inf"),
    again: bool = False,
    weights: str | None = None,
    text_model: str | None = None,
    provider: Loader = load_inputs,
) -> Measured:
    """Measure and store the spaces of all pairs of a sweep that have not been measured.

    Args:
        store: The trial store.
        root: Its address.
        sweep: Name of the sweep.
        table: Its result.
        seconds: No further pair is begun after this time.
        again: Whether to measure all of them again.
        weights: As in `measure_pair`.
        text_model: As in `measure_pair`.
        provider: Loads what trials read.
    """
    began, measured, left, refused = time.monotonic(), 0, list[str](), dict[str, str]()
    pairs = space_pairs(table)
    for pair, known in zip(pairs, stored_spaces(store, pairs), strict=True):
        if known is not None and not again:
            continue
        if time.monotonic() - began > seconds:
            left.append(pair.main.study)
            continue
        try:
            measure_pair(store, root, sweep, pair, weights=weights, text_model=text_model, provider=provider)
            measured += 1
        except SeptError as error:
            refused[pair.main.study] = str(error)
    return Measured(measured, tuple(left), refused)


def measure_pair(
    store: TrialStore,
    root: str,
    sweep: str,
    pair: SpacePair,
    *,
    weights: str | None = None,
    text_model: str | None = None,
    provider: Loader = load_inputs,
) -> PromptSpace:
    """Measure and store the space of a trial and its twin.

    Args:
        store: The trial store.
        root: Its address.
        sweep: Name of the sweep.
        pair: The trials.
        weights: Location of the encoder's weights; None for the one in the sweep.
        text_model: Location of its tokenizer; None for the one in the sweep.
        provider: Loads what trials read.

    Raises:
        InputError: A trial is of another method version, or weights, embeddings or neighbours are missing or not those
            of the trial.
        SeptError: A result or a checkpoint is gone.
    """
    from sept_core.prompt_space import measure_space

    configs = [_config(store, use) for use in pair.trials]
    main = configs[-1]
    place = trial_place(store, sweep, pair.main.study, main)
    # A trial without SEPT has no neighbours of its own to be compared with.
    files = stored_spec(store, sweep).neighbors
    wanted = replace(place.inputs, sept=True, neighbors=place.inputs.neighbors or files.get(main.dataset))
    wanted = replace(wanted, weights=weights or wanted.weights, text_model=text_model or wanted.text_model)
    with as_a_worker(place.threads):
        inputs = load_there(root, replace(place, inputs=wanted), provider)
        new, remarks = _new_lists(root, inputs.table.info, main, wanted.neighbors)

        def measured(new: Neighbors | None, remarks: list[str]) -> PromptSpace:
            names = _names(main, inputs, new)
            prompts = [_learned(store, config, inputs, names) for config in configs]
            return measure_space(inputs.encoder.text, names, prompts, remarks)

        try:
            space = measured(new, remarks)
        except InputError as error:
            if new is None:
                raise
            # The lists of new classes have not been checked against the others, as those of a trial are.
            space = measured(None, [_without_new(error)])
    write_prompt_space(store, pair.key, space)
    return space


def _config(store: TrialStore, use: ForUse) -> TrialConfig:
    recorded = store.read_result(use.study, use.signature)
    if recorded is None:
        raise SeptError(f"the result of trial {use.signature} is gone; launch the sweep again")
    check_version(recorded)
    if not get_learner(recorded.config.baseline).learns_text:
        raise InputError(
            f"'{recorded.config.baseline}' does not learn text features of any name, so it has no prompt space",
            where=use.study,
            fix="name a study of a method that does, such as coop",
        )
    return recorded.config


def _new_lists(
    root: str, info: DatasetInfo, config: TrialConfig, given: str | None
) -> tuple[Neighbors | None, list[str]]:
    """Lists of the classes that are not trained on, if there are any, and what a reader must know about them."""
    trained = trained_classes(info.classnames, config.protocol)
    new = [name for name in info.classnames if name not in trained]
    if not new:
        return None, []
    reason = None
    for source in dict.fromkeys((given, None)):
        try:
            lists = find_neighbors(root, info, source, "cross-dataset").only(new)
            lists.first(new, _number(config, "n_neighbors"))
        except InputError as error:
            reason = reason or error
            continue
        return lists, ["Neighbours of new classes are from lists written for all classes; no training has seen them."]
    assert reason is not None
    return None, [_without_new(reason)]


def _without_new(error: InputError) -> str:
    return f"New classes have no neighbours here, so only their drift is known ({error.what})."


def _number(config: TrialConfig, name: str) -> int:
    """A hyper-parameter of SEPT; its default for a trial without SEPT."""
    defaults: dict[str, Value | None] = {parameter.name: parameter.default for parameter in SEPT_HYPER}
    return int(config.hyper.get(name, defaults[name] or 0))


def _names(config: TrialConfig, inputs: TrialInputs, new: Neighbors | None) -> Names:
    from sept_core.prompt_space import Names
    from sept_core.semantic import load_templates
    from sept_core.trial import trial_neighbors

    info = inputs.table.info
    trained = trained_classes(info.classnames, config.protocol)
    classes = (*trained, *(name for name in info.classnames if name not in trained))
    own = trial_neighbors(inputs, config.protocol, config.neighbors_naming_new)
    if own is None:
        raise InputError(f"no neighbours of {info.name}")
    count = _number(config, "n_neighbors")
    lists = own.first(trained, count) + (new.first(classes[len(trained) :], count) if new is not None else [])
    return Names(
        classes=classes,
        trained=len(trained),
        neighbors=tuple(map(tuple, lists)),
        templates=load_templates(info.kind)[: _number(config, "n_templates")],
        template=str(config.hyper.get("template", info.template)),
    )


def _learned(store: TrialStore, config: TrialConfig, inputs: TrialInputs, names: Names) -> Learned:
    """The prompt of a finished trial, from its last checkpoint."""
    import torch

    from sept_core.checkpoint import CheckpointError
    from sept_core.prompt_space import Learned
    from sept_core.semantic import margins
    from sept_core.trial import TrialRun

    data = store.read_checkpoint(config)
    if data is None:
        raise SeptError(f"the last checkpoint of trial {config.signature} is gone, so its prompt cannot be looked at")
    try:
        run = TrialRun(config, inputs, data)
    except CheckpointError as error:
        raise SeptError(f"trial {config.signature}: {error}") from error
    tower = inputs.encoder.text
    like = next(tower.parameters())
    learner, audio, own = get_learner(config.baseline)(tower, config.hyper, run.tested.classes), None, None
    if learner.conditional:
        clips = [inputs.table.embeddings[list(rows)].mean(0, keepdim=True) for rows in run.tested.rows]
        audio = torch.stack(clips).to(like)
    if config.sept:
        own = margins(
            str(config.hyper["margin_mode"]),
            margin_intra=float(config.hyper["margin_intra"]),
            margin_inter=float(config.hyper["margin_inter"]),
            tower=tower,
            classes=Wording.of(config.hyper).names(names.classes)[: len(names.neighbors)],
            neighbors=names.neighbors,
            templates=names.templates,
        )
    return Learned(
        title=method_title(config.method),
        learner=learner,
        params={name: value.to(like) for name, value in run.learned.items()},
        wording=Wording.of(config.hyper),
        audio=audio,
        own=own,
    )
