"""Makes the complete, checked configuration of a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast, get_args

from sept_core.datasets import CrossingRule, refuse_faulty, rows_of, unheard_folds
from sept_core.errors import InputError
from sept_core.hyper import Value, complete
from sept_core.learners import get_learner
from sept_core.learners.coop import settled_context
from sept_core.learners.optimiser import check_warmup
from sept_core.methods import check_method, hyper_parameters, split_method
from sept_core.protocol_facts import PROTOCOLS
from sept_core.protocols import check_splits
from sept_core.schedule import Precision
from sept_core.semantic import NamingNew
from sept_core.suggestions import known_words
from sept_core.trial_config import METHOD_VERSION, TrialConfig
from sept_core.trial_inputs import (
    TrialInputs,
    check_names_apart,
    check_protocol,
    described_left_out,
    read_templates,
    trial_neighbors,
)

__all__ = ["make_config"]


def make_config(
    inputs: TrialInputs,
    method: str,
    hyper: Mapping[str, Value] | None = None,
    *,
    shots: int = 16,
    folds: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    epochs: int = 50,
    report_every: int = 10,
    batch_size: int = 16,
    precision: str = "float32",
    protocol: str = "base-to-new",
    selection: str = "heldout",
    crossing: str = "keep",
    neighbors_naming_new: str = "keep",
    accept_faulty_split: bool = False,
) -> TrialConfig:
    """Make a complete, checked configuration.

    Args:
        inputs: Encoder and data. The encoder provides the logit scale if ``hyper`` does not set it, and the folds and
            clips that it has heard; neighbours are needed with SEPT only, targets with cross-dataset only.
        method: A baseline, followed by ``+`` and its modifiers, the last of them SEPT: ``coop``, ``coop+sept``.
        hyper: Hyper-parameters by name; missing ones take their defaults.
        shots: Training clips per class that is trained on (all, if a class has fewer).
        folds: Test folds, None for all that the encoder has not seen.
        seeds: One replica is trained per fold and seed.
        epochs: Passes over a replica's training clips.
        report_every: Epochs between two reports.
        batch_size: Clips per step and replica.
        precision: ``float32``, or ``bfloat16`` to run the text tower in training under autocast, which is meant for
            GPUs; measurements are in float32.
        protocol: ``base-to-new``, ``few-shot``, or ``cross-dataset`` with ``inputs.table`` the source.
        selection: What the search is measured on, see ``protocols.py``.
        crossing: What to do with training clips that a published split shares with its test clips: ``keep`` them, as
            published results do, or ``drop`` them.
        neighbors_naming_new: With SEPT and base-to-new: what to do with neighbours that happen to name a new class:
            ``keep`` them, or ``drop`` them, which uses the names of new classes.
        accept_faulty_split: Whether a copy whose train and test sets are swapped or overlap is used as it is.

    Raises:
        InputError: Some value cannot be used; the message has key and value.
    """
    encoder, table, neighbors = inputs.encoder, inputs.table, inputs.neighbors
    targets = tuple(inputs.targets.values())
    info = table.info
    check_method(method, protocol)
    baseline, sept = split_method(method)
    declared = hyper_parameters(baseline, sept)
    if table.encoder_fingerprint != encoder.fingerprint:
        raise InputError(
            f"embeddings were made by encoder {table.encoder_fingerprint}, not {encoder.fingerprint}",
            where=table.dataset,
            fix=f"make them again: sept embed {table.dataset.lower()} --audio DIR --encoder {encoder.name}",
        )
    if sept and neighbors is None:
        raise InputError(f"SEPT needs semantic neighbours of {table.dataset}'s classes, and there are none")
    usable = unheard_folds(table, info, encoder.pretraining)
    chosen = usable if folds is None else tuple(folds)
    for fold in chosen:
        if fold not in usable:
            # A sweep's `folds: all` is expanded before the clips are read.
            named = f"; in a sweep: folds: {{{info.name}: [{', '.join(usable)}]}}" if selection == "strict" else ""
            raise InputError(f"fold '{fold}' of {info.name} cannot be used", fix=f"usable: {', '.join(usable)}{named}")
    for name, value, low in (
        ("shots", shots, 1),
        ("epochs", epochs, 1),
        ("report_every", report_every, 1),
        ("batch_size", batch_size, 1),
    ):
        if value < low:
            raise InputError(f"{value} is too small", where=name, fix=f"at least {low}")
    if not chosen or not seeds:
        raise InputError("a trial needs at least one fold and one seed")
    if len(set(chosen)) != len(chosen) or len(set(seeds)) != len(seeds):
        raise InputError("folds or seeds name the same replica twice", where=f"folds {chosen}, seeds {tuple(seeds)}")
    for name, word, known in (
        ("precision", precision, get_args(Precision)),
        ("protocol", protocol, tuple(PROTOCOLS)),
        ("selection", selection, get_args(TrialConfig.model_fields["selection"].annotation)),
        ("crossing", crossing, get_args(CrossingRule)),
        ("neighbors_naming_new", neighbors_naming_new, get_args(NamingNew)),
    ):
        if word not in known:
            raise InputError(f"unknown {name} '{word}'", fix=known_words(word, known))
    if selection == "strict" and len(chosen) != 1:
        raise InputError(
            f"a trial of selection 'strict' has one test fold, not {len(chosen)}: {', '.join(chosen)}",
            where="folds",
            fix="name one fold; a sweep makes a study of each",
        )
    check_protocol(protocol, selection, neighbors_naming_new, table, targets)
    refuse_faulty(rows_of(table, info), info, chosen, accept_faulty_split)
    for target in targets:
        refuse_faulty(rows_of(target, target.info), target.info, ())
    check_splits(table, encoder.pretraining, chosen, shots, crossing, protocol, selection)
    fallback: dict[str, Value] = {
        "logit_scale": encoder.logit_scale,
        "template": info.template,
        "texts": info.kind,
    }
    trains = get_learner(baseline).trainable
    complete_hyper = complete(tuple(declared.values()), hyper or {}, where=method, fallback=fallback)
    complete_hyper = settled_context(encoder.text, complete_hyper, method)
    if trains:
        check_warmup(complete_hyper, epochs, method)
    # Without lists or new classes it is the same configuration, whatever is done with such terms.
    naming_new = cast(NamingNew, neighbors_naming_new if sept and not PROTOCOLS[protocol].all_classes else "keep")
    used = trial_neighbors(inputs, protocol, naming_new) if sept else None
    check_names_apart(inputs, protocol, complete_hyper, used)
    return TrialConfig(
        method_version=METHOD_VERSION,
        protocol=protocol,  # type: ignore[arg-type]
        selection=selection,  # type: ignore[arg-type]
        encoder=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        dataset=info.name,
        manifest_digest=table.manifest_digest,
        embeddings_digest=table.digest,
        targets={target.dataset: target.digest for target in targets},
        left_out=described_left_out(inputs),
        neighbors_digest=used.digest if used is not None else None,
        templates_digest=read_templates(info.kind, sept, complete_hyper),
        baseline=baseline,
        sept=sept,
        hyper=complete_hyper,
        shots=shots,
        folds=chosen,
        seeds=tuple(seeds),
        # A baseline that does not train is the same configuration for any number of epochs.
        epochs=epochs if trains else 0,
        report_every=min(report_every, epochs) if trains else 1,
        batch_size=batch_size if trains else 1,
        precision=precision if trains else "float32",  # type: ignore[arg-type]
        crossing=crossing,  # type: ignore[arg-type]
        neighbors_naming_new=naming_new,
    )
