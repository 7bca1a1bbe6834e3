"""``sept data init``: from a CSV file and a folder of clips to the files and commands of a first sweep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from pipeline.cli.data import KindOption, TemplateOption
from pipeline.cli.options import DEFAULT_ROOT, ColumnsOption, RootOption, root_option
from sept_core.errors import InputError

__all__ = ["init"]

_FEW_CLASSES = 4
_SKIP_BAD = "--skip-bad"


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name for your dataset: letters, digits, '-' and '_'.")],
    csv: Annotated[
        Path, typer.Option("--csv", help="Its clips: columns path and classname; optional fold or split, and group.")
    ],
    audio: Annotated[str, typer.Option("--audio", metavar="DIR", help="The folder that the CSV's paths start from.")],
    columns: ColumnsOption = None,
    kind: KindOption = None,
    template: TemplateOption = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for NAME.yaml and NAME.neighbors.yaml; created if it is missing.")
    ] = Path("."),
    force: Annotated[
        bool, typer.Option("--force", help="Replace existing files, except neighbours that are filled in.")
    ] = False,
    root: RootOption = DEFAULT_ROOT,
) -> None:
    """Start with your own clips: check and prepare them, write a first sweep, and print the next commands."""
    from rich.console import Console

    from pipeline.cli.console import say
    from pipeline.cli.data import _bar, _read, folder_here, say_heard
    from pipeline.data.starter_files import StartFiles, fitting_shots, write_start
    from pipeline.store import check_writable
    from pipeline.text import plural
    from sept_core.datasets import check_manifest, halves

    folder = folder_here(audio, "init")
    console = Console()
    files = StartFiles.of(name, out)
    # Before every clip is decoded, which may take minutes.
    if not force:
        files.refuse_to_replace()
    check_writable(root)
    check_writable(out)
    prepared = _read(name, audio, csv, kind, template, root, columns=columns)
    info, clips = prepared.info, prepared.manifest.clips
    with _bar("Decoding clips") as progress:
        findings = check_manifest(prepared.manifest, folder, info, progress)
    for finding in findings.all:
        if finding.severity == "error" and _SKIP_BAD in finding.fix:
            # There are no clips to embed yet.
            finding = replace(finding, fix=f"replace these files, or remove their rows from {csv}")
        say(console, f"{finding.severity}: {finding.line}")
    if findings.errors:
        raise InputError(
            f"{plural(len(findings.errors), 'error')}, nothing was written",
            where=str(csv),
            fix="correct what is listed and run the command again",
        )
    base, new = halves(info.classnames)
    # Clips without sound are left out if the person asks for it.
    skip_bad = f" {_SKIP_BAD}" if any(_SKIP_BAD in line for line in findings.warnings) else ""
    steps = _steps(info.name, Path(audio), files.sweep, files.neighbors, root_option(root), skip_bad)
    written = write_start(root, prepared, files, steps, force=force)
    folds = plural(len(info.folds), "fold") if info.split == "kfold" else "one split"
    classes = f"{plural(len(info.classnames), 'class', 'classes')} ({len(base)} base, {len(new)} new)"
    say(console, f"{info.name}: {plural(len(clips), 'clip')} checked, {classes}, {folds}")
    say_heard(console, prepared, fitting_shots(prepared.manifest, info)[0])
    if len(info.classnames) < _FEW_CLASSES:
        say(console, "note: a single base or new class is always right, so its accuracy means nothing; add classes")
    if all(word.isdigit() for word in info.classnames):
        say(console, "note: the class names are numbers, and prompts are made of them; name the classes in words")
    if files.neighbors not in written:
        say(console, f"{files.neighbors} is filled in and was not changed")
    say(console, f"Wrote {' and '.join(map(str, written))}. Type next, in this order:\n")
    for step in steps:
        say(console, f"  {step}")
    say(console)
    say(console, f"To start without neighbours, leave out the second command and change methods in {files.sweep} as")
    say(console, "the comment there says.")


def _steps(name: str, audio: Path, sweep: Path, neighbors: Path, root: str, skip_bad: str) -> list[str]:
    """The commands that lead to a table of results."""
    from pipeline.data.starter_files import ENCODER, TERMS

    file = _word(sweep)
    return [
        f"sept embed {name} --audio {_word(audio)} --encoder {ENCODER}{skip_bad}{root}",
        f"sept neighbors {name} --from {_word(neighbors)}{root}    # once filled in: {TERMS} terms a class",
        f"sept sweep plan {file}{root}",
        f"sept sweep launch {file}{root}",
        f"sept report {name}{root}",
    ]


def _word(path: Path) -> str:
    """A path as one word of a command line, never an option."""
    return quote(f"./{path}" if str(path).startswith("-") else str(path))
