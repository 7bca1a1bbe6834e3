"""The spec that a sweep's launch stored, parsed."""

from __future__ import annotations

from pipeline.data.prepared import own_datasets
from pipeline.spec import SweepSpec, parse_sweep
from pipeline.spec.known_sweep import known_sweep
from pipeline.store.trials import TrialStore

__all__ = ["stored_spec"]


def stored_spec(store: TrialStore, sweep: str, text: str | None = None) -> SweepSpec:
    """The stored spec of a sweep.

    Args:
        store: The trial store.
        sweep: Name of the sweep.
        text: The spec's text if the caller has already read it.

    Raises:
        InputError: The store has no sweep of this name, or its spec is no longer valid.
    """
    text = known_sweep(store, sweep) if text is None else text
    return parse_sweep(text, f"sweeps/{sweep}/spec.yaml", own=own_datasets(store.files), stored=True)
