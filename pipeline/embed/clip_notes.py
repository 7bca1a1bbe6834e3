"""Notes about finished embeddings: clips that the encoder was trained on, and clips that sound the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sept_core.datasets.embeddings import FORMAT
from sept_core.datasets.pretraining import (
    SAME_SOUND_FIX,
    heard_line,
    same_sound_line,
    same_sound_pairs,
    same_sound_rows,
)
from sept_core.datasets.repeats import alike_lines
from sept_core.datasets.split_overlap import rows_of

if TYPE_CHECKING:
    from pipeline.store import EmbeddingStore
    from sept_core.encoders import Encoder

__all__ = ["REFUSED", "listen"]

REFUSED = "trials refuse this: "


def listen(store: EmbeddingStore, encoder: Encoder, dataset: str) -> tuple[list[str], list[str]]:
    """Notes and warnings about the embeddings of a data set, one line each.

    Raises:
        InputError: There are none, or they are damaged.
    """
    table = store.read(encoder.fingerprint, dataset)
    heard = heard_line(table, encoder.name, encoder.pretraining)
    warnings = []
    if pairs := same_sound_pairs(table.clip_ids, table.sounds, table.sha256, table.folds, table.info):
        line = same_sound_line(pairs)
        warnings.append(line if table.description is None else f"{REFUSED}{line}; {SAME_SOUND_FIX}")
    same = same_sound_rows(table.sounds, table.sha256)
    warnings += alike_lines(rows_of(table, table.info), table.info, table.info.folds, same)
    manifest = store.manifest(encoder.fingerprint, dataset)
    if manifest is not None and manifest.get("format", 1) < FORMAT:
        warnings.append(
            "an earlier release made these embeddings, so copies of a recording are recognised only by their bytes; "
            "--force makes them again"
        )
    return [heard] if heard else [], warnings
