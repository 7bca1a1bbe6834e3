"""What several commands ask of a sweep: that it is there, its member for use, how to write a value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sept_core.errors import InputError
from sept_core.nearest import nearest_hint

if TYPE_CHECKING:
    from pipeline.store import TrialStore, Verdict

__all__ = ["best_verdict", "known_sweep", "short"]


def best_verdict(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The finished member with the highest validation objective, over all test folds; of equals, the lowest number.

    The configuration for use (``sept best``, ``sept export``). With several test folds this choice has seen test clips
    of each fold, as validation clips of the others: what a table shows is chosen for each fold apart, by
    ``pipeline.choice``.

    Returns:
        None where no member has finished: a pruned member's value is one of an unfinished training, and has no test
        metrics beside it.
    """
    finished = [verdict for verdict in verdicts if verdict.state == "finished" and verdict.objective is not None]
    return min(finished, key=lambda verdict: (-(verdict.objective or 0.0), verdict.number), default=None)


def known_sweep(store: TrialStore, sweep: str, study: str | None = None) -> str:
    """The text of a sweep's stored spec.

    Args:
        store: The trial store.
        sweep: What was given as the sweep's name.
        study: What was given beside it, in case the two were swapped.

    Raises:
        InputError: The store has no sweep of this name.
    """
    known = store.sweeps()
    text = store.read_spec(sweep) if sweep in known else None
    if text is None:
        if study in known:
            mend = f"'{study}' is a sweep: give it first, and '{sweep}' behind it"
            raise InputError(f"unknown sweep '{sweep}'", where=store.files.address("sweeps"), mend=mend)
        hint = nearest_hint(sweep, known)
        if not hint and sweep.endswith((".yaml", ".yml")):
            hint = "give the sweep's name, which its file has behind 'name:'; "
        listed = f"known: {', '.join(known)}" if known else "none was launched there yet; --root names another folder"
        raise InputError(f"unknown sweep '{sweep}'", where=store.files.address("sweeps"), mend=hint + listed)
    return text


def short(value: object) -> str:
    """A hyper-parameter as a person would write it: numbers to three digits, anything else as it is."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
