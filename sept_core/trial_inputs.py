"""What a trial reads besides its configuration, and checks that the two fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sept_core.datasets import EmbeddingTable, contradictions, data_warnings, rows_of, trained_classes
from sept_core.datasets.folds import roles_of
from sept_core.datasets.pretraining import Pretraining, describe_rows, heard_rows
from sept_core.encoders import Encoder, TextTower
from sept_core.errors import InputError
from sept_core.hyper import Value
from sept_core.prompt_form import Wording
from sept_core.protocol_facts import protocol_of
from sept_core.protocols import left_out
from sept_core.semantic import NamingNew, Neighbors, knowledge_warnings, templates_digest, used_neighbors
from sept_core.trial_config import METHOD_VERSION, TrialConfig

__all__ = [
    "TrialInputs",
    "check_inputs",
    "check_names_apart",
    "check_protocol",
    "described_left_out",
    "read_templates",
    "trial_neighbors",
    "trial_warnings",
]


@dataclass(frozen=True)
class TrialInputs:
    """What a trial reads besides its configuration: loaded once, shared by all trials of a process.

    Attributes:
        table: Embeddings of the dataset (cross-dataset: of the source).
        neighbors: Needed with SEPT: lists of the training classes. Other lists are not used.
        targets: Cross-dataset: embeddings of the targets by name.
    """

    encoder: Encoder
    table: EmbeddingTable
    neighbors: Neighbors | None = None
    targets: Mapping[str, EmbeddingTable] = field(default_factory=dict)


def trial_neighbors(inputs: TrialInputs, protocol: str, naming_new: NamingNew = "keep") -> Neighbors | None:
    """The neighbours that a trial uses, of its training classes; None if there are none."""
    if inputs.neighbors is None:
        return None
    return used_neighbors(inputs.neighbors, inputs.table.info, protocol, naming_new)


def trial_warnings(config: TrialConfig, inputs: TrialInputs) -> tuple[str, ...]:
    """What a reader must know about the data behind a trial's result, one line each."""
    table, pretraining = inputs.table, inputs.encoder.pretraining
    lines = list(data_warnings(table, config.folds, config.crossing, unused=_heard(table, pretraining)))
    without = left_out(table, tuple(inputs.targets.values()), pretraining) if config.targets else {}
    for name in config.targets:
        unused = _heard(inputs.targets[name], pretraining) | without.get(name, frozenset())
        lines += data_warnings(inputs.targets[name], (), unused=unused, target=True)
    for name, described in config.left_out.items():
        of = inputs.targets.get(name, table)
        # Clips whose labels contradict each other have their own line.
        count = int(described.split(" ", 1)[0]) - len(contradictions(rows_of(of, of.info), of.info))
        whose = f"{config.encoder} was trained on" + f" or the source {config.dataset} has" * (name in config.targets)
        if count > 0:
            lines.append(f"{name}: {count} of {len(of)} clips are left out, from recordings that {whose}")
    if config.sept and inputs.neighbors is not None:
        lines += knowledge_warnings(inputs.neighbors, table.info, config.protocol, config.neighbors_naming_new)
    return tuple(lines)


def _heard(table: EmbeddingTable, pretraining: Pretraining) -> frozenset[int]:
    """Rows that the encoder was trained on, by fold or by clip."""
    seen = set(pretraining.folds.get(table.dataset, ()))
    by_fold = {row for row, fold in enumerate(table.folds) if roles_of(fold, table.info).test & seen}
    return frozenset(by_fold | heard_rows(table, pretraining))


def described_left_out(inputs: TrialInputs) -> dict[str, str]:
    """The clips of these inputs that are left out, in the form of `TrialConfig.left_out`."""
    tables = {inputs.table.dataset: inputs.table, **inputs.targets}
    rows = left_out(inputs.table, tuple(inputs.targets.values()), inputs.encoder.pretraining)
    return {name: describe_rows(tables[name], some) for name, some in sorted(rows.items())}


def read_templates(kind: str, sept: bool, hyper: Mapping[str, Value]) -> str | None:
    """Digests of the hand-written templates that a trial reads; None if it reads none.

    Args:
        kind: The data set's kind, whose templates SEPT reads.
        sept: Whether SEPT is on.
        hyper: Complete hyper-parameters; ``texts`` of audio-free prompt tuning names a kind.
    """
    kinds = {kind} if sept else set()
    kinds |= {str(hyper["texts"])} if "texts" in hyper else set()
    return "+".join(map(templates_digest, sorted(kinds))) or None


