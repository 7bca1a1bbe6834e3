"""Clips to embeddings: read where they lie, decode, encode in batches, write part by part.

    embed(["esc10"], "audio/esc10", "mini", "sept-runs")

The same clips and the same encoder give the same bytes, whoever decodes and encodes them in which order. What was made
before an interruption is not made again.
"""

from pipeline.embed.run import EmbedSummary, Progress, embed, embed_with

__all__ = ["EmbedSummary", "Progress", "embed", "embed_with"]
