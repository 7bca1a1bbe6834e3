"""Checks what a sweep trains on: the encoder's weights, embeddings and neighbours of datasets. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.prepared import find_neighbors, own_datasets
from pipeline.doctor.checks import Check, failed
from pipeline.spec import EncoderFiles
from pipeline.store import EmbeddingStore, Files, open_files
from sept_core.datasets import DATASETS, DatasetInfo, get_dataset
from sept_core.datasets.embeddings import BUNDLED
from sept_core.errors import InputError

__all__ = ["Datasets", "check_datasets", "check_encoder"]


@dataclass(frozen=True)
class Datasets:
    """The datasets to check.

    Attributes:
        names: Names of those that a sweep needs; None if no sweep is given, to check all datasets.
        with_neighbors: Those of them whose neighbours it needs, each with the file that it names, if any.
        protocol: The protocol, which determines the lists of neighbours.
    """

    names: tuple[str, ...] | None
    with_neighbors: dict[str, str | None]
    protocol: str = "base-to-new"


def check_encoder(files: EncoderFiles, found: list[str]) -> Sequence[Check]:
    """Check that the encoder's weights exist, belong to it, and load.

    Args:
        files: The encoder's name and files.
        found: The fingerprint is added to it.
    """
    from sept_core.encoders import load_encoder

    label = f"encoder {files.name}"
    fix = f"sept doctor --encoder {files.name} --weights FILE_OR_FOLDER"
    for place in (files.weights, files.text_model):
        if place is not None and "://" in place:
            return [_remote(label, place)]
        if place is not None and place.startswith("hub:"):
            said = f"{place} will be downloaded when first used"
            return [Check(label, "yellow", said, f"hf download {place.removeprefix('hub:')}")]
    encoder = load_encoder(files.name, files.weights, files.text_model)
    found.append(encoder.fingerprint)
    checks = [Check(label, "green", f"weights found, fingerprint {encoder.fingerprint}")]
    try:
        encoder.load_audio()
    except Exception as error:
        checks.append(failed(f"{label}: audio", error, fix))
    return checks


def check_datasets(root: str, wanted: Datasets, encoder: str, fingerprints: Sequence[str]) -> Sequence[Check]:
    """Check the embeddings by the encoder and the neighbours, dataset by dataset.

    Args:
        root: Results folder or bucket.
        wanted: The datasets.
        encoder: Name of the encoder, for commands.
        fingerprints: The encoder's; empty if its weights could not be read, so that embeddings cannot be checked.

    Raises:
        InputError: There is no such dataset.
        StoreError: The store cannot be read.
    """
    files = open_files(root)
    own = own_datasets(files)
    names = wanted.names if wanted.names is not None else (*DATASETS, *(info.name for info in own))
    infos = [get_dataset(name, own) for name in names]
    checks = []
    if fingerprints:
        checks += _embeddings(files, infos, encoder, fingerprints[0], needed=wanted.names is not None)
    elif wanted.names is not None:
        said = "not checked: that needs the encoder's weights, which are not on this machine"
        checks.append(Check("embeddings", "yellow", said, f"sept doctor --encoder {encoder} --weights FILE_OR_FOLDER"))
    every: dict[str, str | None] = {info.name: None for info in infos}
    given = wanted.with_neighbors if wanted.names is not None else every
    return checks + _neighbors(files, [info for info in infos if info.name in given], given, wanted)


def _embeddings(
    files: Files, infos: Sequence[DatasetInfo], encoder: str, fingerprint: str, *, needed: bool
) -> list[Check]:
    checks, absent = [], []
    option = "" if encoder == "mini" else f" --encoder {encoder} --weights PLACE"
    for info in infos:
        name, fix = f"embeddings of {info.name}", f"sept embed {info.name.lower()} --audio DIR{option}"
        try:
            found = _manifest(files, fingerprint, info.name)
        except InputError as error:
            checks.append(failed(name, error, fix))
            continue
        if found is not None:
            checks.append(Check(name, "green", f"{found[0]} clips {found[1]}"))
        elif needed:
            checks.append(Check(name, "red", f"none by {encoder} with fingerprint {fingerprint}", fix))
        else:
            absent.append(info.name)
    if absent:
        said = f"none by {encoder} yet, needed only for a sweep that names them: {', '.join(absent)}"
        checks.append(Check("other embeddings", "yellow", said, f"sept embed NAME --audio DIR{option}"))
    return checks


def _manifest(files: Files, fingerprint: str, dataset: str) -> tuple[int, str] | None:
    """Number of embedded clips, and where they are; None if there are none."""
    for store, where in ((EmbeddingStore(files), "in the store"), (EmbeddingStore(Path(BUNDLED)), "with the package")):
        if (manifest := store.manifest(fingerprint, dataset)) is not None:
            return int(manifest["rows"]), where
    return None


def _neighbors(
    files: Files, infos: Sequence[DatasetInfo], given: dict[str, str | None], wanted: Datasets
) -> list[Check]:
    checks, good = [], []
    for info in infos:
        try:
            neighbors = find_neighbors(files, info, given[info.name], wanted.protocol)
        except InputError as error:
            check = failed(f"neighbours of {info.name}", error, f"sept neighbors {info.name} --for {wanted.protocol}")
            checks.append(check)
        else:
            good.append((info, neighbors))
    if wanted.names is not None:
        for info, neighbors in good:
            fewest = min(len(terms) for terms in neighbors.by_class.values())
            said = f"at least {fewest} for each of {len(neighbors.by_class)} classes that are trained on"
            checks.append(Check(f"neighbours of {info.name}", "green", said))
    elif good:
        said = f"of {', '.join(info.name for info, _ in good)}"
        checks.append(Check("neighbours", "green", said))
    return checks


def _remote(label: str, place: str) -> Check:
    """Check that weights in a bucket exist; they are downloaded when first used, not by a check."""
    from pipeline.store.s3_client import Connection, make_client, split_address
    from pipeline.store.s3_failures import FAILURES

    bucket, key = split_address(place)
    connection = Connection(make_client(attempts=1, connect_s=3.0, read_s=5.0), 0.0)
    try:
        objects = connection.list_objects(bucket, key)
    except FAILURES as error:
        return failed(label, connection.failure(f"cannot read {place}", error), "check the address and the credentials")
    size = sum(one["Size"] for one in objects if one["Key"] == key or one["Key"].startswith(f"{key}/"))
    if not size:
        return Check(label, "red", f"there is nothing at {place}", "check the address")
    return Check(label, "green", f"{size / 1e6:.0f} MB at {place}, downloaded and checked when first used")
