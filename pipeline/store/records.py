"""What a sweep stores about its trials: which ones it proposed, and what it decided about each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import model_validator

from sept_core.json_dataclasses import OmitEmpty, Stored, TimeMs
from sept_core.results import Report
from sept_core.trial_config import TrialConfig, folder_of_study

__all__ = ["Decision", "DecisionState", "Proposal"]

DecisionState = Literal["finished", "pruned", "failed"]


@dataclass(frozen=True)
class Proposal(Stored):
    """A trial as the sampler proposed it, written before the trial starts.

    Two proposals of the same trial are equal, whenever they were made.

    Attributes:
        study: Key of the study, such as ``ESC10.mini.base-to-new.coop+sept``.
        number: Position among the proposals of its study, from 0.
        signature: Signature of the configuration.
        config: The complete configuration.
        params: The searched hyper-parameters alone, as proposed.
        created_ms: When it was proposed, in milliseconds since 1970.
    """

    study: str
    number: int
    signature: str
    config: TrialConfig = field(hash=False)
    params: dict[str, int | float | str] = field(hash=False)
    created_ms: TimeMs = field(compare=False)

    @model_validator(mode="after")
    def _of_its_configuration(self) -> Self:
        if self.signature != self.config.signature:
            raise ValueError(f"signature {self.signature} is not its configuration's ({self.config.signature})")
        if folder_of_study(self.study) != self.config.study_key:
            raise ValueError(f"study {self.study} is not its configuration's ({self.config.study_key})")
        return self


@dataclass(frozen=True)
class Decision(Stored):
    """What a sweep decided about a trial. A decision is final.

    Two decisions with the same content are equal, whenever they were made.

    Attributes:
        study: Key of the study.
        number: The trial's number in the study.
        signature: The trial's signature.
        state: ``pruned`` is this sweep's decision; the trial itself may have been finished by another sweep.
        epoch: Epoch of the last report that counted; 0 if there was none.
        objective: Validation harmonic mean in percent at that report; None for a trial that failed without a report.
        curve: The reports that counted, up to and including the one at which it was pruned.
        decided_ms: When it was decided, in milliseconds since 1970.
        error: For a failed trial, what happened, in one line.
        fold_values: For a finished trial, the value, in percent, by which the best trial of each test fold is chosen
            (``pipeline.search.selection``); empty in records of earlier releases. Not compared: it follows from the
            trial's result.
    """

    study: str
    number: int
    signature: str
    state: DecisionState
    epoch: int
    objective: float | None
    curve: tuple[Report, ...] = field(hash=False)
    decided_ms: TimeMs = field(compare=False)
    error: str = ""
    fold_values: Annotated[dict[str, float], OmitEmpty] = field(default_factory=dict, compare=False)

    @model_validator(mode="after")
    def _with_objective(self) -> Self:
        if self.objective is None and self.state != "failed":
            raise ValueError(f"a {self.state} trial without objective")
        return self
