"""All checks, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from pipeline.data.prepared import own_datasets
from pipeline.doctor.checks import Check, Subject, examined
from pipeline.doctor.data import Datasets, check_datasets, check_encoder
from pipeline.doctor.language_model import check_language_model
from pipeline.doctor.machine import check_disk, check_software
from pipeline.doctor.mlflow_server import check_mlflow
from pipeline.doctor.ray_cluster import RAY_S, check_ray
from pipeline.doctor.storage import check_store
from pipeline.spec import EncoderFiles, SweepSpec, load_sweep
from pipeline.spec.read import located
from sept_core.datasets import DatasetInfo
from sept_core.encoders import known_encoder
from sept_core.errors import InputError, gathered

__all__ = ["OWN_S", "Wanted", "examine", "wanted_by"]

OWN_S = 10.0
"""Seconds to wait for a person's own datasets before anything is shown; only for a sweep that names one."""


@dataclass(frozen=True)
class Wanted:
    """What to check.

    Attributes:
        root: Results folder or bucket.
        address: Address of Ray.
        mlflow: Tracking URI; None for the root's own.
        encoder: The encoder's name and files.
        datasets: The datasets.
        base_url: Address of a language model's server.
    """

    root: str
    address: str
    mlflow: str | None
    encoder: EncoderFiles
    datasets: Datasets
    base_url: str | None


def wanted_by(source: str | None, root: str, encoder: str | None) -> tuple[EncoderFiles, Datasets]:
    """The encoder and the datasets to check: those of a sweep, if one is given.

    Args:
        source: A sweep's YAML file, or the name of one that ships.
        root: Results folder with a person's own datasets.
        encoder: Name of an encoder that replaces the sweep's.

    Raises:
        InputError: The sweep cannot be used, or there is no such encoder.
    """
    if encoder is not None:
        with located("--encoder"):
            known_encoder(encoder)
    if source is None:
        return EncoderFiles(name=encoder or "mini"), Datasets(None, {})
    try:
        spec: SweepSpec = load_sweep(source)
    except InputError as error:
        others = [one for one in error.each if not one.what.startswith("unknown dataset")]
        if len(others) == len(error.each):
            raise
        own = _own(root)
        if own is None:
            if others:
                raise gathered(others) from error
            # An unreadable store is a finding of its own; that no dataset was checked is another.
            return EncoderFiles(name=encoder or "mini"), Datasets(None, {})
        spec = load_sweep(source, own=own)
    names: dict[str, None] = {}
    neighbors: dict[str, str | None] = {}
    for study in spec.studies():
        names |= dict.fromkeys((study.inputs.dataset, *study.inputs.targets))
        if study.inputs.sept:
            neighbors[study.inputs.dataset] = study.inputs.neighbors
    datasets = Datasets(tuple(names), neighbors, spec.protocol)
    if encoder is not None and encoder != spec.encoder.name:
        return EncoderFiles(name=encoder), datasets
    return spec.encoder, datasets


def _own(root: str) -> list[DatasetInfo] | None:
    """A person's own datasets; None if their store cannot be read, or does not answer soon.

    Raises:
        InputError: One of them is damaged.
    """
    found: list[list[DatasetInfo]] = []
    wrong: list[InputError] = []

    def look() -> list[Check]:
        try:
            found.append(own_datasets(root))
        except InputError as error:
            wrong.append(error)
        return []

    examined(Subject("own datasets", OWN_S, look, ""))
    if wrong:
        raise wrong[0]
    return found[0] if found else None


def examine(wanted: Wanted) -> Iterator[Check]:
    """The findings as they are made; ends within a minute or two even if nothing answers."""
    fingerprints: list[str] = []
    encoder = partial(check_encoder, wanted.encoder, fingerprints)
    datasets = partial(check_datasets, wanted.root, wanted.datasets, wanted.encoder.name, fingerprints)
    weights = f"sept doctor --encoder {wanted.encoder.name} --weights FILE_OR_FOLDER"
    subjects = (
        Subject("packages", 60, check_software, "pip install --force-reinstall sept-sweep"),
        Subject("disk", 10, partial(check_disk, wanted.root), "check that the disks respond: df -h"),
        Subject("store", 30, partial(check_store, wanted.root), "check --root and the network"),
        Subject("Ray", RAY_S + 15, partial(check_ray, wanted.address), "use --address local"),
        Subject("MLflow", 45, partial(check_mlflow, wanted.root, wanted.mlflow), "check --mlflow and the network"),
        Subject(f"encoder {wanted.encoder.name}", 120, encoder, weights),
    )
    answered = True
    for subject in subjects:
        checks = examined(subject)
        if subject.name == "store":
            answered = all(
                check.status != "red" for check in checks if check.name in ("store", "store: read and write")
            )
        yield from checks
    if answered:
        yield from examined(Subject("datasets", 60, datasets, "check --root and the network"))
    else:
        yield Check("datasets", "red", "not checked, since the store cannot be used", "fix the store first")
    model = partial(check_language_model, wanted.base_url)
    yield from examined(Subject("language model", 15, model, "check --base-url and the network"))
