"""What MLflow has of a study and a trial: tags, parameters, metrics. Pure functions of the store's values.

Studies and trials have the same names of metrics. For people, numbers are rounded to four significant digits; the exact
ones are in the store.

Runs are found again by their tags, because MLflow chooses run ids itself: ``sept.study``, ``sept.number`` and
``sept.signature`` name one trial of one sweep.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.drawing import colour_of
from pipeline.search.selection import Composed, best_decision, choose
from pipeline.tracking.labels import COLOUR, NAME, NOTE, run_name, study_note, trial_note
from sept_core.protocol_facts import OBJECTIVES
from sept_core.results import Report, TrialResult
from sept_core.trial_config import TrialConfig

if TYPE_CHECKING:
    from pipeline.store import Decision, Proposal

__all__ = [
    "RUN_STATUS",
    "Point",
    "Tally",
    "data_tags",
    "decision_tags",
    "final_points",
    "params_of",
    "report_points",
    "rounded",
    "study_tags",
    "trial_tags",
]

RUN_STATUS = {"finished": "FINISHED", "pruned": "FINISHED", "failed": "FAILED"}
"""MLflow's status for each decision. A pruned trial ended normally; the tag ``sept.state`` tells it apart."""

_HEADLINES = ("h", "base", "new", "all", "accuracy", "source", "targets")
_DIGITS = 4
_TAG_LIMIT = 5000


@dataclass(frozen=True)
class Point:
    """One metric value of one step."""

    key: str
    value: float
    timestamp_ms: int
    step: int


def study_tags(sweep: str, proposal: Proposal) -> dict[str, str]:
    """Tags of the run of the study of a trial, which the runs of its trials have too."""
    config = proposal.config
    return {
        "sept.sweep": sweep,
        "sept.study": proposal.study,
        "sept.method": config.method,
        "sept.dataset": config.dataset,
        "sept.encoder": config.encoder,
        "sept.encoder_fingerprint": config.encoder_fingerprint,
        "sept.manifest_digest": config.manifest_digest,
        "sept.protocol": config.protocol,
        "sept.selection": config.selection,
        COLOUR: colour_of(config.method),
    }


def trial_tags(sweep: str, proposal: Proposal, parent_run: str) -> dict[str, str]:
    """Tags of the run of a trial when it is created."""
    return study_tags(sweep, proposal) | {
        "sept.role": "trial",
        "sept.number": str(proposal.number),
        "sept.signature": proposal.signature,
        "sept.state": "running",
        "sept.params": json.dumps(dict(proposal.params), sort_keys=True)[:_TAG_LIMIT],
        "mlflow.parentRunId": parent_run,
    }


def decision_tags(proposal: Proposal, decision: Decision, result: TrialResult | None) -> dict[str, str]:
    """Tags added to the run of a trial at its end; ``sept.tracked`` says that the run is complete."""
    tags = {"sept.state": decision.state, "sept.tracked": "yes", NAME: run_name(proposal, decision.state)}
    if note := trial_note(decision):
        tags[NOTE] = note[:_TAG_LIMIT]
    if decision.error:
        # PostgreSQL does not accept NUL in text.
        tags["sept.error"] = decision.error.replace("\0", "")[:_TAG_LIMIT]
    if result is not None:
        tags["sept.machine"] = result.machine
        tags |= data_tags(result.warnings)
        tags |= {f"sept.version.{package}": number for package, number in result.versions.items()}
    return tags


def data_tags(warnings: Iterable[str]) -> dict[str, str]:
    """Warnings about the data as a tag; empty if there are none."""
    lines = list(dict.fromkeys(warnings))
    return {"sept.data_warnings": "\n".join(lines)[:_TAG_LIMIT]} if lines else {}


def params_of(proposal: Proposal) -> dict[str, str]:
    """Everything that the results of the trial depend on, as MLflow parameters; the tag ``sept.params`` is exact."""
    config = proposal.config
    fixed: dict[str, object] = {
        "method": config.method,
        "baseline": config.baseline,
        "sept": config.sept,
        "dataset": config.dataset,
        "encoder": config.encoder,
        "protocol": config.protocol,
        "selection": config.selection,
        "shots": config.shots,
        "folds": ",".join(config.folds),
        "seeds": ",".join(map(str, config.seeds)),
        "epochs": config.epochs,
        "report_every": config.report_every,
        "batch_size": config.batch_size,
        "precision": config.precision,
        "signature": proposal.signature,
    }
    if config.crossing != "keep":
        fixed["crossing"] = config.crossing
    if config.neighbors_naming_new != "keep":
        fixed["neighbors_naming_new"] = config.neighbors_naming_new
    if config.left_out:
        fixed["left_out"] = ", ".join(f"{name}: {clips}" for name, clips in config.left_out.items())
    if config.targets:
        fixed["targets"] = ",".join(config.targets)
    return {name: _shown(value) for name, value in (fixed | config.hyper).items()}


