"""The methods that are trained: one file per baseline or modifier, one small contract (``base.py``)."""

from __future__ import annotations

from functools import cache

from sept_core.errors import InputError
from sept_core.learners.audio_free import AudioFree
from sept_core.learners.base import Init, Learner, Params, TrainingClips
from sept_core.learners.cocoop import CoCoOp
from sept_core.learners.coop import CoOp
from sept_core.learners.dept import DePT
from sept_core.learners.kgcoop import KgCoOp
from sept_core.learners.lasp import LASP
from sept_core.learners.linear_probe import LinearProbe
from sept_core.learners.modifier import Modifier
from sept_core.learners.palm import PALM
from sept_core.learners.prograd import ProGrad
from sept_core.learners.subt import SubT
from sept_core.learners.tip_adapter import TipAdapter, TipAdapterF
from sept_core.learners.treff import Treff
from sept_core.learners.zebra import Zebra
from sept_core.learners.zero_shot import ZeroShot
from sept_core.suggestions import known_words

__all__ = [
    "LEARNERS",
    "MODIFIERS",
    "CoCoOp",
    "CoOp",
    "DePT",
    "Init",
    "KgCoOp",
    "Learner",
    "Modifier",
    "Params",
    "TrainingClips",
    "ZeroShot",
    "get_learner",
]

_BASELINES: tuple[type[Learner], ...] = (
    ZeroShot,
    CoOp,
    CoCoOp,
    KgCoOp,
    DePT,
    ProGrad,
    LASP,
    SubT,
    AudioFree,
    PALM,
    LinearProbe,
    TipAdapter,
    TipAdapterF,
    Treff,
)
LEARNERS: dict[str, type[Learner]] = {learner.name: learner for learner in _BASELINES}
"""Baselines by the name that a spec uses."""

_MODIFIERS: tuple[type[Modifier], ...] = (Zebra,)
MODIFIERS: dict[str, type[Modifier]] = {modifier.name: modifier for modifier in _MODIFIERS}
"""Modifiers by name, in the order in which a method names them; SEPT comes after all of them."""


def get_learner(name: str) -> type[Learner]:
    """The learner of this name: a baseline, with ``+`` and the modifiers that it is given, such as ``coop+zebra``.

    Raises:
        InputError: There is none, or the modifiers are not in the order of ``MODIFIERS``.
    """
    baseline, *modifiers = name.split("+")
    if baseline not in LEARNERS:
        raise InputError(f"unknown baseline '{baseline}'", fix=known_words(baseline, LEARNERS))
    learner = LEARNERS[baseline]
    if modifiers and not learner.trainable:
        fix = f"use '{baseline}' alone"
        raise InputError(f"'{baseline}' learns nothing, so '{modifiers[0]}' has nothing to act on", fix=fix)
    for modifier in modifiers:
        if modifier not in MODIFIERS:
            raise InputError(f"unknown modifier '{modifier}' in '{name}'", fix=known_words(modifier, MODIFIERS))
        learner = _modified(learner, MODIFIERS[modifier])
    ordered = "+".join((baseline, *(own for own in MODIFIERS if own in modifiers)))
    if ordered != name:
        raise InputError(f"'{name}' does not name its modifiers once and in their order", fix=f"write '{ordered}'")
    return learner


@cache
def _modified(learner: type[Learner], modifier: type[Modifier]) -> type[Learner]:
    # One class for each pair: trainings of one class can share a batch.
    return modifier.over(learner)
