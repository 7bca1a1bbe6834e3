"""The form of a learned prompt: ``[V] dog bark.``, the context V, the name, and an ending.

All public code of these methods puts a full stop after the name, as hand-written templates do (docs/presets.md), so
that margins and distances compare texts of the same form. Trials and prompts of method version 2 and earlier had none;
they do not name the option, and are read with its value of that time.
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
    "ending of a learned prompt, after the name",
    "full-stop",
    choices=tuple(_ENDS),
    before="none",
)
NAME_CASE = HyperParameter(
    "name_case",
    str,
    "class names in prompts lower-cased, or as spelled in the dataset; neighbours are always lower case",
    "lower",
    choices=("lower", "as-written"),
    before="lower",
)


@dataclass(frozen=True)
class Wording:
    """The form of the names in a configuration.

    Attributes:
        end: What follows a name.
        lower: Whether class names are lower-cased.
    """

    end: str = ""
    lower: bool = True

    @classmethod
    def of(cls, hyper: Mapping[str, Value]) -> Wording:
        """The wording of stored or complete hyper-parameters."""
        return cls(_ENDS[str(PROMPT_END.of(hyper))], NAME_CASE.of(hyper) == "lower")

    def names(self, classnames: Sequence[str]) -> tuple[str, ...]:
        """Class names as used in prompts, without the ending."""
        return tuple(prompt_name(name, lower=self.lower) for name in classnames)

    def bank(self, tower: TextTower, names: Sequence[str]) -> PromptBank:
        """Names in the form of `names`, tokenised for ``tower``, each with the ending.

        Raises:
            InputError: As ``PromptBank.of``.
        """
        from sept_core.encoders.prefix import PromptBank

        return PromptBank.of(tower, names, end=self.end)

    def check(self, tower: TextTower, names: Sequence[str]) -> None:
        """Check that the tower can distinguish the names.

        Raises:
            InputError: As ``PromptBank.of``.
        """
        from sept_core.encoders.prefix import tokenize_names

        tokenize_names(tower, names, self.end)


EARLIER_WORDING = Wording()
"""The wording of method version 2 and earlier."""
