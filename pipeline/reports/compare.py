"""Compares trials on their validation clips, over the replicas (test fold and seed) that they share.

Validation clips, because a comparison is there to choose by. The units are test folds, whose mean differences depend on
each other: with F folds, the clips that two folds train and validate on share F - 2 of F - 1 folds, so that what these
clips make of a difference has a correlation of at most r = (F - 2) / (F - 1). Of K folds with that correlation and the
standard deviation s, the mean has the variance

    s^2 (1 / K + r / (1 - r)) = s^2 (1 / K + F - 2)

and mean / its root is Student's t with K - 1 degrees of freedom, as in the correction of Nadeau and Bengio (2003). A
smaller correlation makes the test stricter than it says. Where all folds happen to differ by the same few clips, s is 0
and proves nothing, so the variance is at least that of as many clips, each for or against by chance.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from shlex import quote
from typing import Any

from pipeline.data.prepared import own_datasets
from pipeline.reports.claims import h_slopes, two_sided_t
from pipeline.reports.find_row import short_key, studies_named
from pipeline.reports.paired import paired_replicas
from pipeline.reports.rows import warning_of
from pipeline.search.selection import best_decision
from pipeline.spec import is_ablation
from pipeline.store import Proposal, TrialStore, root_option_of
from sept_core.datasets import get_dataset
from sept_core.errors import InputError
from sept_core.protocol_facts import protocol_of
from sept_core.results import TrialResult

__all__ = ["LEVEL", "Comparison", "Named", "Paired", "compare_trials", "interval"]

LEVEL = 0.05
"""Probability that any difference is called one although there is none, over all trials of a comparison."""

_NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HOW = "give SWEEP/STUDY/NUMBER, SWEEP/STUDY for its best configuration, or the beginning of a signature"


@dataclass(frozen=True)
class Named:
    """A trial of a comparison, with its mean validation over its own replicas, in percent."""

    sweep: str
    study: str
    number: int
    signature: str
    validation: dict[str, float]


@dataclass(frozen=True)
class Paired:
    """A trial against the first one.

    Attributes:
        replicas, folds: Number of shared replicas, and of their test folds.
        differences: Mean difference of each validation metric, in points.
        interval: 95 % interval of the first of them (of several trials together); None if nothing can be said.
        reason: Why nothing can be said.
    """

    replicas: int
    folds: int
    differences: dict[str, float]
    interval: tuple[float, float] | None
    reason: str = ""

    @property
    def differs(self) -> bool:
        """Whether a difference is shown."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


@dataclass(frozen=True)
class Comparison:
    """Trials, what differs between their configurations (by name, a value for each), and all but the first compared
    with the first."""

    trials: tuple[Named, ...]
    differing: dict[str, tuple[Any, ...]]
    paired: tuple[Paired, ...]
    warning: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = asdict(self)
        for one, paired in zip(plain["paired"], self.paired, strict=True):
            one["differs"] = paired.differs
        return plain


def compare_trials(store: TrialStore, wanted: Sequence[str]) -> Comparison:
    """See ``pipeline.compare``."""
    if not 2 <= len(wanted) <= len(_NAMES):
        raise InputError(f"{len(wanted)} trials", fix=f"give 2 to {len(_NAMES)}; {_HOW}")
    finder = _Finder(store)
    found = [finder.find(word) for word in wanted]
    results = [finder.result(*one) for one in found]
    # The folds of a data set that is gone are at least those that were tested.
    folds = {fold for result in results for fold in result.config.folds}
    try:
        in_all = len(get_dataset(results[0].config.dataset, own_datasets(store.files)).folds)
    except InputError:
        in_all = len(folds)
    others = results[1:]
    return Comparison(
        trials=tuple(
            Named(sweep, proposal.study, proposal.number, proposal.signature, _means(result))
            for (sweep, proposal), result in zip(found, results, strict=True)
        ),
        differing=_differing(results),
        paired=tuple(_pair(results[0], other, max(in_all, len(folds)), LEVEL / len(others)) for other in others),
        warning=next(filter(None, (warning_of(result.config.selection) for result in results)), ""),
    )


def interval(folds: Sequence[float], in_all: int, least: float, level: float = LEVEL) -> tuple[float, float] | None:
    """Interval of the mean of the differences of test folds; None with one fold.

    Args:
        folds: The mean difference of each.
        in_all: Number of folds of the data set.
        least: Least variance of the mean, that of the clips.
        level: Probability that it excludes 0 although there is no difference.
    """
    count = len(folds)
    if count < 2:
        return None
    mean = statistics.fmean(folds)
    variance = max(statistics.variance(folds) * (1 / count + in_all - 2), least)
    half = _student(level, count - 1) * math.sqrt(variance)
    return mean - half, mean + half


@lru_cache(maxsize=64)
def _student(level: float, free: int) -> float:
    """The t that is exceeded in both directions together with this probability."""
    low, high = 0.0, 1.0
    while two_sided_t(high, free) > level:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_t(middle, free) > level else (low, middle)
    return high


def _pair(first: TrialResult, other: TrialResult, in_all: int, level: float) -> Paired:
    apart = [
        name
        for name in ("dataset", "encoder", "protocol", "selection", "shots", "crossing", "manifest_digest")
        if getattr(first.config, name) != getattr(other.config, name)
    ]
    if apart:
        return Paired(0, 0, {}, None, f"not measured on the same clips (another {', '.join(apart)})")
    pairs = paired_replicas(first.replicas, other.replicas)
    if not pairs:
        return Paired(0, 0, {}, None, "no test fold and seed in common")
    of: dict[str, dict[str, list[float]]] = {}
    for one, row in pairs:
        for name in protocol_of(first.config.protocol).validated:
            of.setdefault(name, {}).setdefault(row["fold"], []).append(row[f"val_{name}"] - one[f"val_{name}"])
    by_fold = {name: [statistics.fmean(values) for values in folds.values()] for name, folds in of.items()}
    differences = {name: statistics.fmean(values) for name, values in by_fold.items()}
    headline = next(iter(by_fold))
    least = _least_variance(first, pairs, differences, in_all)
    found = interval(by_fold[headline], in_all, least, level)
    reason = "" if found else "one test fold in common: nothing can be said about others"
    return Paired(len(pairs), len(by_fold[headline]), differences, found, reason)


