"""Neighbours from a language model: SEPT's related terms for the training classes of any data set.

The model runs on any OpenAI-compatible server. Its answers are cached, filtered by the rules for every list of
neighbours (`sept_core.semantic.neighbors.check_neighbors`), and written only when the lists are complete:

    info = known_to_model(get_dataset("ESC50"), "base-to-new")    # the base classes; cross-dataset: all
    outcome = generate(info, "gpt-4o", 20, out=Path("esc50.json"), cache_dir=Path("cache"))

A person should still read the result: no rule can tell whether a term is good.
"""

from pipeline.neighbors.cost import CostEstimate, Prices, Usage, estimate
from pipeline.neighbors.generation import Outcome, RoundProgress, generate
from pipeline.neighbors.prompt import known_to_model
from pipeline.neighbors.terms import Dropped

__all__ = [
    "CostEstimate",
    "Dropped",
    "Outcome",
    "Prices",
    "RoundProgress",
    "Usage",
    "estimate",
    "generate",
    "known_to_model",
]
