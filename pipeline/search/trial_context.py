"""Runs a trial outside of its sweep, with the inputs and in the way of a worker of the sweep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.data.stored_spec import stored_spec
from pipeline.search.inputs import Loader
from pipeline.spec import StudyInputs
from pipeline.store.trials import TrialStore
from sept_core.errors import InputError
from sept_core.results import TrialResult
from sept_core.trial_config import METHOD_VERSION, TrialConfig

if TYPE_CHECKING:
    from sept_core.trial import TrialInputs

__all__ = ["TrialPlace", "check_version", "load_there", "trial_place"]


@dataclass(frozen=True)
class TrialPlace:
    """The inputs and resources of the trials of a study.

    Attributes:
        inputs: What they read.
        threads: Threads of a trial.
        gpu: Whether a trial uses a GPU, if there is one here.
    """

    inputs: StudyInputs
    threads: int
    gpu: bool


def check_version(stored: TrialResult) -> None:
    """Check that this release computes a trial like the one that made it; call it before anything is loaded.

    Raises:
        InputError: The trial is of another method version.
    """
    if stored.config.method_version != METHOD_VERSION:
        made_by = ", ".join(f"{package} {number}" for package, number in sorted(stored.versions.items()))
        raise InputError(
            f"the trial is of method version {stored.config.method_version}, this release of {METHOD_VERSION}",
            where=stored.signature,
            fix=f"install the version that made it: {made_by}",
        )


def trial_place(store: TrialStore, sweep: str, key: str, config: TrialConfig) -> TrialPlace:
    """Inputs and resources of a trial of a sweep.

    Args:
        store: Contains the sweep.
        sweep: Its name.
        key: The key of the study.
        config: The trial's configuration.

    Raises:
        InputError: No such sweep.
    """
    import torch

    spec = stored_spec(store, sweep)
    cpus, gpus = spec.resources.of(config.method)
    threads, gpu = max(1, int(cpus)), gpus != 0 and torch.cuda.is_available()
    embeddings = {config.dataset: config.embeddings_digest, **config.targets}
    for study in spec.studies():
        if study.key == key:
            return TrialPlace(replace(study.inputs, embeddings=embeddings), threads, gpu)
    # The study was removed from the sweep; its records are still valid.
    targets = tuple(config.targets)
    inputs = StudyInputs(
        config.encoder,
        config.dataset,
        config.sept,
        targets,
        spec.encoder.weights,
        embeddings=embeddings,
        protocol=config.protocol,
    )
    return TrialPlace(inputs, threads, gpu)


def load_there(root: str, place: TrialPlace, provider: Loader) -> TrialInputs:
    """What the trial reads, with the text tower on the right device; call it within `as_a_worker`."""
    inputs = provider(root, place.inputs)
    if place.gpu:
        inputs.encoder.text.to("cuda")
    return inputs
