"""The state of an unfinished trial as bytes: safetensors with readable JSON in the header. No pickle.

The header has a digest over everything, so that damage is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sept_core.checked_json import canonical_json
from sept_core.errors import SeptError
from sept_core.results import Report
from sept_core.training import TrainState
from sept_core.trial_config import METHOD_VERSION

__all__ = ["Checkpoint", "CheckpointError", "dump_checkpoint", "load_checkpoint", "read_header"]

FORMAT = 1


class CheckpointError(SeptError):
    """A checkpoint is damaged, or of another trial."""


@dataclass(frozen=True)
class Checkpoint:
    """An unfinished trial.

    Attributes:
        signature: Signature of the trial.
        states: The state of each of its trainings, in order (one; two if selection is nested).
        curve: The reports so far.
        seconds: Seconds of training so far.
    """

    signature: str
    states: tuple[TrainState, ...]
    curve: tuple[Report, ...]
    seconds: float


def dump_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Equal checkpoints give equal bytes. Tensors are named ``<stage>.params.<name>``, ``<stage>.momentum.<name>``."""
    tensors: dict[str, Tensor] = {}
    for stage, state in enumerate(checkpoint.states):
        for prefix, part in (("params", state.params), ("momentum", state.momentum)):
            tensors |= {f"{stage}.{prefix}.{name}": value.contiguous() for name, value in part.items()}
    header = {
        "format": FORMAT,
        "method_version": METHOD_VERSION,
        "signature": checkpoint.signature,
        "epochs": [state.epoch for state in checkpoint.states],
        "curve": [report.to_json() for report in checkpoint.curve],
        "seconds": checkpoint.seconds,
    }
    return _save(header, _digest(header, tensors), tensors)


def read_header(data: bytes) -> dict[str, Any]:
    """The readable part only: format, method version, signature, epochs, curve. Tensors are not read.

    Raises:
        CheckpointError: Damaged.
    """
    return _metadata(data)[0]


def load_checkpoint(data: bytes, signature: str) -> Checkpoint:
    """Read a checkpoint from bytes.

    Raises:
        CheckpointError: Damaged, or not of ``signature``.
    """
    header, digest = _metadata(data)
    try:
        tensors = load(data)
        if _digest(header, tensors) != digest:
            raise ValueError("content and digest differ")
        # The digest does not cover the padding of the header: only exactly these bytes are a checkpoint.
        if _save(header, digest, tensors) != data:
            raise ValueError("not as it was written")
        if header["signature"] != signature:
            raise CheckpointError(f"checkpoint of trial {header['signature']}, wanted {signature}")
        curve = tuple(Report.from_json(report) for report in header["curve"])
        states = tuple(TrainState(int(epoch), {}, {}) for epoch in header["epochs"])
        for name, value in tensors.items():
            stage, part, parameter = name.split(".", 2)
            parts = {"params": states[int(stage)].params, "momentum": states[int(stage)].momentum}
            parts[part][parameter] = value
        return Checkpoint(signature, states, curve, float(header["seconds"]))
    except (SafetensorError, ValueError, TypeError, KeyError, IndexError) as error:
        raise CheckpointError(f"damaged checkpoint: {error}") from error


def _metadata(data: bytes) -> tuple[dict[str, Any], str]:
    try:
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 or length > len(data) - 8:
            raise ValueError("truncated")
        header = dict(json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["sept"]))
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']}, this version reads {FORMAT}")
        return header, str(header.pop("sha256"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"damaged checkpoint: {error}") from error


def _save(header: Mapping[str, Any], digest: str, tensors: dict[str, Tensor]) -> bytes:
    # A single entry: safetensors writes several in no particular order, and equal states must give equal bytes.
    return save(tensors, metadata={"sept": canonical_json({**header, "sha256": digest})})


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(canonical_json(header).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()