def _shown(value: object) -> str:
    """A parameter for people."""
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)


def rounded(value: float) -> float:
    """A metric for people: four significant digits, and every digit before the decimal point."""
    if not math.isfinite(value) or value == 0:
        return value
    return round(value, max(0, _DIGITS - 1 - math.floor(math.log10(abs(value)))))


def _points(values: Mapping[str, float], timestamp_ms: int, step: int) -> list[Point]:
    """Points by name, validation first and test last: a run's page has its metrics in this order."""
    ordered = sorted(values, key=lambda key: (not key.startswith("val/"), key.startswith("test/"), key))
    return [Point(key, rounded(values[key]), timestamp_ms, step) for key in ordered]


def report_points(report: Report) -> list[Point]:
    """The metrics of a report at its epoch, with its timestamp."""
    return _points(report.metrics, report.timestamp_ms, report.epoch)


def final_points(decision: Decision, result: TrialResult) -> list[Point]:
    """Validation and test metrics of a finished trial, at its last epoch.

    Metrics that the last report already has are left out: the same value with another timestamp would be a second
    point.
    """
    reported = result.curve[-1].metrics if result.curve else {}
    values = {f"val/{name}": value for name, value in result.validation.items() if f"val/{name}" not in reported}
    values |= {f"test/{name}": value for name, value in result.test.items()}
    values["time/train_s"] = result.train_seconds
    return _points(values, decision.decided_ms, decision.epoch)


class Tally:
    """The outcome of the trials 0..n of a study, added one by one in the order of their numbers."""

    def __init__(self, choosing: bool = True) -> None:
        self.choosing = choosing  # not among the variants of an ablation
        self.counted = 0
        self.best: Decision | None = None  # over all folds: the configuration to use
        self.chosen: dict[str, Decision] = {}  # by test fold, chosen without their test metrics
        self._states = Counter[str]()
        self._timestamp_ms = 0
        # Part of the digest, so that runs counted by another rule are counted again.
        self._digest = hashlib.sha256(b"chosen for each test fold, named as for a trial\n")

    def add(self, decision: Decision) -> None:
        """Add the outcome of the next trial."""
        self.counted += 1
        if self.choosing:
            self.best = best_decision(one for one in (self.best, decision) if one is not None)
            self.chosen = choose((*self.chosen.values(), decision))
        self._states[decision.state] += 1
        self._timestamp_ms = max(self._timestamp_ms + 1, decision.decided_ms)
        self._digest.update(f"{decision.signature} {decision.state} {decision.decided_ms}\n".encode())

    @property
    def outcomes(self) -> str:
        """Digest of the outcomes so far: if it differs, points written earlier may be wrong."""
        return self._digest.hexdigest()[:16]

    def points(self, row: Composed | None) -> list[Point]:
        """The metrics of the study after trial n.

        The accuracies are those of the report, under the names that they have for a trial. They are points of step 0,
        because a study has no epochs, and of increasing times, because MLflow shows the last one. What has a curve over
        the number of trials are the number of trials by state, and the best validation so far.
        """
        curve = {f"trials/{state}": float(self._states[state]) for state in RUN_STATUS}
        values: dict[str, float] = {}
        for part, metrics in (("val", row.validation), ("test", row.test)) if row is not None else ():
            values |= {f"{part}/{name}": metrics[name] for name in _HEADLINES if name in metrics}
        curve |= {f"search/best_val_{name}": values[f"val/{name}"] for name in OBJECTIVES if f"val/{name}" in values}
        return _points(values, self._timestamp_ms, 0) + _points(curve, self._timestamp_ms, self.counted - 1)

    def tags(self, config: TrialConfig) -> dict[str, str]:
        """Tags of the run of the study: the best trial overall, and the chosen trial of each test fold."""
        ended = ", ".join(f"{self._states[state]} {state}" for state in RUN_STATUS if self._states[state])
        tags = {
            "sept.counted": str(self.counted),
            "sept.outcomes": self.outcomes,
            "sept.state": ended,
            NOTE: study_note(config, self.chosen, self.choosing)[:_TAG_LIMIT],
        }
        if self.best is not None:
            tags |= {"sept.best_signature": self.best.signature, "sept.best_number": str(self.best.number)}
        if self.chosen:
            chosen = (f"{fold}: #{one.number} {one.signature}" for fold, one in sorted(self.chosen.items()))
            tags["sept.chosen"] = ", ".join(chosen)[:_TAG_LIMIT]
        return tags
