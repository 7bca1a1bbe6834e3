"""Estimates when a running sweep ends, from the duration of its ended trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.store import Decision

__all__ = ["StudyWork", "seconds_left", "trial_seconds"]


@dataclass(frozen=True)
class StudyWork:
    """What is left of one study.

    Attributes:
        ended: The trials that have ended.
        trials: Number of trials left, including running ones.
        done: For each running trial, the share of its epochs that is done.
        parallel: Most trials of the study at the same time.
    """

    ended: Sequence[Decision]
    trials: int
    done: Sequence[float]
    parallel: int


def seconds_left(studies: Sequence[StudyWork], workers: int, since_ms: int) -> float | None:
    """Seconds until all studies have their budget; None if that cannot be estimated yet.

    A trial is expected to take as long as the ended trials of its study took on average, pruned ones included; a
    running trial takes the share of that time which its remaining epochs are. The sum is divided by the number of
    workers, but no study is faster than its limit of parallel trials allows. Starting workers is not counted.

    There is no estimate while a study with trials left has no ended trial, or while the number of workers is unknown.

    Args:
        studies: What is left.
        workers: Number of trials that the launch runs at the same time, 0 if unknown.
        since_ms: Start of the launch, milliseconds since 1970.
    """
    left = []
    for study in studies:
        if study.trials <= 0:
            continue
        taken = trial_seconds(study.ended, since_ms)
        if not taken or not workers:
            return None
        seconds = (study.trials - sum(study.done)) * fmean(taken)
        left.append((seconds, seconds / min(study.parallel, workers)))
    if not left:
        return None
    return max(sum(seconds for seconds, _ in left) / workers, *(alone for _, alone in left))


def trial_seconds(ended: Sequence[Decision], since_ms: int) -> list[float]:
    """The duration of each ended trial in seconds; trials without a report are left out.

    For trials of this launch: the time from the start of their training to the decision, including tests and
    checkpoints. If there are none yet, for all others: the seconds of training in their reports. So the time between
    two launches, which may be days, is never included.
    """
    whole, trained = [], []
    for decision in ended:
        if not decision.curve:
            continue
        first = decision.curve[0]
        began_ms = first.timestamp_ms - 1000 * first.time_s
        if began_ms >= since_ms:
            whole.append((decision.decided_ms - began_ms) / 1000)
        else:
            trained.append(decision.curve[-1].time_s)
    return whole or trained
