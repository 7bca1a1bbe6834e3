"""Trains a trial of a sweep again from its stored configuration, and compares it with the stored result.

outcome = rerun(TrialStore(open_files("sept-runs")), "sept-runs", "quickstart", "3c0c40baaf5b3304")

It runs no search and no Ray, and writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.search.devices import as_a_worker
from pipeline.search.inputs import Loader, load_inputs
from pipeline.search.trial_context import TrialPlace, check_version, load_there, trial_place
from pipeline.spec.known_sweep import known_sweep
from pipeline.store.records import Proposal
from pipeline.store.trials import TrialStore
from sept_core.errors import InputError, SeptError
from sept_core.results import Report, TrialResult
from sept_core.trial_config import TrialConfig

if TYPE_CHECKING:
    from pipeline.reports.rows import FoldChoice, ForUse

__all__ = ["Rerun", "meant_trials", "rerun"]

_NUMBERS = ("validation", "test", "replicas", "confusion", "tested", "curve")


@dataclass(frozen=True)
class Rerun:
    """The new result of a trial, compared with the stored one.

    Attributes:
        differing: Which of these differ: validation, test, replicas, confusion, tested (which test clips were right, if
            that is stored) and the metrics of the curve; empty if all are bit-equal.
        largest: Largest difference of a test metric, in points.
        elsewhere: Other differences: versions, machine.
        here: Threads and device of the new result; those of the stored result are unknown.
    """

    result: TrialResult
    stored: TrialResult
    differing: tuple[str, ...]
    largest: float
    elsewhere: tuple[str, ...]
    here: str


def meant_trials(store: TrialStore, sweep: str, wanted: str) -> tuple[str, ...]:
    """Signatures of the trials that a person has typed.

    Args:
        store: The trial store.
        sweep: Name of the sweep.
        wanted: A signature or the beginning of it; or a row or study, as in `pick_row`: then all trials behind the row,
            in the table and in its gain, and the best configurations; with ``strict``, for the study of one test fold,
            those of this study alone.

    Raises:
        InputError: No such sweep, trial or study.
    """
    known_sweep(store, sweep, wanted)
    if any(proposal.signature.startswith(wanted) for proposal in store.proposals(sweep)):
        return (_proposal(store, sweep, wanted).signature,)
    from pipeline.reports.collect import collect
    from pipeline.reports.find_row import pick_row, pick_study

    try:
        table = collect(store, sweep)
        row = pick_row(table, wanted)
    except SeptError as error:
        reason = "" if re.fullmatch("[0-9a-f]*", wanted) else f" ({error})"
        raise InputError(
            f"sweep '{sweep}' has no trial '{wanted}'{reason}",
            where=store.files.address(f"sweeps/{sweep}"),
            fix="see its report; the name of a row means all trials behind it, the study of a fold those of that fold",
        ) from error
    meant: list[FoldChoice | ForUse] = [*row.choices, *(row.matched.choices if row.matched else ())]
    meant += [use for use in table.for_use if use.row == row.study]
    # If several studies match, all trials of the row are meant.
    with suppress(InputError):
        study = pick_study(table, wanted).study
        meant = [one for one in meant if one.study == study]
    return tuple(dict.fromkeys(one.signature for one in meant))


def rerun(
    store: TrialStore,
    root: str,
    sweep: str,
    signature: str,
    *,
    provider: Loader = load_inputs,
    progress: Callable[[Report, TrialConfig], None] = lambda report, config: None,
) -> Rerun:
    """Train a trial of a sweep again.

    Args:
        store: The trial store of ``root``.
        root: The results folder.
        sweep: Name of the sweep, whose spec has the encoder, the neighbours and the resources of a trial.
        signature: Signature of the trial, or the beginning of it.
        provider: As in `launch`.
        progress: Called with every report.

    Raises:
        InputError: No such sweep or trial, the trial has not finished or is of another method version, or inputs are
            missing or have changed.
    """
    known_sweep(store, sweep, signature)
    proposal = _proposal(store, sweep, signature)
    stored = store.read_result(proposal.study, proposal.signature)
    if stored is None and any(
        decision.state == "finished" for decision in store.decisions(sweep) if decision.signature == proposal.signature
    ):
        fix = "launch the sweep again, which trains it again"
        raise InputError(f"the result of trial {proposal.signature} is gone", where=proposal.study, fix=fix)
    if stored is None or stored.state != "finished":
        raise InputError(f"trial {proposal.signature} has no finished result to compare with", where=proposal.study)
    check_version(stored)
    from sept_core.trial import TrialRun

    place = trial_place(store, sweep, proposal.study, proposal.config)
    with as_a_worker(place.threads):
        run = TrialRun(proposal.config, load_there(root, place, provider))
        while not run.finished:
            report = run.advance()
            if report is not None:
                progress(report, proposal.config)
        return _compare(run.result(), stored, _computing(place))


def _proposal(store: TrialStore, sweep: str, signature: str) -> Proposal:
    found = {one.signature: one for one in store.proposals(sweep) if signature and one.signature.startswith(signature)}
    if len(found) != 1:
        problem = "has no trial" if not found else f"has {len(found)} trials that begin with"
        raise InputError(
            f"sweep '{sweep}' {problem} '{signature}'",
            where=store.files.address(f"sweeps/{sweep}"),
            fix="see its report",
        )
    return next(iter(found.values()))


def _computing(place: TrialPlace) -> str:
    """The threads and device of this process; to be called within `as_a_worker`."""
    import torch

    threads = torch.get_num_threads()
    device = torch.cuda.get_device_name() if place.gpu else "the CPU"
    return f"{threads} thread{'s' if threads > 1 else ''} on {device}"


def _compare(result: TrialResult, stored: TrialResult, here: str) -> Rerun:
    compared = [name for name in _NUMBERS if name != "tested" or stored.tested]
    # Earlier releases did not report how much SEPT acts: a curve with such a report is compared without that.
    acts = all("sept/gradient" in report.metrics for report in stored.curve)
    differing = tuple(name for name in compared if _numbers(result, name, acts) != _numbers(stored, name, acts))
    elsewhere = [
        f"{package} {stored.versions.get(package, '-')}, here {result.versions.get(package, '-')}"
        for package in sorted({*stored.versions, *result.versions})
        if stored.versions.get(package) != result.versions.get(package)
    ]
    if stored.machine != result.machine:
        elsewhere.append(f"machine {stored.machine}, here {result.machine}")
    names = {*result.test, *stored.test}
    largest = max(abs(result.test.get(name, 0.0) - stored.test.get(name, 0.0)) for name in names)
    return Rerun(result, stored, differing, largest, tuple(elsewhere), here)


def _numbers(result: TrialResult, name: str, acts: bool) -> Any:
    """The numbers to compare; for a curve without its times, and how much SEPT ``acts`` only if asked for."""
    if name != "curve":
        return getattr(result, name)
    return [
        (report.epoch, {key: value for key, value in report.metrics.items() if acts or not key.startswith("sept/")})
        for report in result.curve
    ]
