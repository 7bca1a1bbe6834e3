"""``sept neighbors NAME --from FILE``: neighbours that a person wrote, checked and stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import typer

from sept_core.datasets import DATASETS, DatasetInfo, halves, prompt_name
from sept_core.errors import InputError

__all__ = ["take"]


def take(info: DatasetInfo, file: Path, out: Path | None, root: str, *, force: bool, as_json: bool) -> None:
    """Check a file of neighbours and store it where sweeps look for it, or in ``out``.

    Raises:
        InputError: The file cannot be used, with each problem shown; or there are other neighbours already.
    """
    from rich.console import Console

    from pipeline.cli.showing import plural, say
    from pipeline.neighbors.by_hand import read_by_hand
    from pipeline.prepared import neighbors_key
    from pipeline.store import LocalFiles, local_folder, open_files
    from sept_core.semantic.neighbors import read_neighbors

    neighbors, problems = read_by_hand(file, info)
    if problems:
        console = Console(stderr=True)
        for problem in problems:
            say(console, f"{file}: {problem}")
        raise InputError(
            f"{plural(len(problems), 'problem')}, nothing was stored",
            where=str(file),
            mend="correct what is listed and type the command again",
        )
    files, key = open_files(root), neighbors_key(info.name)
    if out is not None or info.name in DATASETS:
        target = (out or local_folder(root) / "neighbors" / f"{info.name.lower()}.json").absolute()
        files, key = LocalFiles(target.parent), target.name
    where = files.address(key)
    try:
        same = read_neighbors(files.read(key), info.name, where).digest == neighbors.digest
    except FileNotFoundError:
        same = True
    except InputError:
        same = False
    if not same and not force:
        raise InputError(
            f"other neighbours of {info.name} are stored already",
            where=where,
            mend="replace them with --force; a sweep that began with them then needs another name",
        )
    origin = {"note": f"Written by a person, taken from {file.name}.", "date": datetime.now(UTC).date().isoformat()}
    document = {"dataset": info.name, "origin": origin | dict(neighbors.origin), "neighbors": neighbors.by_class}
    files.write(key, (json.dumps(document, indent=2) + "\n").encode("ascii"))
    base, new = (min(len(neighbors.by_class[prompt_name(name)]) for name in names) for names in halves(info.classnames))
    if as_json:
        typer.echo(json.dumps({"dataset": info.name, "path": where, "fewest_base": base, "fewest_new": new}, indent=1))
        return
    console = Console()
    say(console, f"{info.name}: neighbours of {plural(len(neighbors.by_class), 'class', 'classes')}, {where}")
    say(console, f"Every base class has at least {base}, every new class {new}: n_neighbors can be up to {base}")
    if new < base:
        say(console, f"({new} in cross-dataset, where new classes are trained on too).")
    if out is not None or info.name in DATASETS:
        say(console, "A sweep takes them with this line in its YAML:")
        say(console, f"  neighbors: {{{info.name}: {where}}}")
    else:
        say(console, f"Sweeps on {info.name} take them from there.")
