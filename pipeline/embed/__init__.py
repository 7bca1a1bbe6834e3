"""Turns clips into embeddings: reads them where they are, decodes, encodes in batches, writes part by part.

    embed(["esc10"], "audio/esc10", EncoderFiles(name="mini"), "sept-runs")

The same clips and the same encoder always give the same bytes, in whatever processes and order they are decoded and
encoded. What was made before an interruption is not made again. Modules that only encode (``batches``, ``sizing``) do
not need the libraries of the store, so these are loaded when the first name is used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.embed.run import DatasetProgress, EmbedSummary, embed, embed_with

__all__ = ["DatasetProgress", "EmbedSummary", "embed", "embed_with"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipeline.embed import run

    return getattr(run, name)
