"""Estimates the duration of a trial from earlier trials in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from pipeline.plan.models import Estimate
from pipeline.plan.work import Work, work_of
from pipeline.spec import StudyInputs, StudySpec, SweepSpec
from pipeline.store import TrialStore
from sept_core.errors import InputError
from sept_core.learners import LEARNERS
from sept_core.results import TrialResult
from sept_core.trial import TrialInputs
from sept_core.trial_config import TrialConfig, folder_of_study, parts_of_key, row_of_study

__all__ = ["History"]

# Signatures are hashes, so the first ones are a random sample.
_OF_A_STUDY = 32
_OF_OTHERS = 12
_OF_ANOTHER = 4
# Between methods, seconds per token differ by more than between datasets.
_METHODS = 2.0


class History:
    """The finished trials of a store, of any sweep.

    Args:
        store: The store; its trials are listed once.
        spec: The sweep to plan.
        load: Loads the inputs of trials; raises `InputError` if something is missing.
    """

    def __init__(self, store: TrialStore, spec: SweepSpec, load: Callable[[StudyInputs], TrialInputs]) -> None:
        self.machines: dict[str, None] = {}
        self._store = store
        self._spec = spec
        self._load = load
        self._signatures: dict[str, list[str]] = {}
        for key in store.files.list("trials"):
            parts = key.split("/")
            if len(parts) == 4 and parts[3] == "result.json" and parts[1].count(".") >= 3:
                self._signatures.setdefault(parts[1], []).append(parts[2])
        self._rates: dict[str, tuple[float, str] | None] = {}

    def of_study(self, study: StudySpec, replicas: int) -> Estimate | None:
        """The mean time of finished trials of the same study, scaled by epochs and replicas.

        With ``strict``, trials of the other test folds count too: each of them trains the same number of replicas.
        Trials with other shots, batch size, precision or selection are left out.
        """
        seconds = []
        own = folder_of_study(study.key)
        others = [key for key in self._signatures if study.fold is not None and row_of_study(key) == row_of_study(own)]
        for result in (one for key in dict.fromkeys((own, *others)) for one in self._results(key, _OF_A_STUDY)):
            config = result.config
            if self._alike(study, config):
                epochs = self._spec.training.epochs / config.epochs if config.epochs else 1.0
                seconds.append(result.train_seconds * epochs * replicas / _replicas(config))
                self.machines[result.machine] = None
        if not seconds:
            return None
        count = f"{len(seconds)} finished trial" + ("s" if len(seconds) > 1 else "")
        return Estimate(sum(seconds) / len(seconds), "store", count)

    def of_others(self, study: StudySpec, work: Work) -> Estimate | None:
        """The time of finished trials of the same encoder and method on other datasets, scaled by their work."""
        rate = self._rate(study, study.method)
        return None if rate is None else Estimate(rate[0] * work.size, "alike", rate[1])

    def of_methods(self, study: StudySpec, work: Work) -> Estimate | None:
        """A range from finished trials of other methods that train with the same encoder: per token, from half as long
        as the fastest method to twice as long as the slowest one."""
        keys = (parts_of_key(key) for key in self._signatures)
        methods = {parts.method for parts in keys if parts.encoder == study.encoder}
        found = {method: self._rate(study, method) for method in sorted(filter(_by_tokens, methods - {study.method}))}
        rates = {method: rate[0] for method, rate in found.items() if rate is not None}
        if not rates:
            return None
        least, most = min(rates.values()) * work.size / _METHODS, max(rates.values()) * work.size * _METHODS
        return Estimate((least * most) ** 0.5, "methods", f"trials of {', '.join(rates)}", least, most)

    def _rate(self, study: StudySpec, method: str) -> tuple[float, str] | None:
        if method not in self._rates:
            self._rates[method] = self._measured_rate(study, method)
        return self._rates[method]

    def _measured_rate(self, study: StudySpec, method: str) -> tuple[float, str] | None:
        """Seconds per token of a forward pass by a method, and the trials that this is from."""
        seconds, size, datasets = 0.0, 0.0, dict[str, None]()
        count = 0
        for config, result in self._others(study, method):
            inputs = replace(
                study.inputs,
                dataset=config.dataset,
                sept=config.sept,
                targets=tuple(config.targets),
                neighbors=self._spec.neighbors.get(config.dataset),
                protocol=config.protocol,
            )
            try:
                size += work_of(config, self._load(inputs)).size
            except InputError:
                # The inputs of that trial are gone or have changed.
                continue
            seconds += result.train_seconds
            datasets[config.dataset] = None
            self.machines[result.machine] = None
            count += 1
            if count == _OF_OTHERS:
                break
        return (seconds / size, f"{count} trials on {', '.join(datasets)}") if count else None

    def _others(self, study: StudySpec, method: str) -> Iterator[tuple[TrialConfig, TrialResult]]:
        for key in self._signatures:
            parts = parts_of_key(key)
            if key == folder_of_study(study.key) or (parts.encoder, parts.method) != (study.encoder, method):
                continue
            for result in self._results(key, _OF_ANOTHER):
                if result.config.precision == self._spec.training.precision or not result.config.epochs:
                    yield result.config, result

    def _results(self, study: str, most: int) -> list[TrialResult]:
        wanted = [(study, signature) for signature in self._signatures.get(study, ())[:most]]
        return [result for result in self._store.read_results(wanted).values() if result.state == "finished"]

    def _alike(self, study: StudySpec, config: TrialConfig) -> bool:
        spec = self._spec
        if config.selection != spec.selection:
            return False
        wanted = (study.shots, spec.training.batch_size, spec.training.precision)
        return not config.epochs or (config.shots, config.batch_size, config.precision) == wanted


def _by_tokens(method: str) -> bool:
    """Whether a method takes time in proportion to its text tokens: an untrained one does not, nor do caches."""
    learner = LEARNERS.get(method.split("+")[0])
    return learner is None or (learner.trainable and learner.learns_text)


def _replicas(config: TrialConfig) -> int:
    return len(config.folds) * len(config.seeds)
