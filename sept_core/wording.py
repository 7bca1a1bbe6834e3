"""How a name stands in a learned prompt: ``[V] dog bark.``, the context V, the name, and what ends the text.

Every public code of these methods puts a full stop behind the name, as hand-written templates do (docs/presets.md), so
that margins and distances compare texts of one shape. Trials and prompts of method version 2 and before had none; what
they stored does not name the option, and is read as what it meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sept_core.datasets import prompt_name
from sept_core.hyper import HyperParameter, Value

if TYPE_CHECKING:
    from sept_core.encoders.base import TextTower
    from sept_core.encoders.prefix import PromptBank

__all__ = ["EARLIER_WORDING", "NAME_CASE", "PROMPT_END", "Wording"]

_ENDS = {"full-stop": ".", "none": ""}

PROMPT_END = HyperParameter(
    "prompt_end",
    str,
    "what ends a learned prompt, behind the name",
    "full-stop",
    choices=tuple(_ENDS),
    before="none",
)
NAME_CASE = HyperParameter(
    "name_case",
    str,
    "class names in prompts lower-cased, or as the dataset writes them; neighbours are lower case either way",
    "lower",
    choices=("lower", "as-written"),
    before="lower",
)


@dataclass(frozen=True)
class Wording:
    """The form of the names of a configuration.

    Attributes:
        end: What follows a name.
        lower: Whether class names are lower-cased.
    """

    end: str = ""
    lower: bool = True

    @classmethod
    def of(cls, hyper: Mapping[str, Value]) -> Wording:
        """What stored or complete hyper-parameters say."""
        return cls(_ENDS[str(PROMPT_END.of(hyper))], NAME_CASE.of(hyper) == "lower")

    def names(self, classnames: Sequence[str]) -> tuple[str, ...]:
        """Class names as they stand in prompts, without the end."""
        return tuple(prompt_name(name, lower=self.lower) for name in classnames)

    def bank(self, tower: TextTower, names: Sequence[str]) -> PromptBank:
        """Names, which have the form of `names`, tokenised for ``tower`` with the end behind each.

        Raises:
            InputError: As ``PromptBank.of``.
        """
        from sept_core.encoders.prefix import PromptBank

        return PromptBank.of(tower, names, end=self.end)

    def check(self, tower: TextTower, names: Sequence[str]) -> None:
        """See that the tower can tell the names apart.

        Raises:
            InputError: As ``PromptBank.of``.
        """
        from sept_core.encoders.prefix import tokenize_names

        tokenize_names(tower, names, self.end)


EARLIER_WORDING = Wording()
"""That of method version 2 and before."""
