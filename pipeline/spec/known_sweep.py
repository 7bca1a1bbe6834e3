"""The stored spec of a sweep, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sept_core.errors import InputError
from sept_core.suggestions import nearest_hint

if TYPE_CHECKING:
    from pipeline.store import TrialStore

__all__ = ["known_sweep"]


def known_sweep(store: TrialStore, sweep: str, study: str | None = None) -> str:
    """The text of a sweep's stored spec.

    Args:
        store: The trial store.
        sweep: The given name of the sweep.
        study: The given study, in case the two were swapped.

    Raises:
        InputError: The store has no sweep of this name.
    """
    known = store.sweeps()
    text = store.read_spec(sweep) if sweep in known else None
    if text is None:
        if study in known:
            fix = f"'{study}' is a sweep: give it first, then '{sweep}'"
            raise InputError(f"unknown sweep '{sweep}'", where=store.files.address("sweeps"), fix=fix)
        hint = nearest_hint(sweep, known)
        if not hint and sweep.endswith((".yaml", ".yml")):
            hint = "give the sweep's name, which is 'name:' in its file; "
        listed = (
            f"known: {', '.join(known)}" if known else "none was launched there yet; give another folder with --root"
        )
        raise InputError(f"unknown sweep '{sweep}'", where=store.files.address("sweeps"), fix=hint + listed)
    return text
