"""Batches of clips, which may be decoded in one process and encoded in another.

The order in the data set determines beforehand which clips are encoded together, since the last digits of an embedding
depend on how many were computed at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sept_core.datasets import Clip
from sept_core.determinism import compute_deterministically
from sept_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.data.audio.source import AudioSource
    from sept_core.audio.noise import Noise
    from sept_core.encoders import AudioTower, Preparation

__all__ = ["Batch", "Decoded", "as_in_an_encoder", "compute_exactly", "decode", "encode"]

# float32 keeps a normalised vector's length to about 1e-7.
NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Batch:
    """Clips that are decoded and encoded together.

    Attributes:
        job: Index of the data set among those that are embedded.
        part: Index of its part.
        index: Index of the batch in its part.
        clips: The clips.
        size: How many of them to encode at once.
    """

    job: int
    part: int
    index: int
    clips: tuple[Clip, ...]
    size: int


@dataclass(frozen=True)
class Decoded:
    """The result of decoding a batch.

    Attributes:
        windows: float32 ``[clips without a fault, window]``; None if each has one.
        faults: By clip id: why the clip cannot be used.
        sounds: Fingerprints of the sounds of the clips without a fault, as `sound_of` gives them.
    """

    windows: Tensor | None
    faults: dict[str, str]
    sounds: list[str]


def decode(
    clips: Sequence[Clip], source: AudioSource, prepare: Preparation, sample_rate: int, noise: Noise | None = None
) -> Decoded:
    """Read, decode and prepare clips.

    Args:
        clips: The clips.
        source: Where their files are.
        prepare: Brings a clip to the encoder's window.
        sample_rate: The encoder's sample rate, in Hz.
        noise: Added to each clip after it is decoded; sounds and faults are those of the clip without it.

    Raises:
        InputError: Something other than a bad clip: a library that does not load, a clip that was changed.
        StoreError: The audio's storage fails.
    """
    import torch

    from sept_core.audio.waveform import load_clip
    from sept_core.datasets.sound import sound_of

    windows, faults, sounds = [], {}, []
    for clip in clips:
        try:
            data = source.read(clip.path)
        except InputError as error:
            # It is too large, for example, or its permissions are wrong.
            faults[clip.clip_id] = error.what
            continue
        if hashlib.sha256(data).hexdigest() != clip.sha256:
            raise InputError(
                "was changed while the data set was being read", where=clip.path, fix="run the same command again"
            )
        try:
            waveform = load_clip(data, sample_rate, where=clip.path)
            noisy = waveform if noise is None else noise.added(waveform, sample_rate, clip.clip_id)
            windows.append(prepare(noisy))
            # Of the whole clip, whatever the encoder crops it to.
            sounds.append(sound_of(waveform, sample_rate))
        except InputError as error:
            # An error without a file is about this machine (a library that does not load) and concerns all clips.
            if not error.where:
                raise
            faults[clip.clip_id] = error.what
    return Decoded(torch.stack(windows) if windows else None, faults, sounds)


def encode(tower: AudioTower, windows: Tensor, clips: Sequence[Clip], size: int) -> Tensor:
    """Unit-norm features ``[clips, dim]`` float32, on the CPU, of windows ``[clips, window]``, ``size`` at once.

    Raises:
        InputError: The encoder's features are not of unit norm.
    """
    import torch

    device = next((parameter.device for parameter in tower.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        features = torch.cat([tower(some.to(device)).float().cpu() for some in windows.split(size)])
    # Written so that NaN, which fails every comparison, counts as wrong.
    for clip, norm in zip(clips, features.norm(dim=1).tolist(), strict=True):
        if not abs(norm - 1) <= NORM_TOLERANCE:
            raise InputError(
                f"the encoder gives a feature of norm {norm}, not 1",
                where=clip.path,
                fix="listen to the clip; if nothing is wrong with it, the encoder is broken",
            )
    return features


def compute_exactly() -> None:
    """Make a GPU compute the same embeddings every time; call this before CUDA starts."""
    import torch

    compute_deterministically(warn_only=True)
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def as_in_an_encoder() -> Iterator[None]:
    """Within this context, compute with one thread: the last digits of an embedding depend on the number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
