"""Makes the embeddings that ship with the package again; run it after every change of the encoder ``mini``.

    python -m infra.mini.synth12 DIR
    python -m infra.mini.bundle --esc10 DIR --fsdd DIR --synth12 DIR

The folders are the data sets as their authors ship them; the first command makes that of Synth12. Embeddings of an
earlier encoder are removed from the bundle, and the training clips of ``mini`` (``seen_clips.json``) are written from
the clips of its folds.
Authors and licences of the audio are in ``sept_core/datasets/bundled/ATTRIBUTION.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.embed import EmbedSummary, embed_with
from pipeline.store.open_store import open_files
from sept_core.datasets import EmbeddingTable
from sept_core.datasets.embeddings import BUNDLED, load_embeddings
from sept_core.datasets.pretraining import FACTS
from sept_core.datasets.sources import source_id
from sept_core.errors import SeptError

__all__ = ["ATTRIBUTIONS", "bundle", "facts", "main"]

ATTRIBUTIONS: Mapping[str, str] = {
    "ESC10": (
        "Computed from ESC-10 by Karol J. Piczak (https://github.com/karolpiczak/ESC-10), CC BY 3.0, made of "
        "recordings from Freesound.org by the authors listed in ATTRIBUTION.md"
    ),
    "FSDD": (
        "Computed from the Free Spoken Digit Dataset by Zohar Jackson and contributors "
        "(https://github.com/Jakobovski/free-spoken-digit-dataset), CC BY-SA 4.0; these embeddings as well"
    ),
    "Synth12": "Computed from sounds synthesised by infra/mini/synth12.py of SEPT Sweep, Apache-2.0; no recordings",
}
"""Data sets that ship embedded, with the attributions that their licences require."""


def facts(folds: Mapping[str, Sequence[str]], tables: Iterable[EmbeddingTable]) -> dict[str, Any]:
    """What an encoder was trained on, as `load_pretraining` reads it: folds, files, recordings and sounds.

    A speaker is not a recording: other recordings of the same speaker were not heard.

    Args:
        folds: By data set: the folds that it was trained on.
        tables: Data sets that contain the clips.
    """
    rows = [
        (table.sha256[row], source_id(table.dataset, table.groups[row]), table.sounds[row])
        for table in tables
        for row, fold in enumerate(table.folds)
        if fold in folds.get(table.dataset, ())
    ]
    sources = {source for _, source, _ in rows if source.startswith("freesound:")}
    return {
        "folds": {dataset: list(names) for dataset, names in folds.items()},
        "clips": sorted({digest for digest, _, _ in rows}),
        "sources": sorted(sources),
        "sounds": sorted({sound for _, _, sound in rows} - {""}),
    }


def bundle(folders: Mapping[str, Path], root: Path = BUNDLED, written: Path | None = FACTS) -> list[EmbedSummary]:
    """Embed the data sets with ``mini`` and remove the embeddings of any other encoder from the bundle.

    Args:
        folders: Audio folder of every data set of ``ATTRIBUTIONS``.
        root: Where the bundle is.
        written: File with the training clips of ``mini``; None to keep it as it is.

    Raises:
        InputError: A folder does not contain its data set.
    """
    from sept_core.encoders import load_encoder

    encoder = load_encoder("mini")
    made = [
        embed_with(encoder, dataset, folders[dataset], root, force=True, attribution=attribution)
        for dataset, attribution in ATTRIBUTIONS.items()
    ]
    if written is not None:
        tables = [load_embeddings(dataset, encoder.fingerprint, root) for dataset in ATTRIBUTIONS]
        said = json.dumps({"mini": facts(encoder.pretraining.folds, tables)}, indent=0)
        written.write_text(f"{said}\n", encoding="ascii")
    files = open_files(root)
    kept = tuple(f"embeddings/{encoder.fingerprint}/{dataset}/" for dataset in ATTRIBUTIONS)
    for key in files.list("embeddings"):
        if not key.startswith(kept):
            files.delete(key)
    _remove_empty_folders(root / "embeddings")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.mini.bundle", description=(__doc__ or "").splitlines()[0])
    for dataset in ATTRIBUTIONS:
        parser.add_argument(f"--{dataset.lower()}", type=Path, required=True, metavar="DIR", help=f"audio of {dataset}")
    parser.add_argument("--out", type=Path, default=BUNDLED, metavar="DIR", help="another place for the bundle")
    given = parser.parse_args(arguments)
    try:
        made = bundle(
            {dataset: getattr(given, dataset.lower()) for dataset in ATTRIBUTIONS},
            given.out,
            FACTS if given.out == BUNDLED else None,
        )
    except SeptError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for summary in made:
        rate = f"{summary.seconds:.1f} s, {summary.clips_per_second:.0f} clips/s"
        sys.stdout.write(f"{summary.dataset}: {summary.clips} clips in {rate} -> {summary.where}\n")
    return 0


def _remove_empty_folders(folder: Path) -> None:
    for inner in sorted(folder.iterdir()):
        if inner.is_dir():
            _remove_empty_folders(inner)
    if not any(folder.iterdir()):
        folder.rmdir()


if __name__ == "__main__":
    sys.exit(main())
