"""What is trained on and what is measured, for every protocol and selection: the one place that decides it.

Base-to-new: train on shots of the base classes; base clips among base names, new clips among new names. No name, clip
or neighbour of a new class influences what is learned, with two exceptions, which can only remove base clips from the
pool: a base clip is left out if its content is also labelled as a new class and, with ``crossing: drop``, if it shares
a recording, a speaker or its content with a test clip. The list of names also decides which classes are base.

The objective of a trial is measured while it trains; trials are ranked, pruned and chosen by it. By selection:

- ``heldout`` (default): held-out clips: those of a replica's own training folds that it does not train on (base clips
  that were not drawn as shots; all new clips). A trial trains all test folds at once, and its objective is the mean
  over their replicas. A held-out clip of one fold's replicas is a test clip of another fold's, so that mean includes
  every test clip. For the results of fold k the configuration is therefore chosen by the objective of fold k's replicas
  alone, which includes no test clip of fold k; the sampler and the pruner still see the mean over all folds.
- ``strict``: the same held-out clips, in nested cross-validation: a search for each test fold, with its own sampler and
  pruner, whose trials train this fold's replicas only. No test clip of fold k influences the sampler, the pruner or the
  choice for fold k. With one published test fold, ``heldout`` and ``strict`` are the same.
- ``nested``: the base classes are split again (base', new'). The search trains on base' and is measured on held-out
  clips of base' and new', so that it uses no clip of the real new classes; a second training, on all base classes with
  the same hyper-parameters, is tested. Base clips of other test folds are measured, as in ``heldout``. The neighbours
  of the inner training are those of base', from the lists of all base classes: these are independent of the real new
  classes, but their writer knew new' (no term of base' names one). So new' may be somewhat easier to separate than the
  real new classes; this influences test results only through the choice of the configuration.
- ``paper``: the search is measured on the test clips themselves, as published tables appear to be. For comparison only;
  state this whenever you show such a result.

Few-shot: train on shots of *all* classes of a dataset, test on its test clips among all names (``heldout``, ``strict``
with a search for each test fold, or ``paper``; without new classes ``nested`` does not apply). Held out are the clips
of a replica's training folds that it did not draw; a class whose clips are all drawn has none.

Cross-dataset: train on shots of *all* classes of a source; the search is measured on its held-out clips (``heldout``,
or ``strict`` with a search for each test fold of the source; the other two do not apply). Tested are the source's test
clips and, among all names of the target, the test clips of every target (of all its folds) that the encoder has not
seen. Clips of a target from recordings in the source's pool are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from sept_core.datasets import (
    CrossingRule,
    EmbeddingTable,
    Split,
    WholeSplit,
    contradictions,
    halves,
    make_split,
    rows_of,
    split_all_classes,
)
from sept_core.datasets.folds import roles_of
from sept_core.datasets.pretraining import Pretraining, heard_rows, newly_heard, shared_rows
from sept_core.encoders import TextTower
from sept_core.errors import InputError
from sept_core.evaluation import Group
from sept_core.methods import NESTED_CLASSES
from sept_core.prompt_form import EARLIER_WORDING, Wording
from sept_core.protocol_facts import protocol_of

__all__ = ["Plan", "Stage", "check_splits", "left_out", "make_plan"]


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        classes: Names of the training classes, as used in prompts.
        labels: For each clip of the table the index of its class in ``classes``, -1 for any other.
        rows: For each replica the rows of its training clips.
        measured: The groups that the search measures; empty for a training that is only tested.
    """

    classes: tuple[str, ...]
    labels: torch.Tensor
    rows: tuple[tuple[int, ...], ...]
    measured: Mapping[str, Group]


@dataclass(frozen=True)
class Plan:
    """The trainings of a trial, in order; the last one is tested.

    Attributes:
        stages: One, or for ``nested`` two.
        tested: The groups that are tested.
        classnames: Names of each tested group, as the registry spells them.
    """

    stages: tuple[Stage, ...]
    tested: Mapping[str, Group]
    classnames: dict[str, list[str]]


