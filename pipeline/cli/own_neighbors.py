"""``sept neighbors NAME --from FILE``: neighbours that a person wrote, checked and stored."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import typer

from sept_core.datasets import DATASETS, DatasetInfo, trained_classes
from sept_core.errors import InputError
from sept_core.protocol_facts import protocol_of

__all__ = ["take"]


def take(
    info: DatasetInfo, protocol: str, file: Path, out: Path | None, root: str, *, force: bool, as_json: bool
) -> None:
    """Check the lists of the classes that a protocol trains on, and store them where its sweeps look, or in ``out``.

    Other lists in the file, of new classes, are neither checked nor stored.

    Raises:
        InputError: The file cannot be used (each problem is shown), or there are other neighbours already.
    """
    from rich.console import Console

    from pipeline.cli.console import say
    from pipeline.data.prepared import neighbors_key, packaged_key
    from pipeline.neighbors.by_hand import read_by_hand
    from pipeline.store import LocalFiles, local_folder, open_files
    from pipeline.text import plural
    from sept_core.semantic.neighbor_files import read_neighbors
    from sept_core.semantic.new_class_names import knowledge_warnings

    trained = trained_classes(info.classnames, protocol)
    neighbors, problems = read_by_hand(file, info, trained)
    if problems:
        console = Console(stderr=True)
        for problem in problems:
            say(console, f"{file}: {problem}")
        raise InputError(
            f"{plural(len(problems), 'problem')}, nothing was stored",
            where=str(file),
            fix="correct what is listed and run the command again",
        )
    files, key = open_files(root), neighbors_key(info.name, protocol)
    if out is not None or info.name in DATASETS:
        kept = local_folder(root) / packaged_key(info.name, protocol)
        target = (out or kept).absolute()
        files, key = LocalFiles(target.parent), target.name
    where = files.address(key)
    try:
        there = read_neighbors(files.read(key), info.name, where)
        same = (there.digest, there.known) == (neighbors.digest, neighbors.known)
    except FileNotFoundError:
        same = True
    except InputError:
        same = False
    if not same and not force:
        raise InputError(
            f"other neighbours of {info.name} are stored already",
            where=where,
            fix="replace them with --force; a sweep that began with them then needs another name",
        )
    origin = {"note": f"Written by a person, taken from {file.name}.", "date": datetime.now(UTC).date().isoformat()}
    stored = replace(neighbors, origin=origin | dict(neighbors.origin))
    files.write(key, (json.dumps(stored.to_json(), indent=2) + "\n").encode("ascii"))
    fewest = min(map(len, neighbors.by_class.values()))
    notes = knowledge_warnings(neighbors, info, protocol)
    if as_json:
        said = {"dataset": info.name, "for": protocol, "path": where, "fewest": fewest, "warnings": list(notes)}
        typer.echo(json.dumps(said, indent=1))
        return
    console = Console()
    which = "class" if protocol_of(protocol).all_classes else "base class"
    say(console, f"{info.name}: neighbours of {plural(len(trained), which, which + 'es')} for {protocol}, {where}")
    say(console, f"Each has at least {fewest}: n_neighbors can be up to {fewest}")
    for line in notes:
        say(console, f"warning: {line}")
    if out is not None or info.name in DATASETS:
        say(console, "A sweep uses them with this line in its YAML:")
        say(console, f"  neighbors: {{{info.name}: {where}}}")
    else:
        say(console, f"Sweeps on {info.name} use them from there.")
