"""Tokens and money: an estimate before any request, the server's own count afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.neighbors.cache import AnswerCache
from pipeline.neighbors.prompt import messages
from pipeline.neighbors.terms import sort_out
from sept_core.datasets import DatasetInfo, prompt_name
from sept_core.errors import InputError

__all__ = ["ROUNDS", "SPARE", "CostEstimate", "Prices", "Usage", "check_count", "estimate", "offered_so_far"]

SPARE = 4
"""How many more terms to ask for than are missing, since some will break a rule."""

ROUNDS = 4
"""How often to ask for a class at most."""

CHARACTERS_PER_TOKEN = 4.0
TOKENS_PER_TERM = 6.0
# Tokens that a chat adds to its texts, and the braces and key of an answer.
TOKENS_AROUND = 20.0


@dataclass(frozen=True)
class Prices:
    """What the server charges per million tokens, in its own currency.

    Args:
        input: Price of the prompt's tokens.
        output: Price of the answer's tokens.
    """

    input: float
    output: float


@dataclass(frozen=True)
class Usage:
    """How many answers came and, by the server's count, their tokens.

    Args:
        answers: Answers received, usable or not.
        input_tokens: Tokens of the prompts.
        output_tokens: Tokens of the answers.
        uncounted: Answers that came without a count.
    """

    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    uncounted: int = 0

    def cost(self, prices: Prices | None) -> float | None:
        """The cost in the currency of the prices; None if the prices or a count are unknown."""
        if prices is None or self.uncounted:
            return None
        return (self.input_tokens * prices.input + self.output_tokens * prices.output) / 1e6


@dataclass(frozen=True)
class CostEstimate:
    """What a run will ask for, before follow-up requests for terms that break a rule.

    Args:
        requests: Number of requests.
        cached: Classes whose lists are complete from the cache.
        input_tokens: Tokens of the prompts, roughly.
        output_tokens: Tokens of the answers, roughly.
        most_requests: Number of requests if every class is asked for again in every round.
    """

    requests: int
    cached: int
    input_tokens: int
    output_tokens: int
    most_requests: int

    def cost(self, prices: Prices | None) -> float | None:
        """The cost in the currency of the prices; None if these are unknown."""
        return Usage(self.requests, self.input_tokens, self.output_tokens).cost(prices)


def estimate(info: DatasetInfo, model: str, n: int, *, cache_dir: Path) -> CostEstimate:
    """What `generate` would ask for with the same arguments; this sends no request.

    Raises:
        InputError: ``n`` is below 1.
    """
    check_count(n)
    offered = offered_so_far(info, AnswerCache(cache_dir, model, info))
    missing = sort_out(info, offered, n).missing
    characters = sum(
        len(message["content"])
        for name, count in missing.items()
        for message in messages(info, name, count + SPARE, offered[name])
    )
    return CostEstimate(
        requests=len(missing),
        cached=len(info.classnames) - len(missing),
        input_tokens=round(characters / CHARACTERS_PER_TOKEN + TOKENS_AROUND * len(missing)),
        output_tokens=round(sum((n + SPARE) * TOKENS_PER_TERM + TOKENS_AROUND for n in missing.values())),
        most_requests=ROUNDS * len(missing),
    )


def offered_so_far(info: DatasetInfo, cache: AnswerCache) -> Mapping[str, Sequence[str]]:
    """The cached terms for each class."""
    return {name: cache.read(name) for name in map(prompt_name, info.classnames)}


def check_count(n: int) -> None:
    """Raise `InputError` unless ``n`` terms can be asked for."""
    if n < 1:
        raise InputError(f"{n} neighbours per class were asked for", fix="ask for at least 1")
