"""What a person starts from with a data set of their own: a file of neighbours to fill in, and a first sweep.

    birds.neighbors.yaml    an empty list for each base class, with what a good neighbour is and the rules
    birds.yaml              a small sweep of CoOp with and without SEPT, the commonest changes, and what to type next

Both are for a person to read and edit. They are written together with the manifest: all of it or nothing.
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
from sept_core.datasets.heard import ManifestClips, heard_rows, load_pretraining
from sept_core.errors import InputError
from sept_core.semantic.neighbors import MAX_NEIGHBOR_LENGTH

__all__ = ["ENCODER", "TERMS", "StartFiles", "fitting_shots", "write_start"]

TERMS = 5
"""Neighbours per class that the sweep searches up to, and so those to write: SEPT's default number."""

ENCODER = "mini"
"""The encoder of the sweep that is written: the one that comes with the package."""

_MOST_SHOTS = 16
_WIDTH = 116

_NEIGHBORS = Template("""\
# Neighbours of the classes of $dataset, which SEPT (coop+sept) needs. Fill in the brackets, then type
#
#   $store
#
# A neighbour is a short term for what is heard when the class sounds: what makes the sound, a kind of it, or
# other words for it. For the class 'dog bark', for instance:
#
#   dog bark: [puppy yapping, hound baying, canine growl, watchdog woofing, kennel noise]
#
# - Write the best first: a trial takes the first N of each list, and $sweep searches N from 1 to $terms.
# - A term is no sentence (at most $longest characters), and is there once in the whole file.
# - It is not the name of its class, and does not hold the name of another class below: that would pull the class
#   towards its rival. Beside a class 'siren', 'dog howling at a siren' is no neighbour of 'dog bark'.
# - Only base classes are below: base-to-new trains on nothing else, and should know nothing of the new classes. So
#   write as if you did not know these. A term may happen to name one; results say how many do.
# - Put a term with one of , : # [ ] in it into quotes: "drum, small".
#
# The command names each line that breaks a rule, and each class that has no list. A language model can be asked
# instead: see sept neighbors --help. Cross-dataset trains on all classes and takes lists of all: --for cross-dataset.
dataset: $name
# Which classes you had in mind: base, or all where new classes had a say (results then say so).
written_from: base
neighbors:    # at least $terms terms each
$base
""")

_SWEEP = Template("""\
# A first sweep on $dataset: zero-shot, CoOp, and CoOp + SEPT, with the small encoder that ships. Type in this order,
# where you typed sept data init:
#
$commands
#
# The budget is small, for a first table in minutes. The commonest changes; these two continue the same search:
#
#   trials: 20
#   methods: [zero-shot, coop, coop+sept, kgcoop, kgcoop+sept]    # also cocoop and dept, with or without +sept
#
# and these make another one, under another `name`:
#
#   seeds: [0, 1, 2]
#   training: {epochs: 50, report_every: 10, batch_size: 16}
#   selection: strict        # a search for each test fold, none of which sees its test clips
#   selection: nested        # not even clips of new classes choose; needs 4 base classes
#   encoder: msclap-2023     # embed with it first: sept embed $dataset --audio DIR --encoder msclap-2023
#
$base
$new
name: $name
encoder: $encoder
protocol: base-to-new      # trained on the base classes, tested on these and on the new ones
selection: heldout         # each test fold's configuration is chosen on held-out clips of the other folds
datasets: [$name]
# coop+sept needs neighbours. To start without them, put # in front of the next two lines and take it from the third;
# add coop+sept later and launch again: what is done stays done.
methods: [zero-shot, coop, coop+sept]
spaces: {sept: {n_neighbors: {low: 1, high: $terms}}}    # so many neighbours every base class has to have
# methods: [zero-shot, coop]
trials: 6                  # of each study; zero-shot has nothing to search and has one
parallel: 2                # trials of one study at a time
shots: $shots                # training clips per base class; the smallest class has $fewest outside of a test fold$but
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
    """Keep the manifest under the results folder and write the files to start from: all three or none.

    Args:
        root: Results folder.
        prepared: The data set, checked.
        files: Where to; the folder is made where it is missing.
        commands: What to type next, a line each.
        force: Replace what is there, except neighbours that a person has filled in.

    Returns:
        The files written.

    Raises:
        InputError: Something is there already, or cannot be written.
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
    """Shots that leave at least half of every class's training clips held out, at most 16; and how many it has.

    Clips that `ENCODER` was trained on are not counted, for trials do not use them.

    Returns:
        The shots, and the fewest clips that a class has outside of a test fold.
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
    not_counted = f"{' ' * 27}# (those that {ENCODER} heard in its training do not count)"
    fixed = "the one test set that column split names"
    each = f"of {', '.join(info.folds)}: each that `{ENCODER}` has not heard in its training is the test fold once"
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
    """Clips that `ENCODER` was trained on; none of its folds, which are of registered data sets."""
    return heard_rows(ManifestClips(manifest, info), load_pretraining(ENCODER))


def _filled_in(file: Path) -> bool:
    """Whether a file of neighbours holds more than empty lists; one that cannot be read counts as a person's work."""
    try:
        return any(construct(compose(file.read_text(encoding="utf-8")))["neighbors"].values())
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return True


def _refuse_other_clips(root: str, prepared: Prepared) -> None:
    """A data set of this name with other clips may have results already."""
    kept = read_prepared(root, prepared.info.name)
    if kept is not None and (kept.info, kept.manifest) != (prepared.info, prepared.manifest):
        raise InputError(
            f"{prepared.info.name} is prepared already, from other clips or with other words",
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
