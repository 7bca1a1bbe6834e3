"""Checks before anything starts that protocol, selection and datasets of a sweep fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.spec.sweep import SweepSpec
from sept_core.datasets import DatasetInfo, halves
from sept_core.errors import InputError
from sept_core.methods import NESTED_CLASSES
from sept_core.protocol_facts import PROTOCOLS, Protocol, protocol_of

__all__ = ["protocol_problems"]


def protocol_problems(spec: SweepSpec, where: str, infos: Mapping[str, DatasetInfo]) -> Iterator[InputError]:
    """The reasons why a sweep cannot run as specified.

    Args:
        spec: The sweep, its datasets by their canonical names.
        where: Names the file in errors.
        infos: Descriptions of the datasets.

    Returns:
        Errors: datasets are missing or belong to another protocol, a source has no target but itself, or the selection
            or ``neighbors_naming_new`` does not apply.
    """
    protocol = protocol_of(spec.protocol)
    needed = protocol.data
    every = dict.fromkeys(key for other in PROTOCOLS.values() for key in other.data)
    for key in (key for key in every if key not in needed):
        if getattr(spec, key):
            fix = f"with protocol: {spec.protocol}, give {' and '.join(needed)}"
            yield InputError(f"protocol {spec.protocol} has no {key}", where=f"{where}: {key}", fix=fix)
            # Other errors would have the same cause.
            return
    for key in needed:
        if not getattr(spec, key):
            yield InputError("missing or empty", where=f"{where}: {key}", fix=f"add '{key}: [...]'")
    if protocol.all_classes:
        yield from _without_new(spec, protocol, where)
    elif spec.selection == "nested":
        why = "uses the names of the new classes, which selection: nested must not use"
        yield from _keeps_neighbors(spec, where, why, "leave it out, or use selection: heldout")
        for dataset in spec.datasets:
            base = halves(infos[dataset].classnames)[0]
            if len(base) < NESTED_CLASSES:
                yield InputError(
                    f"{dataset} has {len(base)} base classes, too few to split again (at least {NESTED_CLASSES})",
                    where=f"{where}: selection",
                    fix=f"use selection: heldout, or leave {dataset} out",
                )
    if protocol.transfers:
        yield from _targets(spec, where)


def _without_new(spec: SweepSpec, protocol: Protocol, where: str) -> Iterator[InputError]:
    why = f"does not apply to {protocol.name}: it trains on all classes"
    if spec.selection not in protocol.selections:
        what = f"selection '{spec.selection}' {why}"
        yield InputError(what, where=f"{where}: selection", fix=protocol.selection_fix)
    yield from _keeps_neighbors(spec, where, why, "leave it out")


def _targets(spec: SweepSpec, where: str) -> Iterator[InputError]:
    for source in spec.sources if spec.targets else ():
        if not spec.targets_of(source):
            yield InputError(
                f"the only target of the source {source} is {source} itself",
                where=f"{where}: targets",
                fix="name another dataset as target",
            )


def _keeps_neighbors(spec: SweepSpec, where: str, why: str, fix: str) -> Iterator[InputError]:
    if spec.neighbors_naming_new != "keep":
        what = f"neighbors_naming_new: {spec.neighbors_naming_new} {why}"
        yield InputError(what, where=f"{where}: neighbors_naming_new", fix=fix)
