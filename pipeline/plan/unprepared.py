"""A sweep that may name data sets which do not exist yet, so that all that is missing can be told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.prepared import own_datasets
from pipeline.spec import SweepSpec, load_sweep
from pipeline.spec.read import read_yaml
from sept_core.datasets import DatasetInfo, get_dataset
from sept_core.datasets.registry import dataset_key
from sept_core.errors import InputError

__all__ = ["UNKNOWN_FOLDS", "load_sweep_to_plan"]

UNKNOWN_FOLDS = ("1 of ?", "2 of ?")
"""Stand in for the folds of a data set that does not exist; a sweep with a study for each fold counts two."""

# As many as any protocol asks for; nothing is ever computed of a data set that does not exist.
_CLASSES = tuple("abcdefgh")


def load_sweep_to_plan(
    source: str | Path, root: str | Path, overrides: Mapping[str, Any] | None = None
) -> tuple[SweepSpec, dict[str, InputError]]:
    """`load_sweep`, and the data sets that it names and that neither the registry nor the results folder knows.

    Args:
        source: A YAML file, or the name of a sweep that ships.
        root: Results folder.
        overrides: As in `load_sweep`.

    Returns:
        The sweep, and the error about each unknown data set by its name.

    Raises:
        InputError: Anything else in the file that cannot be used.
    """
    own = own_datasets(root)
    document = _document(Path(source)) | dict(overrides or {})
    unknown: dict[str, InputError] = {}
    stand_ins: list[DatasetInfo] = []
    for key in ("datasets", "sources", "targets"):
        names = document.get(key)
        for name in names if isinstance(names, list) else ():
            error = _unknown(name, [*own, *stand_ins])
            if error is not None:
                unknown[name] = error
                stand_ins.append(_stand_in(name, document.get("folds")))
    return load_sweep(source, overrides, [*own, *stand_ins]), unknown


def _document(path: Path) -> dict[str, Any]:
    """What the file holds; nothing where it cannot be read, of which ``load_sweep`` has more to say."""
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
        prepare = f"if it is your own: sept data prepare {name} --csv FILE --audio DIR; if not: "
        return InputError(error.what, fix=prepare + error.fix)
    return None


def _stand_in(name: str, folds: object) -> DatasetInfo:
    """Takes the data set's place while the rest of the sweep is checked."""
    named: list[str] = []
    for key, chosen in folds.items() if isinstance(folds, dict) else ():
        if dataset_key(str(key)) == dataset_key(name) and isinstance(chosen, list):
            named = [str(fold) for fold in chosen]
    return DatasetInfo(name, "events", _CLASSES, "{}", tuple(named) or UNKNOWN_FOLDS, "kfold", extra=True)
