"""Loads the inputs of a sweep's trials and finds all missing ones in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TypeVar

from pipeline.data.prepared import find_neighbors, own_datasets
from pipeline.plan.models import Missing
from pipeline.search.inputs import Loader, load_inputs, study_encoder, study_table
from pipeline.spec import StudyInputs, StudySpec, SweepSpec
from pipeline.store import EmbeddingStore, Files, open_files
from sept_core.datasets import DatasetInfo, EmbeddingTable, get_dataset
from sept_core.datasets.embeddings import BUNDLED
from sept_core.datasets.usable_folds import usable_folds
from sept_core.encoders import Encoder
from sept_core.errors import InputError
from sept_core.semantic import Neighbors
from sept_core.trial import TrialInputs

__all__ = ["Gathering"]

_T = TypeVar("_T")


class Gathering:
    """Loads the inputs of trials part by part, and collects what cannot be loaded instead of raising.

    Args:
        spec: The sweep.
        root: Results folder.
        provider: As in `launch`. The parts of a provider other than the default are unknown: only its first error for
            each study is collected.
        unprepared: Datasets in the sweep that do not exist, with the error about each.
    """

    def __init__(self, spec: SweepSpec, root: str, provider: Loader, unprepared: Mapping[str, InputError]) -> None:
        self._spec = spec
        self._root = root
        self._files = open_files(root)
        self._own = own_datasets(self._files)
        self._load = provider
        self._in_parts = provider is load_inputs
        self._unprepared = unprepared
        self._parts: dict[tuple[str, ...], object] = {}
        self._missing: dict[str, tuple[InputError, list[str]]] = {}

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Everything found missing so far."""
        return tuple(
            Missing(f"{error.where}: {error.what}" if error.where else error.what, error.fix, tuple(studies))
            for error, studies in self._missing.values()
        )

    def blame(self, study: StudySpec, error: InputError) -> None:
        """Record an error that keeps a study from running."""
        studies = self._missing.setdefault(str(error), (error, []))[1]
        if study.key not in studies:
            studies.append(study.key)

    def inputs(self, study: StudySpec) -> TrialInputs | None:
        """The inputs of a study's trials; None if something is missing."""
        if not self._in_parts:
            return self._part(study, ("inputs", study.key), lambda: self.load(study.inputs))
        wanted = study.inputs
        encoder = self._part(study, ("encoder", wanted.encoder), lambda: study_encoder(wanted))
        tables = {
            name: self._part(study, ("table", wanted.encoder, name), partial(self._table, encoder, wanted, name))
            for name in (study.dataset, *wanted.targets)
        }
        neighbors = None
        if wanted.sept:
            neighbors = self._part(
                study, ("neighbors", study.dataset, wanted.neighbors or ""), partial(self._neighbors, wanted)
            )
        found = {name: table for name, table in tables.items() if table is not None}
        if encoder is None or len(found) < len(tables) or (wanted.sept and neighbors is None):
            return None
        return TrialInputs(encoder, found.pop(study.dataset), neighbors, found)

    def load(self, inputs: StudyInputs) -> TrialInputs:
        """The inputs of a study's trials.

        Raises:
            InputError: Something is missing.
        """
        return self._load(self._root, inputs)

    def folds(self, study: StudySpec) -> tuple[str, ...] | None:
        """Test folds according to the registry, for studies without embeddings; None if unknown."""
        if study.dataset in self._unprepared:
            return None
        encoder = self._parts.get(("encoder", study.encoder))
        info = self._info(study.dataset)
        seen = encoder.pretraining.folds.get(info.name, ()) if isinstance(encoder, Encoder) else ()
        try:
            return study.folds or usable_folds(info, seen)
        except InputError:
            return None

    def _part(self, study: StudySpec, key: tuple[str, ...], load: Callable[[], _T | None]) -> _T | None:
        if key not in self._parts:
            try:
                self._parts[key] = load()
            except InputError as error:
                self._parts[key] = error
        part = self._parts[key]
        if isinstance(part, InputError):
            self.blame(study, part)
            return None
        return part  # type: ignore[return-value]

    def _info(self, dataset: str) -> DatasetInfo:
        return get_dataset(dataset, self._own)

    def _neighbors(self, wanted: StudyInputs) -> Neighbors | None:
        """The neighbours of a dataset's classes; None if the dataset does not exist, which is already recorded."""
        if wanted.dataset in self._unprepared:
            return None
        return find_neighbors(self._files, self._info(wanted.dataset), wanted.neighbors, wanted.protocol)

    def _table(self, encoder: Encoder | None, wanted: StudyInputs, dataset: str) -> EmbeddingTable | None:
        """The embeddings of a dataset; None if the encoder is missing and some embeddings may be its own."""
        if dataset in self._unprepared:
            raise self._unprepared[dataset]
        places = (EmbeddingStore(self._files), EmbeddingStore(BUNDLED))
        if encoder is not None and any(place.has(encoder.fingerprint, dataset) for place in places):
            return study_table(self._root, encoder, dataset)
        if encoder is None and any(_by_encoder(place.files, wanted.encoder, dataset) for place in places):
            return None
        root = None if self._root == str(Path("sept-runs").resolve()) else self._root
        given = {"weights": wanted.weights, "text-model": wanted.text_model, "root": root}
        options = "".join(f" --{option} {quote(place)}" for option, place in given.items() if place is not None)
        command = f"sept embed {dataset.lower()} --audio DIR --encoder {wanted.encoder}{options}"
        raise InputError(f"no embeddings of {dataset} by {wanted.encoder}", fix=command)


def _by_encoder(files: Files, encoder: str, dataset: str) -> bool:
    """Whether there are embeddings of a dataset by an encoder with this name."""
    store = EmbeddingStore(files)
    for key in files.list("embeddings"):
        parts = key.split("/")
        if len(parts) == 4 and parts[2:] == [dataset, "manifest.json"]:
            manifest = store.manifest(parts[1], dataset)
            if manifest is not None and manifest.get("encoder") == encoder:
                return True
    return False