def make_plan(
    *,
    protocol: str,
    selection: str,
    table: EmbeddingTable,
    targets: Sequence[EmbeddingTable],
    tower: TextTower,
    pretraining: Pretraining,
    folds: Sequence[str],
    seeds: Sequence[int],
    shots: int,
    crossing: CrossingRule = "keep",
    wording: Wording = EARLIER_WORDING,
) -> Plan:
    """The plan of a trial.

    Args:
        protocol: ``base-to-new``, ``few-shot`` or ``cross-dataset``.
        selection: ``heldout``, ``strict``, ``nested`` or ``paper``.
        table: Embeddings of the dataset (cross-dataset: of the source).
        targets: Embeddings of the targets.
        tower: Tokenises the names.
        pretraining: What the encoder was trained on.
        folds: Test folds.
        seeds: One replica per fold and seed.
        shots: Training clips per class.
        crossing: As for ``make_split``.
        wording: The form of names in prompts.

    Raises:
        InputError: The dataset cannot be used this way.
    """
    info = table.info
    text = _Text(tower, wording)
    seen, heard = pretraining.folds.get(info.name, ()), heard_rows(table, pretraining)
    replicas = [(fold, seed) for fold in folds for seed in seeds]
    if protocol_of(protocol).all_classes:
        hold_out = selection != "paper"
        whole = [
            split_all_classes(table, info, fold, seed, shots, seen, heard, crossing, hold_out=hold_out)
            for fold, seed in replicas
        ]
        if targets:
            return _cross_dataset(table, targets, text, pretraining, whole)
        return _few_shot(table, text, whole, selection)
    splits = [make_split(table, info, fold, seed, shots, seen, heard, crossing) for fold, seed in replicas]
    base, new = halves(info.classnames)
    test = {
        "base": text.group(table, base, [split.test_base for split in splits], trained=True),
        "new": text.group(table, new, [split.test_new for split in splits]),
    }
    held_out = {
        "base": text.group(table, base, [split.heldout_base for split in splits], trained=True),
        "new": text.group(table, new, [split.heldout_new for split in splits]),
    }
    final = [split.train for split in splits]
    names = {"base": list(base), "new": list(new)}
    if selection == "nested":
        inner = _inner_stage(table, text, base, splits)
        return Plan((inner, text.stage(table, base, final, {})), test, names)
    return Plan((text.stage(table, base, final, test if selection == "paper" else held_out),), test, names)


# Called several times for every trial of a process; tables and pretrainings are compared by identity.
@lru_cache(maxsize=32)
def left_out(
    table: EmbeddingTable, targets: tuple[EmbeddingTable, ...], pretraining: Pretraining
) -> Mapping[str, frozenset[int]]:
    """Rows that a trial leaves out: contradictory labels, a recording that the encoder heard or, for a target, the
    source has.

    By data set; data sets without such rows are omitted. Rows that belong to the pretraining by data set name or file
    content are not included: they were left out from the first release on, so signatures need not contain
    them. The source's clips are those in the pool of any of its folds, so that a target is the same for all folds.
    """
    found = {table.dataset: newly_heard(table, pretraining) | contradictions(rows_of(table, table.info), table.info)}
    if targets:
        info, seen = table.info, set(pretraining.folds.get(table.dataset, ()))
        heard = heard_rows(table, pretraining)
        roles = [roles_of(fold, info) for fold in table.folds]
        pool = [row for row, of in enumerate(roles) if of.train and not of.test & seen and row not in heard]
    for target in targets:
        shared = shared_rows(table, pool, target)
        tested = {row for row in shared if roles_of(target.folds[row], target.info).test}
        torn = contradictions(rows_of(target, target.info), target.info)
        found[target.dataset] = newly_heard(target, pretraining) | tested | torn
    return {name: rows for name, rows in found.items() if rows}


# The same.
@lru_cache(maxsize=32)
def check_splits(
    table: EmbeddingTable,
    pretraining: Pretraining,
    folds: tuple[str, ...],
    shots: int,
    crossing: CrossingRule,
    protocol: str,
    selection: str,
) -> None:
    """Check before a trial that its folds can be split.

    Raises:
        InputError: As `make_split` and `split_all_classes`.
    """
    seen, heard = pretraining.folds.get(table.dataset, ()), heard_rows(table, pretraining)
    whole, hold_out = protocol_of(protocol).all_classes, selection != "paper"
    for fold in folds:
        if whole:
            split_all_classes(table, table.info, fold, 0, shots, seen, heard, crossing, hold_out=hold_out)
        else:
            make_split(table, table.info, fold, 0, shots, seen, heard, crossing)


