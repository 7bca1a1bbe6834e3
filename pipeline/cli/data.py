"""``sept data``: lists, downloads, prepares and checks datasets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.errors import EXIT_INPUT
from pipeline.cli.group import Group
from pipeline.cli.options import DEFAULT_ROOT, ColumnsOption, JsonOption, RootOption, root_option
from sept_core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.data.prepared import Prepared
    from sept_core.datasets import DatasetInfo, Finding

__all__ = ["app", "folder_here", "say_heard"]

# Neighbours of the base classes serve base-to-new, those of all classes cross-dataset.
_LISTS = {"base": "neighbors", "all": "neighbors_all"}

app = typer.Typer(
    cls=Group, help="List, download, prepare and check datasets, your own included.", no_args_is_help=True
)

DatasetArgument = Annotated[str, typer.Argument(help="Name of the dataset; sept data list shows them.")]
# A text, not a path: a path would reduce the two slashes in s3:// to one.
AudioOption = Annotated[
    str,
    typer.Option(
        "--audio",
        metavar="PLACE",
        help="Folder, zip, or s3:// address of either: PALM's copy, or as its authors publish it; with a CSV, where "
        "its paths start.",
    ),
]
CsvOption = Annotated[
    Path | None,
    typer.Option("--csv", help="A dataset of your own: columns path and classname; optional fold or split, and group."),
]
KindOption = Annotated[
    str | None,
    typer.Option(
        "--kind",
        help="Kind of the classes in a CSV: events (the default), instruments, emotion, scenes, music, vocal, speech.",
    ),
]
TemplateOption = Annotated[
    str | None,
    typer.Option("--template", help="Zero-shot template for a CSV, with one {}; by default a general one."),
]


@app.command("list")
def list_datasets(root: RootOption = DEFAULT_ROOT, as_json: JsonOption = False) -> None:
    """List the datasets, including your own: classes, folds, and whether they have neighbours and embeddings."""
    from pipeline.cli.console import plain_table, say, wide_console
    from pipeline.cli.data_list import dataset_rows

    rows = list(dataset_rows(root))
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = plain_table()
    for name in ("dataset", "kind", "classes", "base/new", "folds", "neighbors", "embeddings"):
        numbers = name in ("classes", "base/new", "folds")
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(
            str(row["dataset"]),
            str(row["kind"]),
            str(row["classes"]),
            f"{row['base']}/{row['new']}",
            str(len(row["folds"])),
            " + ".join(kind for kind, key in _LISTS.items() if row[key]) or "-",
            ", ".join(row["embeddings"]) or "-",
        )
    console = wide_console()
    console.print(table)
    say(console)
    say(console, "Make embeddings with: sept embed DATASET --audio DIR --encoder mini")


@app.command()
def download(
    dataset: DatasetArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder to put it in.")],
    revision: Annotated[str, typer.Option("--revision", help="Branch, tag or commit of the copy.")] = "main",
) -> None:
    """Download PALM's copy of a dataset from the Hugging Face hub; after an interruption the same command resumes."""
    from rich.console import Console

    from pipeline.cli.console import say
    from pipeline.data.download import download as run
    from pipeline.text import plural

    console = Console()
    with _bar("Downloading", in_bytes=True) as progress:
        summary = run(dataset, out, revision, progress)
    files = f"{plural(summary.files, 'file')} ({summary.size / 1e6:.0f} MB) of commit {summary.revision[:12]}"
    packed = f", {plural(summary.unpacked, 'file')} unpacked" if summary.unpacked else ""
    say(console, f"{summary.dataset}: {files}{packed}" + ("" if summary.made else "; all of it was there already"))
    say(console, f"Check it with: sept data check {summary.dataset} --audio {summary.where}")


@app.command()
def prepare(
    dataset: DatasetArgument,
    audio: AudioOption,
    csv: CsvOption = None,
    kind: KindOption = None,
    template: TemplateOption = None,
    columns: ColumnsOption = None,
    root: RootOption = DEFAULT_ROOT,
) -> None:
    """Read a folder into a manifest, refuse what would falsify results, and store it; needed for your own dataset."""
    from rich.console import Console

    from pipeline.cli.console import say
    from pipeline.data.prepared import write_prepared
    from pipeline.text import plural
    from sept_core.datasets import check_manifest

    console = Console()
    prepared = _read(dataset, audio, csv, kind, template, root, columns=columns)
    info, clips = prepared.info, prepared.manifest.clips
    findings = check_manifest(prepared.manifest, None, info)
    for finding in findings.all:
        if finding.severity != "error":
            say(console, f"{finding.severity}: {finding.line}")
    findings.refuse(info.name)
    where = write_prepared(root, prepared)
    folds = plural(len(info.folds), "fold") if info.split == "kfold" else "one split"
    say(
        console,
        f"{info.name}: {plural(len(clips), 'clip')}, {plural(len(info.classnames), 'class', 'classes')}, {folds}",
    )
    say_heard(console, prepared, shots=16)
    say(console, where)
    say(console, f"Embed it with: sept embed {info.name} --audio {quote(audio)}{root_option(root)}")


def say_heard(console: Console, prepared: Prepared, shots: int) -> None:
    """Print which clips the default encoder was trained on.

    Args:
        console: Where to print it.
        prepared: The data set.
        shots: Number of training clips per class.
    """
    from pipeline.cli.console import say
    from pipeline.data.starter_files import ENCODER
    from sept_core.datasets.pretraining import ManifestClips, heard_line, load_pretraining, short_classes

    pretraining = load_pretraining(ENCODER)
    clips = ManifestClips(prepared.manifest, prepared.info)
    line = heard_line(clips, ENCODER, pretraining)
    if not line:
        return
    say(console, line)
    seen = pretraining.folds.get(prepared.info.name, ())
    folds = [fold for fold in prepared.info.folds if fold not in seen]
    for few in short_classes(clips, folds, shots, ENCODER, pretraining):
        say(console, f"warning: {few}")


