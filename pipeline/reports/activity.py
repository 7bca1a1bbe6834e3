"""How much SEPT acted in a trial, and the mark of gains for which it hardly did."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sept_core.results import Report

__all__ = ["IDLE", "LEAST", "Activity", "acted_note", "hardly_acted", "idle_remark", "percent"]

LEAST = 1.0
"""Percent of the gradient. If SEPT's share is below this at every report of a trial, SEPT hardly acted: such a gradient
turns the direction of a step by less than 0.6 degrees (its sine is at most 0.01 / 0.99)."""

IDLE = f"its gradient was below {LEAST:g} % at every report of the chosen trial"


@dataclass(frozen=True)
class Activity:
    """How much SEPT acted in a trial: percent, means over the reports of its curve that say it.

    Attributes:
        intra, inter: Active hinges.
        gradient: The norm of the gradient of SEPT's part as a share of it plus the base loss's.
        idle: Whether SEPT hardly acted: ``gradient`` is below `LEAST` at every report of the trial.
    """

    intra: float
    inter: float
    gradient: float
    idle: bool

    @classmethod
    def of(cls, curve: Sequence[Report]) -> Activity | None:
        """From the curve of a trial; None without SEPT, and if no report of an earlier release implies it."""
        reported = [_shares(report.metrics) for report in curve]
        known = [shares for shares in reported if shares is not None]
        if not known:
            return None
        intra, inter, gradient = (statistics.fmean(values) for values in zip(*known, strict=True))
        idle = len(known) == len(reported) and all(shares[2] < LEAST for shares in known)
        return cls(intra, inter, gradient, idle)


def _shares(metrics: Mapping[str, float]) -> tuple[float, float, float] | None:
    if "sept/gradient" in metrics:
        return metrics["sept/active_intra"], metrics["sept/active_inter"], metrics["sept/gradient"]
    # Earlier releases did not measure it, but losses of exactly 0 have no active hinge, and no gradient.
    return (0.0, 0.0, 0.0) if metrics.get("loss/intra") == metrics.get("loss/inter") == 0.0 else None


def hardly_acted(trials: Sequence[Activity], *, short: bool = False) -> str:
    """The mark of chosen trials: ``hardly acted``, or if that is true of some, in how many; empty if of none.

    Args:
        trials: The chosen trials with SEPT, each once.
        short: For a cell of a table.
    """
    idle = sum(trial.idle for trial in trials)
    if not idle:
        return ""
    some = f"{idle} of {len(trials)}"
    return "hardly acted" + ("" if idle == len(trials) else f", {some}" if short else f" in {some} chosen trials")


def idle_remark(trials: Sequence[Activity]) -> str:
    """The mark as a sentence with the figures of the trials in which SEPT hardly acted; empty if there are none."""
    idle = [trial for trial in trials if trial.idle]
    if not idle:
        return ""
    intra, inter, gradient = (
        percent(statistics.fmean(getattr(trial, name) for trial in idle)) for name in ("intra", "inter", "gradient")
    )
    return (
        f"SEPT {hardly_acted(trials)}: {intra} % of intra and {inter} % of inter hinges active, {gradient} % of the "
        "gradient"
    )


def percent(share: float) -> str:
    """A share for printing, which is 0.0 only if nothing acted."""
    return f"{share:.1f}" if share >= 0.05 or share == 0 else "< 0.1"


def acted_note() -> str:
    """The meaning of the figures and of the mark."""
    return (
        "Active hinges: neighbours farther from their class than their margin (intra), or nearer to another class than "
        "theirs (inter); mean over the steps and replicas of each reported epoch. SEPT's gradient: its norm, lambda "
        "included, as a share of it plus the norm of the base loss's, on the first step of each reported epoch: 50 % "
        "is as strong as the base loss. Both are means over the reports of a trial. 'Hardly acted': SEPT's gradient "
        f"is below {LEAST:g} % at every report, so that it turned those steps by less than 0.6 degrees. A gain of such "
        "a trial comes from its other hyper-parameters or from chance rather than from SEPT."
    )