def _inner_stage(table: EmbeddingTable, text: _Text, base: Sequence[str], splits: Sequence[Split]) -> Stage:
    if len(base) < NESTED_CLASSES:
        raise InputError(
            f"{table.dataset} has {len(base)} base classes, too few to split again",
            where="selection: nested",
            fix=f"at least {NESTED_CLASSES} are needed; use selection: heldout",
        )
    inner_base, inner_new = halves(base)
    names = table.classnames
    train, base_rows, new_rows = [], [], []
    for split in splits:
        train.append(tuple(row for row in split.train if names[row] in inner_base))
        base_rows.append(tuple(row for row in split.heldout_base if names[row] in inner_base))
        # All clips of new' in the pool: the inner training sees none of them.
        pool = sorted({*split.train, *split.heldout_base} - split.shared)
        new_rows.append(tuple(row for row in pool if names[row] in inner_new))
    for kind, rows in (("base'", base_rows), ("new'", new_rows)):
        if not all(rows):
            raise InputError(f"no held-out clips of {kind}", where=f"{table.dataset}, selection: nested")
    measured = {
        "base": text.group(table, inner_base, base_rows, trained=True),
        "new": text.group(table, inner_new, new_rows),
    }
    return text.stage(table, inner_base, train, measured)


def _few_shot(table: EmbeddingTable, text: _Text, splits: Sequence[WholeSplit], selection: str) -> Plan:
    every = table.info.classnames
    test = {"accuracy": text.group(table, every, [split.test for split in splits], trained=True)}
    held_out = {"accuracy": text.group(table, every, [split.heldout for split in splits], trained=True)}
    measured = test if selection == "paper" else held_out
    stage = text.stage(table, every, [split.train for split in splits], measured)
    return Plan((stage,), test, {"accuracy": list(every)})


def _cross_dataset(
    table: EmbeddingTable,
    targets: Sequence[EmbeddingTable],
    text: _Text,
    pretraining: Pretraining,
    splits: Sequence[WholeSplit],
) -> Plan:
    info = table.info
    every = info.classnames
    # Targets must not influence what the source trains on or what its search is measured on.
    without = left_out(table, tuple(targets), pretraining)
    tested = {"source": text.group(table, every, [split.test for split in splits], trained=True)}
    for target in targets:
        other = target.info
        seen = frozenset(pretraining.folds.get(other.name, ()))
        clips = rows_of(target, other)
        unusable = heard_rows(target, pretraining) | contradictions(clips, other)
        unheard = [
            row
            for row, clip in enumerate(clips)
            if clip.roles.test and not clip.roles.test & seen and row not in unusable
        ]
        if not unheard:
            raise InputError("no test clips that the encoder has not seen", where=f"target {other.name}")
        rows = tuple(row for row in unheard if row not in without.get(other.name, ()))
        if not rows:
            raise InputError(
                f"all of its {len(unheard)} test clips are from recordings that the source {info.name} also contains",
                where=f"target {other.name}",
                fix="take a target with other clips",
            )
        tested[other.name] = text.group(target, other.classnames, [rows] * len(splits))
    measured = {"source": text.group(table, every, [split.heldout for split in splits], trained=True)}
    names = {"source": list(every)} | {target.dataset: list(target.info.classnames) for target in targets}
    stage = text.stage(table, every, [split.train for split in splits], measured)
    return Plan((stage,), tested, names)


@dataclass(frozen=True)
class _Text:
    """The tower and the wording, which turn names into prompts."""

    tower: TextTower
    wording: Wording

    def stage(
        self,
        table: EmbeddingTable,
        classes: Sequence[str],
        rows: Sequence[tuple[int, ...]],
        measured: Mapping[str, Group],
    ) -> Stage:
        return Stage(self.wording.names(classes), _labels(table, classes), tuple(rows), measured)

    def group(
        self,
        table: EmbeddingTable,
        classes: Sequence[str],
        rows: Sequence[tuple[int, ...]],
        trained: bool = False,
    ) -> Group:
        bank = self.wording.bank(self.tower, self.wording.names(classes))
        return Group(bank, table.embeddings, _labels(table, classes), rows, trained, table.groups)


def _labels(table: EmbeddingTable, classes: Sequence[str]) -> torch.Tensor:
    index = {name: position for position, name in enumerate(classes)}
    return torch.tensor([index.get(name, -1) for name in table.classnames])
