"""``sept data``: the datasets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from pipeline.cli.options import DEFAULT_ROOT, JsonOption, RootOption

__all__ = ["app"]

app = typer.Typer(help="See the datasets and what is there of each.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Keeps ``list`` a command of its own group, though it is the only one."""


@app.command("list")
def list_datasets(root: RootOption = DEFAULT_ROOT, as_json: JsonOption = False) -> None:
    """List the datasets: classes, folds, and whether neighbours and embeddings are there."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from pipeline.cli.showing import say

    rows = list(_datasets(root))
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("dataset", "kind", "classes", "base/new", "folds", "neighbours", "embeddings"):
        table.add_column(name, justify="right" if name in ("classes", "base/new", "folds") else "left", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row["dataset"]),
            str(row["kind"]),
            str(row["classes"]),
            f"{row['base']}/{row['new']}",
            str(len(row["folds"])),
            "yes" if row["neighbors"] else "-",
            ", ".join(row["embeddings"]) or "-",
        )
    console = Console()
    console.print(table)
    say(console)
    say(console, "Embeddings are made with: sept embed DATASET --audio DIR --encoder mini")


def _datasets(root: Path) -> Iterator[dict[str, Any]]:
    from sept_core.datasets import DATASETS, halves
    from sept_core.errors import InputError
    from sept_core.semantic.neighbors import load_neighbors

    embedded = _embedded(root)
    for info in DATASETS.values():
        try:
            load_neighbors(info.name)
            neighbors = True
        except InputError:
            neighbors = False
        base, new = halves(info.classnames)
        yield {
            "dataset": info.name,
            "kind": info.kind,
            "classes": len(info.classnames),
            "base": len(base),
            "new": len(new),
            "folds": list(info.folds),
            "benchmark": not info.extra,
            "neighbors": neighbors,
            "embeddings": embedded.get(info.name, []),
        }


def _embedded(root: Path) -> dict[str, list[str]]:
    """Dataset -> encoders that it is embedded with, here or in what ships."""
    from pipeline.store import EmbeddingStore
    from pipeline.store.embeddings import BUNDLED

    found: dict[str, list[str]] = {}
    for where, note in ((root, ""), (BUNDLED, " (bundled)")):
        store = EmbeddingStore(where)
        for key in store.files.list("embeddings"):
            parts = key.split("/")
            if len(parts) == 4 and parts[3] == "manifest.json":
                manifest = store.manifest(parts[1], parts[2])
                if manifest is not None:
                    found.setdefault(parts[2], []).append(f"{manifest['encoder']}{note}")
    return found
