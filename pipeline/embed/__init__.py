"""Clips to embeddings: read where they lie, decode, encode in batches, write part by part.

    embed(["esc10"], "audio/esc10", EncoderPlace("mini"), "sept-runs")

The same clips and the same encoder give the same bytes, whoever decodes and encodes them in which order. What was made
before an interruption is not made again. What only encodes (``batches``, ``sizing``) does without the libraries of what
stores, so those are loaded with the first name that is asked for.
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
