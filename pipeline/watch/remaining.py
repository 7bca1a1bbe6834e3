"""When a sweep will have its budget, from what its ended trials took."""

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
        ended: Its trials that have ended.
        trials: Trials that it is to have still, those in flight included.
        done: Of each trial in flight, the share of its epochs that is behind it.
        parallel: Trials of it in flight at most.
    """

    ended: Sequence[Decision]
    trials: int
    done: Sequence[float]
    parallel: int


def seconds_left(studies: Sequence[StudyWork], workers: int, since_ms: int) -> float | None:
    """Seconds until all studies have their budget; None where there is nothing yet to tell it from.

    A trial to come takes what its study's ended ones took on average, the pruned ones among them included; one in
    flight takes the share of that which its remaining epochs are. The sum is spread over the workers, and no study is
    faster than as many of its trials at a time as it allows. What it takes to start a worker is not counted.

    Nothing is said while a study has work left and no ended trial to go by, or while it is not known how many trials
    run at a time.

    Args:
        studies: What is left.
        workers: Trials that the launch runs at a time, 0 where that is not known.
        since_ms: When the launch began, milliseconds since 1970.
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
    """What each of the ended trials took, in seconds; of those that made no report nothing is known.

    Of trials that lie within this launch: the time from the start of their training to the decision, tests and
    checkpoints included. Where there is none yet, of all others: the seconds of training that their reports carry. So
    the time between two launches, which may be days, is in neither.
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
