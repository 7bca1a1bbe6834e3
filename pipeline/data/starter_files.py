"""The files to start from with an own data set: a file of neighbours to fill in, and a first sweep.

    birds.neighbors.yaml    an empty list for each base class, with what a good neighbour is and the rules
    birds.yaml              a small sweep of CoOp with and without SEPT, the commonest changes, and the next commands

Both are meant to be read and edited. They are written together with the manifest: all of them or none.
"""

from __future__ import annotations

import os
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

import yaml

from pipeline.data.prepared import Prepared, read_prepared, write_prepared
from pipeline.spec.yaml_text import compose, construct
from sept_core.datasets import DatasetInfo, Manifest, halves
from sept_core.datasets.folds import roles_of
from sept_core.datasets.pretraining import ManifestClips, heard_rows, load_pretraining
from sept_core.errors import InputError
from sept_core.semantic.neighbors import MAX_NEIGHBOR_LENGTH

__all__ = ["ENCODER", "TERMS", "StartFiles", "fitting_shots", "write_start"]

TERMS = 5
"""How many neighbours per class to write, and the most that the sweep tries: SEPT's default number."""

ENCODER = "mini"
"""The encoder of the sweep: the one that ships with the package."""

_MOST_SHOTS = 16
_WIDTH = 116

_NEIGHBORS = Template("""\
# Neighbours of the classes of $dataset, which SEPT (coop+sept) needs. Fill in the brackets, then type
#
#   $store
#
# A neighbour is a short term for what one hears: what makes the sound, a kind of it, or other words for it. For
# example, for the class 'dog bark':
#
#   dog bark: [puppy yapping, hound baying, canine growl, watchdog woofing, kennel noise]
#
# - Write the best first: a trial takes the first N of each list, and $sweep searches N from 1 to $terms.
# - A term is not a sentence (at most $longest characters), and appears only once in the whole file.
# - It is not the name of its class, and does not contain the name of another class below: that would pull the class
#   towards its rival. Next to a class 'siren', 'dog howling at a siren' is not a neighbour of 'dog bark'.
# - Only base classes are listed: base-to-new trains on nothing else, and should know nothing of the new classes. So
#   write as if you did not know these. A term may happen to name one; results report how many do.
# - Quote a term that contains one of , : # [ ]: "drum, small".
#
# The command names each line that breaks a rule, and each class without a list. A language model can write them
# instead: see sept neighbors --help. Cross-dataset trains on all classes and needs lists of all: --for cross-dataset.
dataset: $name
# Which classes you had in mind: base, or all if you considered new classes too (results then say so).
written_from: base
neighbors:    # at least $terms terms each
$base
""")

_SWEEP = Template("""\
# A first sweep on $dataset: zero-shot, CoOp, and CoOp + SEPT, with the small encoder that ships with the package.
# Type in this order, in the folder where you typed sept data init:
#
$commands
#
# The budget is small, for a first table in minutes. The commonest changes follow. These two extend the same search:
#
#   trials: 20
#   methods: [zero-shot, coop, coop+sept, kgcoop, kgcoop+sept]    # also cocoop and dept, with or without +sept
#
# These need a new search, under another `name`:
#
#   seeds: [0, 1, 2]
#   training: {epochs: 50, report_every: 10, batch_size: 16}
#   selection: strict        # one search per test fold, which never sees its test clips
#   selection: nested        # clips of new classes do not choose either; needs 4 base classes
#   encoder: msclap-2023     # embed with it first: sept embed $dataset --audio DIR --encoder msclap-2023
#
$base
$new
name: $name
encoder: $encoder
protocol: base-to-new      # trains on the base classes, tests on these and on the new ones
selection: heldout         # each test fold's configuration is chosen on held-out clips of the other folds
datasets: [$name]
# coop+sept needs neighbours. To start without them, comment out the next two lines and uncomment the third; add
# coop+sept later and launch again: finished trials are not repeated.
methods: [zero-shot, coop, coop+sept]
spaces: {sept: {n_neighbors: {low: 1, high: $terms}}}    # every base class needs this many neighbours
# methods: [zero-shot, coop]
trials: 6                  # per study; zero-shot has nothing to search and has one
parallel: 2                # trials of one study at a time
shots: $shots                # training clips per base class; the smallest class has $fewest outside a test fold$but
seeds: [0]
folds: all                 # $folds
training: {epochs: 10, report_every: 5, batch_size: 16}
sampler: {name: tpe, n_startup_trials: 4, multivariate: true, group: false, constant_liar: true, seed: 0}
pruner: {name: median, n_startup_trials: 3, n_warmup_epochs: 5}
resources: {workers: auto, cpus_per_trial: 1, gpus_per_trial: 0}
""")


@dataclass(frozen=True)
class StartFiles:
    """The files to start from.

    Args:
        sweep: The sweep's YAML.
        neighbors: The file of neighbours to fill in.
    """

    sweep: Path
    neighbors: Path

    @classmethod
    def of(cls, name: str, folder: Path) -> StartFiles:
        """Those of the data set ``name`` in ``folder``."""
        return cls(folder / f"{name}.yaml", folder / f"{name}.neighbors.yaml")

    def refuse_to_replace(self) -> None:
        """Raises InputError where one of them exists."""
        there = [str(path) for path in (self.sweep, self.neighbors) if path.exists()]
        if there:
            raise InputError(
                f"{' and '.join(there)} exist{'s' * (len(there) == 1)}",
                fix="write elsewhere with --out, or replace with --force (neighbours that are filled in stay)",
            )


