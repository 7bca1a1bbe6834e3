"""Prompt learners: one file per baseline, one small contract (``base.py``)."""

from __future__ import annotations

from sept_core.errors import InputError
from sept_core.learners.base import Init, Learner, Params
from sept_core.learners.cocoop import CoCoOp
from sept_core.learners.coop import CoOp
from sept_core.learners.dept import DePT
from sept_core.learners.kgcoop import KgCoOp
from sept_core.learners.zero_shot import ZeroShot
from sept_core.suggestions import known_words

__all__ = ["LEARNERS", "CoCoOp", "CoOp", "DePT", "Init", "KgCoOp", "Learner", "Params", "ZeroShot", "get_learner"]

LEARNERS: dict[str, type[Learner]] = {learner.name: learner for learner in (ZeroShot, CoOp, CoCoOp, KgCoOp, DePT)}
"""Baselines by the name that a spec uses."""


def get_learner(name: str) -> type[Learner]:
    """The learner of this name.

    Raises:
        InputError: There is none.
    """
    if name not in LEARNERS:
        raise InputError(f"unknown baseline '{name}'", fix=known_words(name, LEARNERS))
    return LEARNERS[name]
