"""The look of a method: one colour and one shape, the same in every picture, on the page, in files and in MLflow.

A baseline and its SEPT twin have two tones of one colour: a light circle without SEPT, a strong square with it.
Zero-shot is a grey diamond. A hollow mark always means a pruned trial. (Maps of prompts have a mark per class instead.)
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.drawing.picture import figure_colours

__all__ = ["Look", "colour_of", "look_of"]

_KNOWN = ("coop", "cocoop", "kgcoop", "dept")
_OWN = 2
"""Colours for baselines of other projects, which may share one."""


class Look(NamedTuple):
    """Shape (as in `drawn_mark`) and class of the colour (as in ``figures.css``)."""

    shape: str
    colour: str


def look_of(method: str) -> Look:
    """The look of a method, such as ``coop+sept``."""
    method = method.partition("@")[0]
    baseline = method.removesuffix("+sept")
    if baseline == "zero-shot":
        return Look("diamond", "zero")
    own = len(_KNOWN) + sum(baseline.encode()) % _OWN
    tone = f"{_KNOWN.index(baseline) if baseline in _KNOWN else own}"
    return Look("square", f"s{tone}") if method != baseline else Look("dot", f"b{tone}")


def colour_of(method: str) -> str:
    """The colour of a method on a light background, such as ``#0072b2``."""
    return figure_colours()[look_of(method).colour]
