"""Turns audio files into waveforms: decodes, downmixes, resamples with torchaudio.

Clips come from anywhere, and a decoder accepts nearly everything. A clip that is accepted here is complete, as far as
its format allows to check (``sept_core.audio.decoder``), finite, not silent and not too long; any other raises an
``InputError`` whose ``what`` is the reason.

torchaudio is imported only when a clip must be resampled, so that everything else works where torchaudio cannot be
loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sept_core.audio.decoder import Sound, open_sound
from sept_core.audio.formats import SILENT, Fault
from sept_core.errors import InputError

__all__ = ["MAX_BYTES", "decode_clip", "is_silent", "load_clip"]

MAX_BYTES = 2_000_000_000
"""Size of the largest file that is read."""

_MAX_SECONDS = 3600
_MAX_SAMPLES = 1 << 29  # 2 GiB of float32 once downmixed: an hour at 149 kHz
_MAX_CHANNELS = 64
_RATES = (1_000, 384_000)
# Below -100 dB of full scale, which is less than one step of 16 bits.
_SILENT = 1e-5
# Floats beyond full scale are common, even as multiples of 16-bit full scale; beyond this they are not samples.
_LOUDEST = 65536.0
# The resampler's filters grow with both terms of the ratio of the rates.
_MAX_TERM = 1000
_MEND = "replace the file or remove it"


def load_clip(source: str | Path | bytes, sample_rate: int, *, where: str = "") -> Tensor:
    """Decode one clip to mono float32 ``[samples]`` at ``sample_rate`` Hz.

    Several channels are averaged (never concatenated). The whole clip is returned: cropping is the encoder's
    ``prepare``. Between rates with no small common ratio (44101 to 48000 Hz) the nearest small one is used, with an
    error below 0.05 %.

    Args:
        source: An audio file, or its bytes.
        sample_rate: Of the result, in Hz.
        where: Name of the clip in messages; by default the path.

    Raises:
        InputError: `decode_clip` refuses the clip, it is silent, or it must be resampled and torchaudio cannot be
            loaded.
    """
    where = where or _name(source)
    waveform, rate = decode_clip(source, where=where)
    if is_silent(waveform):
        raise InputError(SILENT, where=where, fix=_MEND)
    if rate == sample_rate:
        return waveform
    ratio = _ratio(rate, sample_rate)
    resampled = _resampler()(waveform, ratio.numerator, ratio.denominator)
    if resampled.shape[0] == 0:
        raise InputError(f"the clip is too short for {sample_rate} Hz", where=where, fix=_MEND)
    return resampled


def decode_clip(source: str | Path | bytes, *, where: str = "") -> tuple[Tensor, int]:
    """One clip as mono float32 ``[samples]``, and its own sample rate in Hz.

    Raises:
        InputError: The file is missing or cannot be read; it is empty, is not audio, or is damaged or cut off; it has
            no samples, or samples that are not finite or absurdly large; its rate is not within 1 to
            384 kHz; it is longer than an hour, has more than 64 channels or 2 GB.
    """
    where = where or _name(source)
    data = source if isinstance(source, bytes) else _read(Path(source))
    try:
        if len(data) > MAX_BYTES:
            raise Fault(f"its {len(data) / 1e9:.1f} GB are more than the {MAX_BYTES / 1e9:g} GB that a clip may have")
        with open_sound(data) as sound:
            _check_header(sound)
            return _downmixed(sound), sound.rate
    except Fault as error:
        raise InputError(f"cannot be decoded as audio ({error})", where=where, fix=_MEND) from error
    except InputError as error:
        raise InputError(error.what, where=where, fix=_MEND) from None


def is_silent(waveform: Tensor) -> bool:
    """Whether a waveform ``[samples]`` is silent.

    It is silent if no sample differs from the mean by 1e-5 of full scale (-100 dB, a third of a 16-bit step): digital
    silence, a constant offset, or two channels that cancel out. The faintest noise of a real recording is more.
    """
    centred = waveform - waveform.double().mean().float()
    return float(centred.abs().max()) < _SILENT


def _name(source: str | Path | bytes) -> str:
    return "a clip in memory" if isinstance(source, bytes) else str(source)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise InputError("no such audio file", where=str(path), fix="check the audio folder given")
    try:
        with path.open("rb") as stream:
            # One byte more shows that there are too many; no more are read.
            size = os.fstat(stream.fileno()).st_size
            if size > MAX_BYTES:
                raise InputError(
                    f"cannot be decoded as audio (its {size / 1e9:.1f} GB are more than the {MAX_BYTES / 1e9:g} GB "
                    "that a clip may have)",
                    where=str(path),
                    fix=_MEND,
                )
            return stream.read()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=str(path), fix=_MEND) from error


def _check_header(sound: Sound) -> None:
    if not _RATES[0] <= sound.rate <= _RATES[1]:
        raise InputError(f"the clip has a sample rate of {sound.rate} Hz, outside 1 kHz to 384 kHz")
    if sound.channels > _MAX_CHANNELS:
        raise InputError(f"the clip has {sound.channels} channels, more than {_MAX_CHANNELS}")
    if sound.frames is not None:
        _check_length(sound.frames, sound.rate)


def _check_length(frames: int, rate: int) -> None:
    if frames > _MAX_SECONDS * rate:
        raise InputError(f"the clip is {frames / rate / 3600:.1f} hours long, longer than one")
    if frames > _MAX_SAMPLES:
        raise InputError(f"the clip has {frames} samples, more than {_MAX_SAMPLES}")


def _downmixed(sound: Sound) -> Tensor:
    """All samples, downmixed block by block: at most one block of many channels is in memory."""
    blocks, frames = [], 0
    for block in sound.blocks:
        frames += len(block)
        _check_length(frames, sound.rate)
        if not np.isfinite(block).all():
            raise InputError("the clip has non-finite samples")
        if len(block) and np.abs(block).max() > _LOUDEST:
            raise InputError(f"the clip has samples of {np.abs(block).max():.0e} times full scale")
        blocks.append(torch.from_numpy(np.ascontiguousarray(block)).mean(dim=1))
    if frames == 0:
        raise InputError("the clip has no samples")
    return torch.cat(blocks)


def _ratio(rate: int, sample_rate: int) -> Fraction:
    if rate < sample_rate:
        return 1 / Fraction(sample_rate, rate).limit_denominator(_MAX_TERM)
    return Fraction(rate, sample_rate).limit_denominator(_MAX_TERM)


def _resampler() -> Callable[[Tensor, int, int], Tensor]:
    try:
        from torchaudio.functional import resample
    except (ImportError, OSError, RuntimeError) as error:
        # PyPI's torchaudio is built for one CUDA version and raises OSError with a torch for another.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"torchaudio cannot be loaded, and clips have to be resampled ({reason})",
            fix='install it to match torch: pip install "torch>=2.11,<2.15" "torchaudio==2.11.*"',
        ) from error
    return resample
