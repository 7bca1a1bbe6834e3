"""Weights in half precision on disk and in single precision in memory: half the size, all computation in float32."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from sept_core.errors import InputError

__all__ = ["read_weights", "write_weights"]


def write_weights(module: nn.Module, path: Path) -> None:
    """Save the state of ``module`` as float16 safetensors (integer buffers keep their type)."""
    state = {
        key: value.detach().to("cpu", torch.float16 if value.is_floating_point() else value.dtype).contiguous()
        for key, value in module.state_dict().items()
    }
    save_file(state, path)
    path.chmod(0o644)  # safetensors makes the file readable by its owner only.


def read_weights(module: nn.Module, path: Path) -> None:
    """Load what ``write_weights`` saved into ``module``, every key of it, then freeze the module in ``eval()``.

    Raises:
        InputError: The file is missing, corrupt, or of another architecture.
    """
    try:
        state = load_file(path)
        module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"weights cannot be loaded ({reason})", where=str(path), fix="reinstall the package"
        ) from error
    module.eval().requires_grad_(False)
