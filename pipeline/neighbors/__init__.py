"""Neighbours from a language model: SEPT's related terms for the training classes of any data set.

The model sits behind any OpenAI-compatible server. What it answers is kept in a cache, sorted out by the rules that
every list of neighbours keeps (`sept_core.semantic.neighbors.check_neighbors`) and written only when complete:

    info = known_to_model(get_dataset("ESC50"), "base-to-new")    # the base classes; cross-dataset: all
    outcome = generate(info, "gpt-4o", 20, out=Path("esc50.json"), cache_dir=Path("cache"))

A person should still read the result: no rule here can tell whether a term is a good one.
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
