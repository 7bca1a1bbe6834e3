"""Writes rankings to a table: one row per clip and class, CSV or Parquet, completely or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.prompts.batch import Ranked
from pipeline.store import StoreError, check_writable
from sept_core.errors import InputError

__all__ = ["check_output", "write_rows"]

COLUMNS = ("clip", "rank", "class", "probability")
_BUFFERED = 50_000


def check_output(path: Path) -> None:
    """Check that a table can be written to this path, before any work is done.

    Raises:
        InputError: It ends in neither ``.csv`` nor ``.parquet``, or its folder does not exist or is not writable.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise InputError("unknown file type", where=str(path), fix="give a name that ends in .csv or .parquet")
    if not path.parent.is_dir() or path.is_dir():
        what = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise InputError(what, where=str(path), fix="give a file in an existing folder")
    check_writable(path.parent)


def write_rows(path: Path, ranked: Iterable[Ranked]) -> bool:
    """Write rankings as they come; clips that could not be used have no row.

    Args:
        path: ``.csv`` or ``.parquet``; an existing file is replaced.
        ranked: The rankings; if it raises, the old file stays.

    Returns:
        Whether there was a row to write; otherwise no file is created, and an existing one stays.

    Raises:
        StoreError: The file cannot be written.
    """
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with _storing(path):
            file = hidden.open("xb")
        with file:
            rows = _write(file, path.suffix.lower() == ".csv", _batches(ranked), path)
        if rows:
            with _storing(path):
                os.replace(hidden, path)
        return bool(rows)
    finally:
        with suppress(FileNotFoundError):
            hidden.unlink()


def _write(file: Any, csv: bool, batches: Iterator[Any], path: Path) -> int:
    """Write the table; returns its number of rows."""
    import pyarrow as pa
    from pyarrow.csv import CSVWriter
    from pyarrow.parquet import ParquetWriter

    types = (pa.string(), pa.int32(), pa.string(), pa.float64())
    schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
    with _storing(path):
        writer = (CSVWriter if csv else ParquetWriter)(file, schema)
    rows = 0
    try:
        for batch in batches:
            rows += len(batch)
            with _storing(path):
                writer.write_table(pa.Table.from_pylist(batch, schema))
    finally:
        with _storing(path):
            writer.close()
    with _storing(path):
        file.flush()
        os.fsync(file.fileno())
    return rows


def _batches(ranked: Iterable[Ranked]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for one in ranked:
        rows += (
            dict(zip(COLUMNS, (one.clip, rank, name, probability), strict=True))
            for rank, (name, probability) in enumerate(one.ranking, start=1)
        )
        if len(rows) >= _BUFFERED:
            yield rows
            rows = []
    if rows:
        yield rows


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