def _means(result: TrialResult) -> dict[str, float]:
    return {name: result.validation[name] for name in protocol_of(result.config.protocol).validated}


def _least_variance(
    result: TrialResult,
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    differences: Mapping[str, float],
    in_all: int,
) -> float:
    """The variance of the mean if it comes from as few clips as possible, each for or against by chance; in points^2.

    Every clip of the data set is a test clip of one fold, and a validation clip of all others.
    """
    replicas = len(result.config.folds) * len(result.config.seeds)
    seeds = len({row["seed"] for _, row in pairs})
    slopes = dict.fromkeys(differences, 1.0)
    if "base" in differences:
        (b1, n1), (b2, n2) = (
            [statistics.fmean(pair[at][f"val_{name}"] for pair in pairs) for name in ("base", "new")] for at in (0, 1)
        )
        slopes = dict(zip(("base", "new"), h_slopes((b1, n1), (b2, n2)), strict=True))
    variance = 0.0
    for name, slope in slopes.items():
        clips = sum(map(sum, result.confusion.get(name, ()))) / replicas * in_all
        variance += slope**2 * abs(differences[name]) * 100.0 / max(clips * seeds, 1.0)
    return variance


def _differing(results: Sequence[TrialResult]) -> dict[str, tuple[Any, ...]]:
    plain = []
    for result in results:
        values = result.config.model_dump(mode="json", exclude={"baseline", "sept", "hyper"})
        plain.append({"method": result.config.method, **values, **result.config.hyper})
    names = dict.fromkeys(name for one in plain for name in one)
    every = {name: tuple(one.get(name) for one in plain) for name in names}
    return {name: values for name, values in every.items() if any(value != values[0] for value in values)}


class _Finder:
    """Finds trials by what a person has typed; reads each sweep once."""

    def __init__(self, store: TrialStore) -> None:
        self._store = store
        self._sweeps = store.sweeps()
        self._proposals: dict[str, list[Proposal]] = {}

    def find(self, word: str) -> tuple[str, Proposal]:
        """The sweep and the proposal of the one trial that is meant.

        Raises:
            InputError: There is none, or there are several.
        """
        sweep, slash, rest = word.partition("/")
        searches = [one for one in self._sweeps if not is_ablation(one)]
        among, name = ([sweep], rest) if slash and sweep in self._sweeps else (searches, word)
        # The same trial may belong to several sweeps.
        found = {proposal.signature: (sweep, proposal) for sweep in among for proposal in self._meant(sweep, name)}
        if len(found) == 1:
            return next(iter(found.values()))
        where = self._store.files.address("sweeps")
        if not found:
            if any(self._studies(one, name) for one in among):
                # None has finished, or it is one of an ablation.
                raise InputError(
                    f"'{word}' has no best trial", where=where, fix="give the NUMBER of a finished one, too"
                )
            listed = f"; sweeps: {', '.join(self._sweeps)}" if self._sweeps else "; no sweep was launched there yet"
            raise InputError(f"no trial '{word}'", where=where, fix=_HOW + listed)
        some = [f"{sweep}/{short_key(one.study)}/{one.number}" for sweep, one in list(found.values())[:4]]
        more = ", ..." if len(found) > 4 else ""
        raise InputError(f"'{word}' may be {len(found)} trials", where=where, fix=f"give one: {', '.join(some)}{more}")

    def result(self, sweep: str, proposal: Proposal) -> TrialResult:
        """The result of a finished trial.

        Raises:
            InputError: It has none.
        """
        result = self._store.read_result(proposal.study, proposal.signature)
        if result is None or result.state != "finished":
            what = f"trial {sweep}/{short_key(proposal.study)}/{proposal.number} has no finished result"
            command = f"sept trials {quote(sweep)} --state finished{root_option_of(self._store.files)}"
            raise InputError(what, fix=f"see the finished ones: {command}")
        return result

    def _of(self, sweep: str) -> list[Proposal]:
        if sweep not in self._proposals:
            self._proposals[sweep] = self._store.proposals(sweep)
        return self._proposals[sweep]

    def _studies(self, sweep: str, name: str) -> list[str]:
        """The studies of this name, if any."""
        try:
            return studies_named(sweep, dict.fromkeys(one.study for one in self._of(sweep)), name)
        except InputError:
            return []

    def _meant(self, sweep: str, name: str) -> Iterator[Proposal]:
        proposals = self._of(sweep)
        study, _, number = name.rpartition("/")
        number = number.removeprefix("#")
        studies = self._studies(sweep, study or name)
        if not studies:
            yield from (one for one in proposals if len(name) >= 4 and one.signature.startswith(name))
            return
        if study:
            yield from (one for one in proposals if one.study in studies and str(one.number) == number)
            return
        # Nothing is chosen among the variants of an ablation.
        decisions = [] if is_ablation(sweep) else self._store.decisions(sweep)
        for key in studies:
            best = best_decision(one for one in decisions if one.study == key)
            yield from (one for one in proposals if best and (one.study, one.number) == (best.study, best.number))