def write_start(
    root: str, prepared: Prepared, files: StartFiles, commands: Sequence[str], *, force: bool
) -> list[Path]:
    """Store the manifest under the results folder and write the files to start from: all three or none.

    Args:
        root: Results folder.
        prepared: The data set, checked.
        files: Where to write them; a missing folder is created.
        commands: The next commands, one per line.
        force: Whether to replace existing files, except neighbours that a person has filled in.

    Returns:
        The files written.

    Raises:
        InputError: A file exists already, or cannot be written.
    """
    info = prepared.info
    if not force:
        files.refuse_to_replace()
        _refuse_other_clips(root, prepared)
    texts = {files.sweep: sweep_text(info, prepared.manifest, commands)}
    if not _filled_in(files.neighbors):
        texts[files.neighbors] = neighbors_text(info, files, commands)
    try:
        files.sweep.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=files.sweep.parent, prefix=".sept-") as folder:
            for path, text in texts.items():
                Path(folder, path.name).write_text(text, encoding="utf-8", newline="\n")
            write_prepared(root, prepared)
            for path in texts:
                os.replace(Path(folder, path.name), path)
    except OSError as error:
        raise InputError(
            f"cannot be written to ({error.strerror or error})",
            where=str(files.sweep.parent),
            fix="give another folder with --out",
        ) from error
    return list(texts)


def fitting_shots(manifest: Manifest, info: DatasetInfo) -> tuple[int, int]:
    """Shots that leave at least half of every class's training clips held out, at most 16.

    Clips that `ENCODER` was trained on are not counted, since trials do not use them.

    Returns:
        The shots, and the size of the smallest class outside a test fold.
    """
    heard = _heard(manifest, info)
    clips = [clip for row, clip in enumerate(manifest.clips) if row not in heard]
    fewest = len(clips)
    for fold in info.folds:
        pool = Counter(clip.classname for clip in clips if fold in roles_of(clip.fold, info).train)
        fewest = min(fewest, *(pool[name] for name in info.classnames))
    return max(1, min(_MOST_SHOTS, fewest // 2)), fewest


def neighbors_text(info: DatasetInfo, files: StartFiles, commands: Sequence[str]) -> str:
    """The file of neighbours, with an empty list for each base class."""
    base = "\n".join(f"  {_scalar(name)}: []" for name in halves(info.classnames)[0])
    store = next(command for command in commands if command.startswith("sept neighbors "))
    return _NEIGHBORS.substitute(
        dataset=info.name,
        name=_scalar(info.name),
        sweep=files.sweep.name,
        terms=TERMS,
        longest=MAX_NEIGHBOR_LENGTH,
        store=store.split(" #")[0].rstrip(),
        base=base,
    )


def sweep_text(info: DatasetInfo, manifest: Manifest, commands: Sequence[str]) -> str:
    """The sweep's YAML."""
    base, new = (", ".join(names) for names in halves(info.classnames))
    shots, fewest = fitting_shots(manifest, info)
    not_counted = f"{' ' * 27}# (clips that {ENCODER} was trained on do not count)"
    fixed = "the one test set that column split names"
    each = f"of {', '.join(info.folds)}: each that `{ENCODER}` was not trained on is the test fold once"
    return _SWEEP.substitute(
        dataset=info.name,
        name=_scalar(info.name),
        commands="\n".join(f"#   {command}" for command in commands),
        base=_wrapped(f"Base classes: {base}."),
        new=_wrapped(f"New classes: {new}."),
        shots=f"{shots:<4}",
        fewest=fewest,
        but=f"\n{not_counted}" if _heard(manifest, info) else "",
        encoder=ENCODER,
        folds=fixed if info.split == "fixed" else each,
        terms=TERMS,
    )


def _heard(manifest: Manifest, info: DatasetInfo) -> frozenset[int]:
    """Clips that `ENCODER` was trained on; its training folds do not count, as they are of registered data sets."""
    return heard_rows(ManifestClips(manifest, info), load_pretraining(ENCODER))


def _filled_in(file: Path) -> bool:
    """Whether a file of neighbours has more than empty lists; an unreadable one counts as a person's work."""
    try:
        return any(construct(compose(file.read_text(encoding="utf-8")))["neighbors"].values())
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return True


def _refuse_other_clips(root: str, prepared: Prepared) -> None:
    """Refuse a data set with the name of another one, which may have results already."""
    kept = read_prepared(root, prepared.info.name)
    if kept is not None and (kept.info, kept.manifest) != (prepared.info, prepared.manifest):
        raise InputError(
            f"{prepared.info.name} is prepared already, from other clips or with another description",
            where=root,
            fix="give this one another name, or replace it with --force",
        )


def _scalar(word: str) -> str:
    """A word as YAML reads it back: ``1`` and ``no`` in quotes."""
    return yaml.safe_dump([word], default_flow_style=True, allow_unicode=True, width=100_000).strip()[1:-1]


def _wrapped(text: str) -> str:
    return "\n".join(
        f"# {line}" for line in textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    )
