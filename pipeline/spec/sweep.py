"""A sweep as described by its YAML, and its studies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StrictInt, field_validator

from pipeline.spec.ablation import Ablation, AblationTrial
from pipeline.spec.cells import Cell, cells_of, encoder_names, in_cell, labelled
from pipeline.spec.models import Dimension, EncoderFiles, Model, Pruner, Resources, Sampler, Training
from pipeline.spec.values import as_number
from sept_core.datasets.split_overlap import CrossingRule
from sept_core.hyper import HyperParameter, Value
from sept_core.methods import hyper_parameters, split_method
from sept_core.protocol_facts import ProtocolName, protocol_of
from sept_core.semantic import NamingNew
from sept_core.trial_config import row_key_of, study_key_of

__all__ = ["StudyInputs", "StudySpec", "SweepSpec"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class StudyInputs:
    """What the trials of a study read: driver and workers load their inputs from this description.

    Attributes:
        encoder: Name of the encoder.
        dataset: Name of the dataset; cross-dataset: of the source.
        sept: Whether neighbours are needed.
        targets: Cross-dataset: names of the targets.
        weights, text_model: Places of the encoder's files, see `EncoderFiles`.
        neighbors: A file of neighbours; None for those of the dataset for this protocol.
        embeddings: By dataset: the digest of the embeddings of an existing trial, to choose between the user's
            embeddings and the shipped ones, which differ in their last digits. Without a digest the user's are used.
        protocol: Decides which classes are trained, and so which lists of neighbours are read.
    """

    encoder: str
    dataset: str
    sept: bool
    targets: tuple[str, ...] = ()
    weights: str | None = None
    text_model: str | None = None
    neighbors: str | None = None
    embeddings: Mapping[str, str] = field(default_factory=dict)
    protocol: ProtocolName = "base-to-new"


@dataclass(frozen=True)
class StudySpec:
    """One search: one dataset (cross-dataset: one source), one encoder, one method; with ``strict`` one test fold.

    Attributes:
        key: Such as ``ESC10.mini.base-to-new.coop+sept``; identifies the study everywhere.
        row_key: The key without its fold, common to all studies of this dataset, method and cell.
        folds: Test folds of its trials; None for all that the encoder has not seen.
        fold: With ``strict`` its only test fold, which is also in the key; else None.
        inputs: What its trials read.
        shots: Training clips per class.
        space: Hyper-parameters that the sweep sets or searches; all others keep their defaults.
        declared: All hyper-parameters of the method.
        trials: Number of trials of the study.
        priority: Studies of a higher priority are served first.
        parallel: Maximum number of running trials. Part of the search: proposal n sees the outcomes 0..n-parallel only.
        method_in_cell: The method with its cell, such as ``coop@shots=4``; with several encoders the cell names the
            encoder too.
        listed: The configurations of an ablation, which are trained in this order; empty for a search.
    """

    key: str
    row_key: str
    folds: tuple[str, ...] | None
    fold: str | None
    inputs: StudyInputs
    baseline: str
    shots: int
    space: Mapping[str, Dimension]
    declared: Mapping[str, HyperParameter]
    trials: int
    priority: int
    parallel: int
    sampler: Sampler
    pruner: Pruner
    method_in_cell: str = ""
    listed: tuple[AblationTrial, ...] = ()

    def folds_of(self, params: Mapping[str, Value]) -> tuple[str, ...] | None:
        """The test folds of the trial with these parameters: those of the study or, if it is listed, its own."""
        own = next((tuple(one.folds) for one in self.listed if one.hyper == params), None)
        return self.folds if own is None or self.fold is not None else own

    @property
    def dataset(self) -> str:
        """Name of the dataset (cross-dataset: of the source)."""
        return self.inputs.dataset

    @property
    def encoder(self) -> str:
        """Name of the encoder."""
        return self.inputs.encoder

    @property
    def sept(self) -> bool:
        """Whether SEPT is on."""
        return self.inputs.sept

    @property
    def method(self) -> str:
        """Such as ``coop`` or ``coop+sept``."""
        return f"{self.baseline}+sept" if self.sept else self.baseline

    @property
    def searched(self) -> dict[str, Dimension]:
        """The searched dimensions, by name in alphabetical order."""
        return {name: self.space[name] for name in sorted(self.space) if self.space[name].searched}

    @property
    def constants(self) -> dict[str, Value]:
        """The values that the space fixes."""
        return {name: dim.constant for name, dim in sorted(self.space.items()) if not dim.searched}


class SweepSpec(Model):
    """A sweep: datasets x methods, each pair a study; with ``selection: strict`` a study for each test fold of a pair.

    Made by `load_sweep`, which completes and checks it.

    Attributes:
        name: Folder of the sweep in the store, experiment in MLflow.
        selection: How configurations are chosen, see ``sept_core/protocols.py``.
        crossing: What to do with training clips that a published split shares with its test clips: ``keep`` them, as
            published results do, or ``drop`` them.
        accept_faulty_splits: Datasets whose copy is used although its train and test sets are swapped or overlap.
        protocol: What is trained on and tested, see ``sept_core/protocols.py``.
        datasets: The datasets of base-to-new and few-shot.
        sources, targets: Cross-dataset, in place of ``datasets``: each source is trained on and then tested on every
            target but itself.
        neighbors: By dataset: a file of neighbours, instead of those of the dataset.
        neighbors_naming_new: Base-to-new: whether neighbours that happen to name a new class are kept (and counted in
            the data warnings), or left out by ``drop``, which uses the names of new classes.
        folds: ``all`` that the encoder has not seen, or by dataset. With ``strict``, a loaded spec names every
            dataset's.
        trials: Trials of each study; a study with nothing to search has one. With ``strict`` a trial trains one of k
            folds, so that the k studies of a pair train as many replicas in total as one study with ``heldout``.
            Budgets and priorities also apply to each of the k studies.
        budgets: Other numbers of trials: by study (``ESC50.coop+sept``), by method, or by dataset, looked up in this
            order. A gain compares equally many trials of a baseline with and without SEPT, so more trials for one of
            them are of no use.
        priorities: In the same form: studies of a higher priority are served first, those of equal priority in turn; 0
            by default.
        presets: By baseline: the published code whose settings are used unless the sweep overrides them.
        spaces: By baseline (``coop``) and for SEPT (``sept``): overrides in the file, complete once loaded.
        axes, variants: Values along axes and variants of methods, each a search of its own: `pipeline.spec.cells`.
        ablation: Fixed configurations in place of a search; only ``sept ablate`` writes it.
    """

    name: str
    encoder: EncoderFiles
    protocol: ProtocolName = "base-to-new"
    selection: Literal["heldout", "strict", "nested", "paper"] = "heldout"
    crossing: CrossingRule = "keep"
    accept_faulty_splits: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    methods: tuple[str, ...] = Field(min_length=1)
    trials: int = Field(ge=1)
    budgets: dict[str, Annotated[StrictInt, Field(ge=1)]] = Field(default_factory=dict)
    priorities: dict[str, StrictInt] = Field(default_factory=dict)
    parallel: int = Field(default=2, ge=1)
    shots: int = Field(default=16, ge=1)
    seeds: tuple[StrictInt, ...] = Field(default=(0,), min_length=1)
    folds: Literal["all"] | dict[str, tuple[str, ...]] = "all"
    training: Training
    sampler: Sampler = Sampler()
    pruner: Pruner = Pruner()
    resources: Resources = Resources()
    neighbors: dict[str, str] = Field(default_factory=dict)
    neighbors_naming_new: NamingNew = "keep"
    presets: dict[str, str] = Field(default_factory=dict)
    axes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    variants: dict[str, dict[str, Value]] = Field(default_factory=dict)
    spaces: dict[str, dict[str, Dimension]] = Field(default_factory=dict)
    ablation: Ablation | None = None

    @field_validator("name")
    @classmethod
    def _folder(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("letters, digits, '.', '_' and '-', at most 64, starting with a letter or digit")
        return value

    @field_validator("datasets", "sources", "targets", "methods", "seeds", "accept_faulty_splits")
    @classmethod
    def _distinct(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len({str(value).lower() for value in values}) != len(values):
            raise ValueError("the same entry twice")
        return values

    @field_validator("axes", mode="before")
    @classmethod
    def _labels(cls, axes: Any) -> Any:
        if not isinstance(axes, dict):
            return axes
        return {axis: labelled(axis, values) for axis, values in axes.items()}

    @field_validator("variants", mode="before")
    @classmethod
    def _numbers_of_variants(cls, variants: Any) -> Any:
        return as_number(variants)

    @field_validator("folds", mode="before")
    @classmethod
    def _folds_as_words(cls, value: Any) -> Any:
        # Folds are names, even if the YAML lists them as numbers.
        if isinstance(value, dict):
            return {
                name: [str(fold) for fold in folds] if isinstance(folds, list | tuple) else folds
                for name, folds in value.items()
            }
        return value

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The datasets that have studies: ``datasets``, or ``sources``."""
        named: tuple[str, ...] = getattr(self, protocol_of(self.protocol).data[0])
        return named

    @property
    def encoders(self) -> tuple[str, ...]:
        """The names of its encoders: those on an axis, or its only one."""
        return encoder_names(self.axes) or (self.encoder.name,)

    def studies(self) -> tuple[StudySpec, ...]:
        """The studies, dataset by dataset, in the order of the file."""
        pairs = [(dataset, method) for dataset in self.trained_on for method in self.methods]
        return tuple(
            self._study(dataset, method, fold, cell)
            for dataset, method in pairs
            for cell in cells_of(self.axes, self.variants, method)
            for fold in self._apart(dataset)
        )

    def _apart(self, dataset: str) -> tuple[str | None, ...]:
        """The test folds of a dataset that have their own studies; None stands for all folds in one study."""
        if self.selection != "strict":
            return (None,)
        folds = self.folds_of(dataset)
        if folds is None:
            raise ValueError(f"the folds of {dataset} are not known yet; load_sweep names them")
        return folds

    def targets_of(self, source: str) -> tuple[str, ...]:
        """The targets that a source is tested on: all but itself."""
        return tuple(target for target in self.targets if target != source)

    def folds_of(self, dataset: str) -> tuple[str, ...] | None:
        """The test folds chosen for a dataset, None for all that the encoder has not seen."""
        return self.folds.get(dataset) if isinstance(self.folds, dict) else None

    def text(self) -> str:
        """The complete spec as YAML, as it is stored."""
        content = self.model_dump(mode="json", exclude_none=True)
        empty = (
            "datasets",
            "sources",
            "targets",
            "neighbors",
            "budgets",
            "priorities",
            "accept_faulty_splits",
            "presets",
            "axes",
            "variants",
        )
        for key in empty:
            if not content[key]:
                del content[key]
        for key in ("crossing", "neighbors_naming_new"):
            if content[key] == "keep":
                del content[key]
        for key in ("cpus", "gpus"):
            if content["resources"][key] == "auto":
                del content["resources"][key]
        if not content["resources"]["by_method"]:
            del content["resources"]["by_method"]
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)

    def _study(self, dataset: str, method: str, fold: str | None, cell: Cell) -> StudySpec:
        baseline, sept = split_method(method)
        space = {name: own for part in method.split("+") for name, own in self.spaces.get(part, {}).items()}
        space |= {name: Dimension(fixed=value) for name, value in cell.hyper.items()}
        encoder = cell.encoder or self.encoder
        neighbors = self.neighbors if cell.neighbors is None else cell.neighbors
        listed = tuple(
            one
            for one in (self.ablation.trials if self.ablation else ())
            if one.method == method and (fold is None or fold in one.folds)
        )
        if self.ablation:
            space = {}
        searched = any(dimension.searched for dimension in space.values())
        row_key = row_key_of(dataset, encoder.name, self.protocol, method)
        return StudySpec(
            key=study_key_of(row_key, fold, cell.name),
            row_key=study_key_of(row_key, None, cell.name),
            folds=self.folds_of(dataset) if fold is None else (fold,),
            fold=fold,
            inputs=StudyInputs(
                encoder=encoder.name,
                dataset=dataset,
                sept=sept,
                targets=self.targets_of(dataset),
                weights=encoder.weights,
                text_model=encoder.text_model,
                neighbors=neighbors.get(dataset) if sept else None,
                protocol=self.protocol,
            ),
            baseline=baseline,
            shots=self.shots if cell.shots is None else cell.shots,
            space=space,
            declared=hyper_parameters(baseline, sept),
            trials=_of_study(self.budgets, dataset, method, self.trials) if searched else len(listed) or 1,
            priority=_of_study(self.priorities, dataset, method, 0),
            parallel=self.parallel,
            sampler=self.sampler,
            pruner=self.pruner,
            method_in_cell=in_cell(method, cell.name, encoder.name if "encoder" in self.axes else None),
            listed=listed,
        )


def _of_study(values: Mapping[str, int], dataset: str, method: str, default: int) -> int:
    """The value for a study: by the study, its method, or its dataset."""
    for key in (f"{dataset}.{method}", method, dataset):
        if key in values:
            return values[key]
    return default
