"""The parts of a sweep's YAML, as frozen models that check each value by itself (`load.py` checks them together)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from sept_core.hyper import Value

__all__ = ["Dimension", "EncoderFiles", "Model", "Pruner", "Resources", "Sampler", "Training"]

_Number = StrictInt | StrictFloat


class Model(BaseModel):
    """Frozen, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Dimension(Model):
    """What a space says of one hyper-parameter: a list of choices, a range, or a fixed value.

    Attributes:
        choices: The values to choose from, without an order.
        low, high: A range, both ends included.
        log: Search the range on a logarithmic scale.
        step: Distance of two neighbouring values of the range; whole numbers without it have 1.
        fixed: The value; not searched.
    """

    choices: tuple[_Number | StrictStr, ...] | None = Field(default=None, min_length=1)
    low: _Number | None = None
    high: _Number | None = None
    log: bool = False
    step: _Number | None = Field(default=None, gt=0)
    fixed: _Number | StrictStr | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Dimension:
        ranged = self.low is not None or self.high is not None
        if sum((self.choices is not None, ranged, self.fixed is not None)) != 1:
            raise ValueError("give one of choices: [...], low: and high:, or fixed:")
        if not ranged and (self.log or self.step is not None):
            raise ValueError("log and step belong to low: and high:")
        if ranged:
            if self.low is None or self.high is None:
                raise ValueError("low and high go together")
            if self.low >= self.high:
                raise ValueError(f"low {self.low} is not below high {self.high}")
            if self.log and self.low <= 0:
                raise ValueError(f"a logarithmic range starts above 0, not at {self.low}")
            if self.log and self.step is not None:
                raise ValueError("a logarithmic range has no step")
        if self.choices is not None and len(set(self.choices)) != len(self.choices):
            raise ValueError("choices are doubled")
        return self

    @property
    def searched(self) -> bool:
        """Whether a sampler has anything to decide."""
        return self.fixed is None and (self.choices is None or len(self.choices) > 1)

    @property
    def constant(self) -> Value:
        """The value of a dimension that is not searched."""
        value = self.fixed if self.fixed is not None else (self.choices or (None,))[0]
        if self.searched or value is None:
            raise ValueError("a searched dimension has no constant value")
        return value

    @property
    def extremes(self) -> tuple[Value, ...]:
        """All choices, both ends of the range, or the fixed value: what must lie within the allowed range."""
        if self.choices is not None:
            return self.choices
        if self.low is not None and self.high is not None:
            return (self.low, self.high)
        return (self.constant,)


class EncoderFiles(Model):
    """The encoder: a name alone, or with where its files lie.

    The places are no part of what is computed: every signature carries the fingerprint of the files themselves.

    Attributes:
        name: Such as ``mini`` or ``msclap-2023``.
        weights: Local path or ``hub:OWNER/NAME``; without it, what an earlier download left on this machine.
        text_model: Folder of the text model's tokenizer, likewise.
    """

    name: str
    weights: str | None = None
    text_model: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, dict | EncoderFiles):
            raise ValueError("give a name, or a mapping with name, weights and text_model")
        return value


class Training(Model):
    """How long every trial trains and how often it reports (and can be pruned and resumed)."""

    epochs: int = Field(ge=1)
    report_every: int = Field(ge=1)
    batch_size: int = Field(default=16, ge=1)


class Sampler(Model):
    """Who proposes; all settings named, so that a new release's defaults change nothing.

    Attributes:
        name: ``tpe`` (tree-structured Parzen estimator) or ``random``; the settings below the seed are TPE's.
        seed: Proposals depend on it, the study's key and the outcomes before, on nothing else.
        n_startup_trials: Random proposals before the first informed one.
        multivariate: Model hyper-parameters jointly.
        group: Split the joint model by which hyper-parameters occur together.
        constant_liar: Count trials in flight as bad ones, so that parallel proposals differ.
    """

    name: Literal["tpe", "random"] = "tpe"
    seed: int = 0
    n_startup_trials: int = Field(default=10, ge=0)
    multivariate: bool = True
    group: bool = False
    constant_liar: bool = True

    @model_validator(mode="after")
    def _own_settings(self) -> Sampler:
        if self.name == "random" and (foreign := sorted(self.model_fields_set - {"name", "seed"})):
            raise ValueError(f"{', '.join(foreign)} means nothing to the sampler 'random'")
        if self.group and not self.multivariate:
            raise ValueError("group needs multivariate")
        return self


class Pruner(Model):
    """Who stops a trial early: ``median`` (below the median of finished trials at the same epoch) or ``none``.

    Attributes:
        n_startup_trials: Finished trials of the study before the first is pruned.
        n_warmup_epochs: No trial is pruned before this epoch.
    """

    name: Literal["median", "none"] = "median"
    n_startup_trials: int = Field(default=5, ge=0)
    n_warmup_epochs: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _own_settings(self) -> Pruner:
        if self.name == "none" and (foreign := sorted(self.model_fields_set - {"name"})):
            raise ValueError(f"{', '.join(foreign)} means nothing to the pruner 'none'")
        return self


class Resources(Model):
    """Where trials run; never part of a trial's identity.

    Attributes:
        workers: Trials at a time, over all studies; ``auto``: as many as fit into the cluster.
        cpus_per_trial: CPUs that a trial occupies; also its number of threads.
        gpus_per_trial: GPUs that a trial occupies: 0, a whole number, or 1/n to share one among n trials.
    """

    workers: int | Literal["auto"] = "auto"
    cpus_per_trial: float = Field(default=1, gt=0)
    gpus_per_trial: float = Field(default=0, ge=0)

    @field_validator("workers")
    @classmethod
    def _some_worker(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("at least 1")
        return value

    @field_validator("gpus_per_trial")
    @classmethod
    def _schedulable(cls, value: float) -> float:
        # Ray mis-schedules other fractions: 0.4 leaves a fifth of every GPU idle, 0.6 places one trial on each.
        share = 1 / value if 0 < value < 1 else value
        if abs(share - round(share)) > 1e-3:
            raise ValueError("0, a whole number, or 1/n")
        return value