def check_protocol(
    protocol: str, selection: str, naming_new: str, table: EmbeddingTable, targets: Sequence[EmbeddingTable]
) -> None:
    """Check that a protocol has the targets that it needs, and that the selection fits it.

    Raises:
        InputError: They do not fit.
    """
    names = [target.dataset for target in targets]
    if selection == "nested" and naming_new == "drop":
        raise InputError(
            "selection 'nested' must not use the new classes, and dropping neighbours uses their names",
            where="neighbors_naming_new",
            fix="use keep, or selection: heldout",
        )
    facts = protocol_of(protocol)
    if names and not facts.transfers:
        raise InputError(f"targets {', '.join(names)} given", fix="only protocol: cross-dataset has targets")
    if facts.transfers and not names:
        raise InputError(f"{protocol} needs at least one target")
    if table.dataset in names or len(set(names)) != len(names):
        raise InputError(f"targets {', '.join(names)} name a dataset twice, or the source {table.dataset}")
    if selection not in facts.selections:
        raise InputError(f"selection '{selection}' does not apply to {protocol}", fix=facts.selection_fix)
    for target in targets:
        if target.encoder_fingerprint != table.encoder_fingerprint:
            raise InputError(f"embeddings of {target.dataset} and {table.dataset} are by different encoders")


def check_names_apart(
    inputs: TrialInputs, protocol: str, hyper: Mapping[str, Value], neighbors: Neighbors | None
) -> None:
    """Check that the text tower can distinguish all names that a trial ranks or trains with.

    This depends on the tokens, not on the text: msclap-2023 removes ``!``, BERT removes accents.

    Args:
        inputs: Encoder, dataset and targets.
        protocol: Decides which classes are trained.
        hyper: The form of names in prompts and, with neighbours, how many of them are used.
        neighbors: The neighbours for SEPT; None without it.

    Raises:
        InputError: Two class names, or two of the training classes and their neighbours, have the same tokens, or one
            contains a special token.
    """
    tower, wording, info = inputs.encoder.text, Wording.of(hyper), inputs.table.info
    trained = trained_classes(info.classnames, protocol)
    for ranked in (info, *(target.info for target in inputs.targets.values())):
        _apart(tower, wording, wording.names(ranked.classnames), f"classes of {ranked.name}")
    if neighbors is not None:
        terms = neighbors.first(trained, int(hyper["n_neighbors"]))
        names = (*wording.names(trained), *(term for own in terms for term in own))
        _apart(tower, wording, names, f"neighbours of {info.name}")


def _apart(tower: TextTower, wording: Wording, names: Sequence[str], where: str) -> None:
    try:
        wording.check(tower, names)
    except InputError as error:
        raise InputError(error.what, where=where, fix=error.fix) from error


def check_inputs(config: TrialConfig, inputs: TrialInputs) -> None:
    """Check that the inputs are those of a configuration.

    Raises:
        InputError: They are not.
    """
    pairs = {
        "method_version": (config.method_version, METHOD_VERSION),
        "encoder_fingerprint": (config.encoder_fingerprint, inputs.encoder.fingerprint),
        "embeddings of encoder": (config.encoder_fingerprint, inputs.table.encoder_fingerprint),
        "dataset": (config.dataset, inputs.table.dataset),
        "manifest_digest": (config.manifest_digest, inputs.table.manifest_digest),
        "embeddings_digest": (config.embeddings_digest, inputs.table.digest),
    }
    for target, wanted in config.targets.items():
        if target not in inputs.targets:
            raise InputError(f"embeddings of the target {target} are missing", where=config.signature)
        pairs[f"embeddings_digest of {target}"] = (wanted, inputs.targets[target].digest)
    # Embeddings made again, or by another release, may have more fingerprints.
    now = described_left_out(inputs)
    if config.left_out != now:
        then, here = (", ".join(f"{one} of {name}" for name, one in found.items()) for found in (config.left_out, now))
        raise InputError(
            f"the trial left out {then or 'no clips'}, and here {here or 'none'} would be left out",
            where=config.signature,
            fix="use the embeddings that it was made with, or start the sweep again under another name (--fork)",
        )
    if config.sept:
        used = trial_neighbors(inputs, config.protocol, config.neighbors_naming_new)
        pairs["neighbors_digest"] = (config.neighbors_digest, used.digest if used is not None else None)
    read = read_templates(inputs.table.info.kind, config.sept, config.hyper)
    pairs["templates_digest"] = (config.templates_digest, read)
    for name, (expected, found) in pairs.items():
        if expected != found:
            raise InputError(f"the trial was made for {name} {expected}, not {found}", where=config.signature)
