"""Loads a sweep that may name datasets which do not exist yet, so that a plan lists everything missing at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.prepared import own_datasets
from pipeline.spec import SweepSpec, load_sweep, parse_sweep
from pipeline.spec.load import shipped_sweeps
from pipeline.spec.read import read_yaml
from pipeline.store import TrialStore, open_files
from sept_core.datasets import DatasetInfo, get_dataset
from sept_core.datasets.registry import dataset_key
from sept_core.errors import InputError

__all__ = ["UNKNOWN_FOLDS", "load_sweep_to_plan"]

UNKNOWN_FOLDS = ("1 of ?", "2 of ?")
"""Placeholder for the folds of a dataset that does not exist: a sweep with a study per fold counts two."""

# As many as any protocol needs; they are never used for computing.
_CLASSES = tuple("abcdefgh")


def load_sweep_to_plan(
    source: str | Path, root: str | Path, overrides: Mapping[str, Any] | None = None
) -> tuple[SweepSpec, dict[str, InputError]]:
    """Load a sweep, and find its datasets that are neither in the registry nor in the results folder.

    Args:
        source: A YAML file, or the name of an included sweep or of one in the results folder.
        root: Results folder.
        overrides: As in `load_sweep`.

    Returns:
        The sweep, and the error about each unknown dataset by its name.

    Raises:
        InputError: Anything else in the file is invalid.
    """
    own = own_datasets(root)
    stored = _stored(str(source), root)
    document = _document(Path(source)) if stored is None else read_yaml(stored, str(source))
    document |= dict(overrides or {})
    unknown: dict[str, InputError] = {}
    stand_ins: list[DatasetInfo] = []
    for key in ("datasets", "sources", "targets"):
        names = document.get(key)
        for name in names if isinstance(names, list) else ():
            error = _unknown(name, [*own, *stand_ins])
            if error is not None:
                unknown[name] = error
                stand_ins.append(_stand_in(name, document.get("folds")))
    if stored is not None:
        return parse_sweep(stored, f"sweeps/{source}/spec.yaml", overrides, [*own, *stand_ins], stored=True), unknown
    return load_sweep(source, overrides, [*own, *stand_ins]), unknown


def _stored(name: str, root: str | Path) -> str | None:
    """The stored spec of a sweep of this name, unless it is the name of a file or of an included sweep."""
    if Path(name).exists() or name in shipped_sweeps():
        return None
    store = TrialStore(open_files(root))
    return store.read_spec(name) if name in store.sweeps() else None


def _document(path: Path) -> dict[str, Any]:
    """The content of the file; empty if it cannot be read, which ``load_sweep`` reports."""
    try:
        return read_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, InputError):
        return {}


def _unknown(name: object, own: Sequence[DatasetInfo]) -> InputError | None:
    if not isinstance(name, str):
        return None
    try:
        get_dataset(name, own)
    except InputError as error:
        prepare = f"if it is your own dataset: sept data prepare {name} --csv FILE --audio DIR; otherwise: "
        return InputError(error.what, fix=prepare + error.fix)
    return None


def _stand_in(name: str, folds: object) -> DatasetInfo:
    """A placeholder for the dataset while the rest of the sweep is checked."""
    named: list[str] = []
    for key, chosen in folds.items() if isinstance(folds, dict) else ():
        if dataset_key(str(key)) == dataset_key(name) and isinstance(chosen, list):
            named = [str(fold) for fold in chosen]
    return DatasetInfo(name, "events", _CLASSES, "{}", tuple(named) or UNKNOWN_FOLDS, "kfold", extra=True)
