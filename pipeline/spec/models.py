"""The parts of a sweep's YAML, as frozen models that check single values (`load.py` checks them together)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pipeline.spec.values import as_number, wants_number
from sept_core.hyper import Value
from sept_core.schedule import Precision

__all__ = ["Dimension", "EncoderFiles", "MethodResources", "Model", "Pruner", "Resources", "Sampler", "Training"]

_Number = StrictInt | StrictFloat


class Model(BaseModel):
    """Frozen, refuses unknown keys, and reads ``1e-3`` as a number where one is needed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _left_empty(cls, value: Any) -> Any:
        # An empty key, for example with its lines commented out, counts as missing.
        if not isinstance(value, dict):
            return value
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {key: inner for key, inner in value.items() if inner is not None or key not in optional}

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        return as_number(value) if wants_number(cls.model_fields[str(info.field_name)].annotation) else value


class Dimension(Model):
    """One hyper-parameter in a space: a list of choices, a range, or a fixed value.

    Attributes:
        choices: The values to choose from, without an order.
        low, high: A range, both ends included.
        log: Search the range on a logarithmic scale.
        step: Distance of two neighbouring values of the range; 1 by default for whole numbers.
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
            raise ValueError("log and step need low: and high:")
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
            raise ValueError("choices repeat a value")
        return self

    def contains(self, value: Value) -> bool:
        """Whether it contains a value."""
        if self.fixed is not None:
            return value == self.fixed
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, str) or self.low is None or self.high is None:
            return False
        if not self.low <= value <= self.high:
            return False
        # Multiples of a decimal step are not exact in binary.
        steps = (value - self.low) / self.step if self.step is not None else 0.0
        return abs(steps - round(steps)) < 1e-9

    def with_numbers(self) -> Dimension:
        """The same with numeric strings converted, for a numeric hyper-parameter."""
        texts = (self.fixed, *(self.choices or ()))
        if not any(isinstance(value, str) for value in texts):
            return self
        return type(self).model_validate(as_number(self.model_dump(exclude_defaults=True)))

    def narrows(self, other: Dimension) -> bool:
        """Whether ``other`` contains all its values and is searched on the same scale."""
        if self.fixed is not None or self.choices is not None:
            return all(other.contains(value) for value in self.extremes)
        same_scale = (self.log, self.step) == (other.log, other.step)
        return other.low is not None and same_scale and all(other.contains(value) for value in self.extremes)

    @property
    def searched(self) -> bool:
        """Whether there is more than one value."""
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
        """All choices, both ends of the range, or the fixed value: these must be in the allowed range."""
        if self.choices is not None:
            return self.choices
        if self.low is not None and self.high is not None:
            return (self.low, self.high)
        return (self.constant,)


class EncoderFiles(Model):
    """The encoder: a name, or a name with the places of its files.

    The places do not influence results: every signature contains the fingerprint of the files themselves.

    Attributes:
        name: Such as ``mini`` or ``msclap-2023``.
        weights: Local path or ``hub:OWNER/NAME``; by default an earlier download on this machine.
        text_model: Folder of the text model's tokenizer, in the same form.
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
    """How long every trial trains and how often it reports (and can be pruned and resumed).

    Attributes:
        precision: ``bfloat16`` trains the text tower under autocast, meant for GPUs; measurements stay float32.
    """

    epochs: int = Field(ge=1)
    report_every: int = Field(ge=1)
    batch_size: int = Field(default=16, ge=1)
    precision: Precision = "float32"


def _changed(model: Model) -> set[str]:
    """Names of the settings that differ from their defaults: a stored spec names all settings."""
    return {name for name, field in type(model).model_fields.items() if getattr(model, name) != field.default}


