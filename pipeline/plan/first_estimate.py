"""The first estimate of a sweep, kept with it, so that it can be held against what its trials took.

    sweeps/<sweep>/plan.json

`sept sweep plan` writes it as long as no trial of the sweep has ended, before the first launch too. Later ones of the
same spec leave it as it is; one of another spec, or with estimates for more studies, takes its place.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from pipeline.plan.models import Accuracy, PlannedStudy, Source, StudyAccuracy
from pipeline.store import Decision, TrialStore
from pipeline.store.protocol import StoreDenied
from pipeline.store.trials import sweep_key
from sept_core.documents import duration_s, seal, time_ms, unseal
from sept_core.errors import InputError
from sept_core.results import now_ms, software

if TYPE_CHECKING:
    from pipeline.spec import SweepSpec

__all__ = ["estimate_accuracy", "keep_estimate", "plan_key"]


def plan_key(sweep: str) -> str:
    """Key of a sweep's first estimate."""
    return sweep_key(sweep, "plan.json")


def keep_estimate(store: TrialStore, spec: SweepSpec, studies: Sequence[PlannedStudy]) -> str:
    """Keep the estimate if it is the first of this spec, and no trial has ended.

    Returns:
        Where the first estimate lies, this one or an earlier one; empty where there is none, or none may be kept.
    """
    key = plan_key(spec.name)
    stored, before = _read(store, key)
    known = {
        study.key: {"seconds": study.estimate.seconds, "source": study.estimate.source}
        for study in studies
        if study.estimate.seconds is not None
    }
    begun = any(study.finished + study.pruned + study.failed for study in studies)
    first = before is None or before["spec"] != spec.text() or known.keys() > before["studies"].keys()
    if known and first and not begun:
        content = {
            "spec": spec.text(),
            "selection": spec.selection,
            "made_ms": now_ms(),
            "machine": software()[1],
            "studies": known,
        }
        try:
            # Of two who plan at the same time one is first; it does not matter which.
            store.files.replace(key, stored, seal(content))
        except StoreDenied:
            # Whoever may only read can plan all the same.
            return ""
        return store.files.address(key)
    return "" if before is None else store.files.address(key)


def estimate_accuracy(store: TrialStore, sweep: str, decisions: Iterable[Decision] | None = None) -> Accuracy | None:
    """How good a sweep's first estimate was, by the trials that have finished; pruned ones end early for good reason.

    Args:
        store: The store.
        sweep: Name of the sweep.
        decisions: Its decisions, where the caller has read them already.

    Returns:
        None where there is nothing to compare: no estimate, no finished trial, or another search than the one that was
        estimated.
    """
    _, kept = _read(store, plan_key(sweep))
    launched = store.read_spec(sweep)
    if kept is None or launched is None or not _same_search(store, kept["spec"], launched):
        return None
    took = _seconds(store, kept["selection"], store.decisions(sweep) if decisions is None else decisions)
    studies = tuple(
        StudyAccuracy(key, estimate["source"], len(took[key]), estimate["seconds"], statistics.fmean(took[key]))
        for key, estimate in kept["studies"].items()
        if took.get(key) and estimate["seconds"] > 0
    )
    return Accuracy(kept["made_ms"], kept["machine"], studies) if studies else None


def _seconds(store: TrialStore, selection: str, decisions: Iterable[Decision]) -> dict[str, list[float]]:
    """By study: how long its finished trials trained."""
    finished = [decision for decision in decisions if decision.state == "finished" and decision.curve]
    seconds: dict[str, list[float]] = {}
    if selection == "nested":
        # Its second training makes no reports.
        results = store.read_results((decision.study, decision.signature) for decision in finished)
        for (study, _), result in results.items():
            seconds.setdefault(study, []).append(result.train_seconds)
        return seconds
    for decision in finished:
        seconds.setdefault(decision.study, []).append(decision.curve[-1].time_s)
    return seconds


def _same_search(store: TrialStore, planned: str, launched: str) -> bool:
    """Whether the spec that was launched is one that the planned one may have become."""
    if planned == launched:
        return True
    # Imported here: it takes torch, which a report that is all in order can do without.
    from pipeline.data.prepared import own_datasets
    from pipeline.spec import parse_sweep, spec_differences

    own = own_datasets(store.files)
    try:
        before, after = (parse_sweep(text, "plan.json", own=own, stored=True) for text in (planned, launched))
    except InputError:
        return False
    return not spec_differences(before, after)


def _read(store: TrialStore, key: str) -> tuple[bytes | None, dict[str, Any] | None]:
    """The document's bytes and content; no content where it is not there, or damaged: it is made to be looked at."""
    try:
        data = store.files.read(key)
    except FileNotFoundError:
        return None, None
    try:
        content = unseal(data)
    except ValueError:
        return data, None
    return data, content if _sound(content) else None


def _sound(content: Mapping[str, Any]) -> bool:
    studies = content.get("studies")
    return (
        all(isinstance(content.get(name), str) for name in ("spec", "selection", "machine"))
        and _readable(time_ms, content.get("made_ms"))
        and isinstance(studies, dict)
        and all(
            isinstance(entry, dict)
            and _readable(duration_s, entry.get("seconds"))
            and entry.get("source") in get_args(Source)
            for entry in studies.values()
        )
    )


def _readable(read: Callable[[Any], object], value: Any) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return True
