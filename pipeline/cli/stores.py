"""``sept data check --store``: the embeddings under a root, one line each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from pipeline.cli.errors import EXIT_INPUT
from sept_core.errors import InputError

if TYPE_CHECKING:
    from pipeline.embed.check import StoreFindings

__all__ = ["check_stores"]


def check_stores(root: str, datasets: Sequence[str], fingerprint: str | None, as_json: bool) -> None:
    """Check embeddings and print the findings.

    Args:
        root: The results folder or bucket.
        datasets: Names of data sets; empty for all.
        fingerprint: The encoder's; None for all.
        as_json: Whether to print a list of ``StoreFindings`` instead of a table.

    Raises:
        InputError: There are no such embeddings.
        typer.Exit: Something is wrong with them.
    """
    from pipeline.embed.check import check_embeddings, stored_embeddings
    from pipeline.store import open_files
    from sept_core.datasets.registry import DATASETS, dataset_key
    from sept_core.suggestions import nearest

    files = open_files(root)
    stored = [one for one in stored_embeddings(files) if fingerprint in (None, one[0])]
    by = f" by encoder fingerprint {fingerprint}" if fingerprint is not None else ""
    for name in datasets:
        if dataset_key(name) not in {dataset_key(dataset) for _, dataset in stored}:
            known = [*(dataset for _, dataset in stored), *DATASETS]
            meant = name if dataset_key(name) in map(dataset_key, known) else nearest(name, known) or name
            hint = f"did you mean '{meant}'? " if meant != name else ""
            fix = f"{hint}make them: sept embed {meant} --audio DIR"
            raise InputError(f"no embeddings of {name}{by}", where=root, fix=fix)
    wanted = {dataset_key(name) for name in datasets}
    chosen = [(of, dataset) for of, dataset in stored if not wanted or dataset_key(dataset) in wanted]
    if not chosen:
        raise InputError(f"no embeddings{by}", where=root, fix="make some: sept embed DATASET --audio DIR")
    found = [check_embeddings(files, of, dataset) for of, dataset in chosen]
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1))
    else:
        _show(found)
    if any(one.errors for one in found):
        raise typer.Exit(EXIT_INPUT)


def _show(found: Sequence[StoreFindings]) -> None:
    from rich.markup import escape

    from pipeline.cli.console import plain_table, say, wide_console

    table = plain_table()
    for name in ("dataset", "encoder", "fingerprint", "clips", "parts", "result"):
        table.add_column(name, justify="right" if name in ("clips", "parts") else "left", overflow="fold")
    for one in found:
        lines = [f"error: {line}" for line in one.errors] + [f"warning: {line}" for line in one.warnings] or ["ok"]
        more = f" (and {len(lines) - 1} more; --json lists all)" if len(lines) > 1 else ""
        counts = (str(one.clips), str(one.parts))
        table.add_row(one.dataset, one.encoder or "-", one.fingerprint, *counts, escape(lines[0] + more))
    console = wide_console()
    console.print(table)
    for one in found:
        if one.fix:
            say(console, f"{one.dataset}: {one.fix}")
