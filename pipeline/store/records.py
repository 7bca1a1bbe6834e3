"""What a sweep keeps of its trials: which ones it asked for, and what it decided about each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pydantic import ValidationError

from sept_core.documents import time_ms
from sept_core.results import Report, TrialConfig

__all__ = ["Decision", "DecisionState", "Proposal"]

DecisionState = Literal["finished", "pruned", "failed"]


@dataclass(frozen=True)
class Proposal:
    """One trial that a sweep asked for, written before the trial starts.

    Two trials are equal when they ask for the same thing; when they were asked for does not count.

    Attributes:
        study: Key of the study, such as ``ESC10.mini.base-to-new.coop+sept``.
        number: Which proposal of its study it is, from 0.
        signature: The configuration's.
        config: The complete configuration.
        params: The searched hyper-parameters alone, as proposed.
        created_ms: When it was asked for, milliseconds since 1970.
    """

    study: str
    number: int
    signature: str
    config: TrialConfig = field(hash=False)
    params: dict[str, int | float | str] = field(hash=False)
    created_ms: int = field(compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "study": self.study,
            "number": self.number,
            "signature": self.signature,
            "config": self.config.model_dump(mode="json"),
            "params": dict(self.params),
            "created_ms": self.created_ms,
        }

    @classmethod
    def from_json(cls, data: Any) -> Proposal:
        """Back from plain values.

        Raises:
            ValueError: Damaged, or study or signature are not the configuration's.
        """
        try:
            proposal = cls(
                study=str(data["study"]),
                number=int(data["number"]),
                signature=str(data["signature"]),
                config=TrialConfig.model_validate(data["config"]),
                params=dict(data["params"]),
                created_ms=time_ms(data["created_ms"]),
            )
        except (KeyError, TypeError, ValidationError) as error:
            raise ValueError(f"not a trial: {error}") from error
        if proposal.signature != proposal.config.signature:
            raise ValueError(f"signature {proposal.signature} is not its configuration's ({proposal.config.signature})")
        if proposal.study != proposal.config.study_key:
            raise ValueError(f"study {proposal.study} is not its configuration's ({proposal.config.study_key})")
        return proposal


@dataclass(frozen=True)
class Decision:
    """What a sweep decided about a trial. Final: it is never changed.

    Two decisions are equal when they say the same; when it was decided does not count.

    Attributes:
        study: Key of the study.
        number: The trial's number in it.
        signature: The trial's signature.
        state: ``pruned`` is this sweep's decision; the trial itself may have been finished by another sweep.
        epoch: Epoch of the last report that counted; 0 where there was none.
        objective: Validation harmonic mean in percent at that report; None for a trial that failed without a report.
        curve: The reports that counted, up to and with the one at which it was pruned.
        decided_ms: When it was decided, milliseconds since 1970.
        error: For a failed trial, what happened, in one line.
        fold_values: For a finished trial, what the choice for each test fold looks at (``pipeline.search.selection``),
            percent; empty in records of earlier releases. Not compared: it follows from the trial's result.
    """

    study: str
    number: int
    signature: str
    state: DecisionState
    epoch: int
    objective: float | None
    curve: tuple[Report, ...] = field(hash=False)
    decided_ms: int = field(compare=False)
    error: str = ""
    fold_values: dict[str, float] = field(default_factory=dict, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "study": self.study,
            "number": self.number,
            "signature": self.signature,
            "state": self.state,
            "epoch": self.epoch,
            "objective": self.objective,
            "curve": [report.to_json() for report in self.curve],
            "decided_ms": self.decided_ms,
            "error": self.error,
            **({"fold_values": dict(self.fold_values)} if self.fold_values else {}),
        }

    @classmethod
    def from_json(cls, data: Any) -> Decision:
        """Back from plain values.

        Raises:
            ValueError: Damaged.
        """
        try:
            decision = cls(
                study=str(data["study"]),
                number=int(data["number"]),
                signature=str(data["signature"]),
                state=data["state"],
                epoch=int(data["epoch"]),
                objective=None if data["objective"] is None else float(data["objective"]),
                curve=tuple(Report.from_json(report) for report in data["curve"]),
                decided_ms=time_ms(data["decided_ms"]),
                error=str(data["error"]),
                fold_values={str(fold): float(value) for fold, value in data.get("fold_values", {}).items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a decision: {error}") from error
        if decision.state not in get_args(DecisionState):
            raise ValueError(f"unknown state {decision.state!r}")
        if decision.objective is None and decision.state != "failed":
            raise ValueError(f"a {decision.state} trial without objective")
        return decision
