"""Whether protocol, selection and datasets of a sweep go together: refused before anything starts."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.spec.sweep import SweepSpec
from sept_core.datasets import DatasetInfo, halves
from sept_core.errors import InputError
from sept_core.methods import NESTED_CLASSES

__all__ = ["check_protocol"]


def check_protocol(spec: SweepSpec, where: str, infos: Mapping[str, DatasetInfo]) -> None:
    """See that the sweep can be run as it says.

    Args:
        spec: The sweep, its datasets by their canonical names.
        where: Names its file in errors.
        infos: What the datasets are.

    Raises:
        InputError: Datasets are missing or belong to another protocol, a source has no target but itself, or the
            selection has no meaning here.
    """
    cross = spec.protocol == "cross-dataset"
    needed, foreign = (("sources", "targets"), ("datasets",)) if cross else (("datasets",), ("sources", "targets"))
    for key in foreign:
        if getattr(spec, key):
            mend = f"with protocol: {spec.protocol}, give {' and '.join(needed)}"
            raise InputError(f"protocol {spec.protocol} has no {key}", where=f"{where}: {key}", mend=mend)
    for key in needed:
        if not getattr(spec, key):
            raise InputError("missing or empty", where=f"{where}: {key}", mend=f"add '{key}: [...]'")
    if cross:
        _check_cross(spec, where)
    elif spec.selection == "nested":
        for dataset in spec.datasets:
            base = halves(infos[dataset].classnames)[0]
            if len(base) < NESTED_CLASSES:
                raise InputError(
                    f"{dataset} has {len(base)} base classes, too few to split again (at least {NESTED_CLASSES})",
                    where=f"{where}: selection",
                    mend=f"use selection: heldout, or leave {dataset} out",
                )


def _check_cross(spec: SweepSpec, where: str) -> None:
    if spec.selection != "heldout":
        raise InputError(
            f"selection '{spec.selection}' has no meaning for cross-dataset: it trains on all classes of the source",
            where=f"{where}: selection",
            mend="use selection: heldout",
        )
    for source in spec.sources:
        if not spec.targets_of(source):
            raise InputError(
                f"the only target of the source {source} is {source} itself",
                where=f"{where}: targets",
                mend="name another dataset as target",
            )
