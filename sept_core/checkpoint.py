"""A training on its way as bytes: tensors as safetensors, the rest as readable JSON in their header. No pickle.

A digest over everything stands in the header, so that damage is noticed rather than trained on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sept_core.errors import SeptError
from sept_core.results import METHOD_VERSION, Report, canonical_json
from sept_core.training import TrainState

__all__ = ["CheckpointError", "dump_checkpoint", "load_checkpoint", "read_header"]

FORMAT = 1


class CheckpointError(SeptError):
    """A checkpoint is damaged, or of another trial."""


def dump_checkpoint(state: TrainState, curve: Sequence[Report], signature: str) -> bytes:
    """Bytes of a state and its curve. Equal states and curves give equal bytes."""
    tensors: dict[str, Tensor] = {}
    for prefix, part in (("params", state.params), ("momentum", state.momentum)):
        tensors |= {f"{prefix}.{name}": value.contiguous() for name, value in part.items()}
    header = {
        "format": FORMAT,
        "method_version": METHOD_VERSION,
        "signature": signature,
        "epoch": state.epoch,
        "curve": [report.to_json() for report in curve],
    }
    return _save(header, _digest(header, tensors), tensors)


def read_header(data: bytes) -> dict[str, Any]:
    """The readable part alone: format, method version, signature, epoch, curve. Tensors are not looked at.

    Raises:
        CheckpointError: Damaged.
    """
    return _metadata(data)[0]


def load_checkpoint(data: bytes, signature: str) -> tuple[TrainState, tuple[Report, ...]]:
    """State and curve.

    Raises:
        CheckpointError: Damaged, or not of ``signature``.
    """
    header, digest = _metadata(data)
    try:
        tensors = load(data)
        if _digest(header, tensors) != digest:
            raise ValueError("content and digest differ")
        # What a damaged header's padding hides is not in the digest: nothing but these very bytes is a checkpoint.
        if _save(header, digest, tensors) != data:
            raise ValueError("not as it was written")
        if header["signature"] != signature:
            raise CheckpointError(f"checkpoint of trial {header['signature']}, wanted {signature}")
        curve = tuple(Report.from_json(report) for report in header["curve"])
        parts: dict[str, dict[str, Tensor]] = {"params": {}, "momentum": {}}
        for name, value in tensors.items():
            prefix, _, rest = name.partition(".")
            parts[prefix][rest] = value
        return TrainState(int(header["epoch"]), parts["params"], parts["momentum"]), curve
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
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
    # A single entry: safetensors writes several in no particular order, and equal states are to be equal bytes.
    return save(tensors, metadata={"sept": canonical_json({**header, "sha256": digest})})


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(canonical_json(header).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()
