"""The size of the trials of a study, and the resources of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from pipeline.spec import Dimension, StudyInputs, StudySpec, SweepSpec
from sept_core.encoders.prefix import TOKEN_BUDGET
from sept_core.hyper import Value
from sept_core.trial import TrialInputs, TrialRun, make_config
from sept_core.trial_config import TrialConfig

__all__ = [
    "few_replicas",
    "fitting",
    "gpu_share",
    "largest",
    "middle",
    "step_tokens",
    "study_needs",
    "trial_config",
    "trial_needs",
]

_ROUNDING = 1e-6


def trial_config(spec: SweepSpec, study: StudySpec, inputs: TrialInputs, params: Mapping[str, Value]) -> TrialConfig:
    """The configuration of a study's trial with these searched values.

    Raises:
        InputError: It cannot be trained on these inputs.
    """
    return make_config(
        inputs,
        study.method,
        study.constants | dict(params),
        shots=study.shots,
        folds=study.folds_of(params),
        seeds=spec.seeds,
        epochs=spec.training.epochs,
        report_every=spec.training.report_every,
        batch_size=spec.training.batch_size,
        precision=spec.training.precision,
        protocol=spec.protocol,
        selection=spec.selection,
        crossing=spec.crossing,
        neighbors_naming_new=spec.neighbors_naming_new,
        accept_faulty_split=study.dataset in spec.accept_faulty_splits,
    )


def largest(study: StudySpec) -> dict[str, Value]:
    """The upper end of every searched dimension: the longest context, the most neighbours."""
    if study.listed:
        # All test folds, neighbours and context of the largest, even if no single trial has all of these.
        names = [name for name in ("n_ctx", "n_neighbors") if name in study.listed[0].hyper]
        most = {name: max(int(one.hyper[name]) for one in study.listed) for name in names}
        return max((one.hyper for one in study.listed), key=lambda hyper: len(hyper)) | most
    ends = {name: dimension.extremes for name, dimension in study.searched.items()}
    return {
        name: values[0] if any(isinstance(value, str) for value in values) else max(values, key=float)
        for name, values in ends.items()
    }


def middle(study: StudySpec) -> dict[str, Value]:
    """The middle of every searched dimension, on its own scale; of choices, the one nearest to their mean."""
    if study.listed:
        return dict(study.listed[0].hyper)
    return {name: _middle(dim, study.declared[name].kind is int) for name, dim in study.searched.items()}


def _middle(dimension: Dimension, whole: bool) -> Value:
    values = dimension.extremes
    numbers = [float(value) for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return values[0]
    if dimension.choices is not None:
        mean = sum(numbers) / len(numbers)
        return min(values, key=lambda value: abs(float(value) - mean))
    low, high = numbers
    value = math.sqrt(low * high) if dimension.log else (low + high) / 2
    if dimension.step is not None:
        value = low + round((value - low) / dimension.step) * dimension.step
    return round(value) if whole else value


def few_replicas(config: TrialConfig, count: int = 1) -> TrialConfig:
    """The configuration with ``count`` of its replicas, or a few less, and constant margins: for sizing and timing.

    A step costs the same for each replica, and no hand-crafted prompts must be encoded first.
    """
    folds = config.folds[:count]
    seeds = config.seeds[: max(1, count // len(folds))]
    hyper = config.hyper | ({"margin_mode": "constant"} if config.sept else {})
    return config.model_copy(update={"folds": folds, "seeds": seeds, "hyper": hyper})


def step_tokens(config: TrialConfig, inputs: TrialInputs) -> int:
    """Text tokens of one step of all replicas of a trial."""
    return len(config.folds) * len(config.seeds) * TrialRun(few_replicas(config), inputs).step_tokens


def gpu_share(step_tokens: int) -> float:
    """The share of a GPU for a trial with this many text tokens per step: 1/4, 1/2 or all of it.

    A trial that fills a pass (`TOKEN_BUDGET`) keeps a GPU busy. A small study leaves it idle most of the time, and four
    of its trials fit in memory, since the size of a pass is limited.
    """
    for parts in (4, 2):
        if step_tokens * parts <= TOKEN_BUDGET["cuda"]:
            return 1 / parts
    return 1.0


def fitting(need: tuple[float, float], cpus: float, gpus: float) -> float:
    """How many trials run at the same time on so many CPUs and GPUs; infinite for infinite CPUs and no GPU needed.

    Args:
        need: CPUs and share of a GPU that a trial occupies; a share is always of one GPU.
        cpus: CPUs, infinite if their number does not matter.
        gpus: GPUs.
    """
    by_cpu = cpus if math.isinf(cpus) else int(cpus / need[0] + _ROUNDING)
    return min(by_cpu, int(gpus) * round(1 / need[1]) if need[1] else math.inf)


def study_needs(
    spec: SweepSpec, study: StudySpec, gpus: float, load: Callable[[StudyInputs], TrialInputs]
) -> tuple[float, float]:
    """CPUs and share of a GPU that a trial of a study occupies.

    Args:
        spec: The sweep; ``auto`` is resolved here.
        study: One of its studies.
        gpus: GPUs of the cluster.
        load: Loads what trials read; called only if the size of the study matters.

    Raises:
        InputError: The inputs that determine the size are missing.
    """
    cpus, share = spec.resources.of(study.method)
    if share == "auto":
        share = 0.0
        if gpus:
            inputs = load(study.inputs)
            share = gpu_share(step_tokens(trial_config(spec, study, inputs, largest(study)), inputs))
    return cpus, float(share)


def trial_needs(
    spec: SweepSpec, gpus: float, load: Callable[[StudyInputs], TrialInputs]
) -> dict[str, tuple[float, float]]:
    """`study_needs` of every study, by its key."""
    return {study.key: study_needs(spec, study, gpus, load) for study in spec.studies()}
