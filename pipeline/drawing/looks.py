"""The look of a method: one colour and one shape, the same in every picture, on the page, in files and in MLflow.

A baseline and its SEPT twin have two tones of one colour and a shape each: a light circle without SEPT and a strong
square with it for the first family, a light hexagon and a strong star for the second, which has the same colours. With
another modifier these are triangles, down with SEPT, or a pentagon and a plus. Zero-shot is a grey diamond. A hollow
mark always means a pruned trial. (Maps of prompts have a mark per class instead.)
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.drawing.picture import figure_colours

__all__ = ["Look", "colour_of", "look_of"]

_FAMILIES = (
    ("coop", "cocoop", "kgcoop", "dept", "treff", "audio-free"),
    ("subt", "prograd", "lasp", "palm", "linear-probe", "tip-adapter"),
)
"""Baselines by their colour, in the order of the colours in ``figures.css``."""
_SHAPES = (("dot", "square"), ("hexagon", "star"))
_MODIFIED = (("up", "down"), ("pentagon", "plus"))
"""The shapes of a family without and with SEPT, and of methods with another modifier."""
_OWN = (4, 5)
"""Colours for baselines of other projects, which may share one."""


class Look(NamedTuple):
    """Shape (as in `drawn_mark`) and class of the colour (as in ``figures.css``)."""

    shape: str
    colour: str


def look_of(method: str) -> Look:
    """The look of a method, such as ``coop+sept`` or, in a sweep with axes, ``coop+sept@shots=4``."""
    baseline, *modifiers = method.partition("@")[0].split("+")
    if baseline == "zero-shot":
        return Look("diamond", "zero")
    sept = "sept" in modifiers
    if baseline == "tip-adapter-f":
        # It cannot have SEPT, so its look is the twin of Tip-Adapter's.
        baseline, sept = "tip-adapter", True
    family = next((at for at, names in enumerate(_FAMILIES) if baseline in names), 0)
    names = _FAMILIES[family]
    tone = names.index(baseline) if baseline in names else _OWN[sum(baseline.encode()) % len(_OWN)]
    shapes = _SHAPES if set(modifiers) <= {"sept"} else _MODIFIED
    return Look(shapes[family][sept], f"{'s' if sept else 'b'}{tone}")


def colour_of(method: str) -> str:
    """The colour of a method on a light background, such as ``#0072b2``."""
    return figure_colours()[look_of(method).colour]