@app.command()
def check(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DATASET]...", help="Name of the dataset; with --store, any number of names."),
    ] = None,
    audio: Annotated[str | None, typer.Option("--audio", metavar="DIR", help="Its folder; as for prepare.")] = None,
    csv: CsvOption = None,
    kind: KindOption = None,
    template: TemplateOption = None,
    columns: ColumnsOption = None,
    store: Annotated[
        bool,
        typer.Option("--store", help="Check the embeddings under the root instead; by default those of all datasets."),
    ] = False,
    fingerprint: Annotated[
        str | None, typer.Option("--encoder-fingerprint", help="With --store: only embeddings by this encoder.")
    ] = None,
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Read and decode every clip, or verify embeddings, and report problems; exit code 2 if results would suffer."""
    named = datasets or []
    if store:
        from pipeline.cli.stores import check_stores

        given = {"--audio": audio, "--csv": csv, "--kind": kind, "--template": template, "--columns": columns}
        if useless := [option for option, value in given.items() if value is not None]:
            raise InputError("has no meaning with --store", where=useless[0], fix="leave one of them out")
        return check_stores(root, named, fingerprint, as_json)
    if fingerprint is not None:
        raise InputError("has no meaning without --store", where="--encoder-fingerprint", fix="add --store")
    if len(named) != 1 or audio is None:
        raise InputError(
            "only one dataset can be checked at a time, in its folder", fix="sept data check DATASET --audio DIR"
        )
    return _check_clips(named[0], audio, csv, kind, template, columns, root, as_json)


def _check_clips(
    dataset: str,
    audio: str,
    csv: Path | None,
    kind: str | None,
    template: str | None,
    columns: str | None,
    root: str,
    as_json: bool,
) -> None:
    from rich.console import Console

    from pipeline.cli.console import say
    from pipeline.text import plural
    from sept_core.datasets import Findings, check_manifest

    folder = folder_here(audio, "check")
    console = Console()
    # The files of an own dataset are compared below, so that all problems are reported and not only the first.
    prepared = _read(dataset, audio, csv, kind, template, root, columns=columns, compare=False)
    with _bar("Decoding clips") as progress:
        findings = check_manifest(prepared.manifest, folder, prepared.info, progress)
    findings = Findings((*findings.all, *_neighbor_notes(root, prepared.info)))
    name, clips = prepared.info.name, len(prepared.manifest.clips)
    if as_json:
        found = {"dataset": name, "clips": clips}
        found |= {"errors": findings.errors, "warnings": findings.warnings, "notes": findings.notes}
        typer.echo(json.dumps(found, indent=1))
    else:
        for finding in findings.all:
            say(console, f"{finding.severity}: {finding.line}")
        errors, warnings = plural(len(findings.errors), "error"), plural(len(findings.warnings), "warning")
        say(console, f"{name}: {plural(clips, 'clip')} checked, {errors}, {warnings}")
    if findings.errors:
        raise typer.Exit(EXIT_INPUT)


def _neighbor_notes(root: str, info: DatasetInfo) -> list[Finding]:
    """What the neighbours for base-to-new reveal about new classes; empty if there are no neighbours."""
    from pipeline.data.prepared import find_neighbors
    from sept_core.datasets import Finding
    from sept_core.semantic import knowledge_warnings, naming_untrained
    from sept_core.semantic.new_class_names import described_naming

    try:
        neighbors = find_neighbors(root, info)
    except InputError:
        return []
    notes = [Finding("note", line) for line in knowledge_warnings(neighbors, info, "base-to-new")]
    if naming := naming_untrained(neighbors, info, "base-to-new"):
        notes.append(Finding("note", f"neighbours that name a new class: {described_naming(naming)}"))
    return notes


def folder_here(audio: str, command: str) -> Path:
    """The folder for a command that decodes every clip in place.

    Raises:
        InputError: This is an address or an archive.
    """
    if "://" in audio or Path(audio).is_file():
        how = "aws s3 sync" if "://" in audio else "unzip"
        fix = f"copy it here first ({how} {quote(audio)}), or let sept embed read it there: it reports unusable clips"
        raise InputError(f"{command} reads every clip from a folder on this machine", where=audio, fix=fix)
    return Path(audio).expanduser()


def _read(
    dataset: str,
    audio: str,
    csv: Path | None,
    kind: str | None,
    template: str | None,
    root: str,
    *,
    columns: str | None = None,
    compare: bool = True,
) -> Prepared:
    """A data set from its folder, or from an own CSV file."""
    from pipeline.data.audio.open import open_audio
    from pipeline.data.prepared import Prepared, find_manifest
    from sept_core.datasets import read_csv_dataset
    from sept_core.datasets.own_table import read_columns

    given: dict[str, Any] = {"kind": kind, "template": template, "columns": columns and read_columns(columns)}
    described = {option: value for option, value in given.items() if value is not None}
    if described and csv is None:
        fix = "give that file with --csv, or leave it out"
        raise InputError("describes a CSV file", where=f"--{next(iter(described))}", fix=fix)
    with _bar("Reading clips") as progress:
        if csv is None:
            return find_manifest(dataset, audio, root, progress, compare=compare)
        source = open_audio(audio)
        with source.tree() as folder:
            digests = source.digests_in(folder, progress)
            return Prepared(*read_csv_dataset(csv, folder, name=dataset, digests=digests, **described))


@contextmanager
def _bar(title: str, in_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal; on stderr, so that the output can be piped."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