class Sampler(Model):
    """The sampler; a stored spec names all settings, so that changed defaults have no effect on it.

    Attributes:
        name: ``tpe`` (tree-structured Parzen estimator) or ``random``; the settings below the seed are TPE's.
        seed: Proposals depend only on it, the study's key and earlier outcomes.
        n_startup_trials: Random proposals before the first informed one.
        multivariate: Model hyper-parameters jointly.
        group: Split the joint model by which hyper-parameters occur together.
        constant_liar: Count running trials as bad ones, so that parallel proposals differ.
    """

    name: Literal["tpe", "random"] = "tpe"
    seed: int = 0
    n_startup_trials: int = Field(default=10, ge=0)
    multivariate: bool = True
    group: bool = False
    constant_liar: bool = True

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _own_settings(self) -> Sampler:
        if self.name == "random" and (foreign := sorted(_changed(self) - {"name", "seed"})):
            raise ValueError(f"{', '.join(foreign)} does not apply to the sampler 'random'")
        if self.group and not self.multivariate:
            raise ValueError("group needs multivariate")
        return self


class Pruner(Model):
    """The pruner, which stops trials early: ``median`` (below the median of finished trials at the same epoch) or
    ``none``.

    Attributes:
        n_startup_trials: Finished trials of the study before the first is pruned.
        n_warmup_epochs: No trial is pruned before this epoch.
    """

    name: Literal["median", "none"] = "median"
    n_startup_trials: int = Field(default=5, ge=0)
    n_warmup_epochs: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _own_settings(self) -> Pruner:
        if self.name == "none" and (foreign := sorted(_changed(self) - {"name"})):
            raise ValueError(f"{', '.join(foreign)} does not apply to the pruner 'none'")
        return self


def _share(value: Any) -> Any:
    """``1/4`` as a number: YAML reads it as a string. No other fractions: with 0.4 Ray would leave a fifth of a GPU
    idle."""
    if value == "auto":
        return value
    if isinstance(value, str) and (found := re.fullmatch(r"1\s*/\s*([1-9][0-9]?)", value)):
        return 1 / int(found[1])
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1 or (value and abs(1 / value - round(1 / value)) > 1e-3):
        raise ValueError("0, 1, 1/n, or auto")
    return float(value)


GpuShare = Annotated[float | Literal["auto"], BeforeValidator(_share)]


class MethodResources(Model):
    """Resources of the trials of one method, if they differ from the others."""

    cpus_per_trial: float | None = Field(default=None, gt=0)
    gpus_per_trial: GpuShare | None = None


class Resources(Model):
    """Where trials run; never part of a trial's identity.

    Attributes:
        workers: Trials at a time, over all studies; ``auto``: as many as fit into the cluster.
        cpus: Maximum CPUs of an autoscaling cluster; ``auto``: those that it has at launch.
        gpus: Maximum GPUs, in the same form. It is assumed that nodes with a GPU have enough CPUs.
        cpus_per_trial: CPUs that a trial occupies; also its number of threads.
        gpus_per_trial: Share of a GPU that a trial occupies: 0, 1, or 1/n for n trials to share one. ``auto``: none if
            the cluster has none, else by the size of the study (`pipeline.search.sizing`).
        by_method: By baseline (``cocoop``) or method (``cocoop+sept``, which has precedence): other values of the two.
    """

    workers: int | Literal["auto"] = "auto"
    cpus: int | Literal["auto"] = "auto"
    gpus: int | Literal["auto"] = "auto"
    cpus_per_trial: float = Field(default=1, gt=0)
    gpus_per_trial: GpuShare = 0.0
    by_method: dict[str, MethodResources] = Field(default_factory=dict)

    def of(self, method: str) -> tuple[float, float | Literal["auto"]]:
        """CPUs and share of a GPU that a trial of ``method`` occupies."""
        cpus, gpus = self.cpus_per_trial, self.gpus_per_trial
        for key in dict.fromkeys((method.removesuffix("+sept"), method)):
            own = self.by_method.get(key, MethodResources())
            cpus = cpus if own.cpus_per_trial is None else own.cpus_per_trial
            gpus = gpus if own.gpus_per_trial is None else own.gpus_per_trial
        return cpus, gpus

    @field_validator("cpus", "gpus")
    @classmethod
    def _no_negative(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 0:
            raise ValueError("at least 0")
        return value

    @field_validator("workers")
    @classmethod
    def _some_worker(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("at least 1")
        return value
