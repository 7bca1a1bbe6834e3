"""Audio files to waveforms: decode with soundfile, downmix, resample with torchaudio.

torchaudio is imported only where a clip really has another sample rate, so that everything that needs no audio goes
on working where torchaudio cannot load.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sept_core.errors import InputError

__all__ = ["load_clip"]


def load_clip(path: str | Path, sample_rate: int) -> Tensor:
    """Decode one audio file to mono float32 ``[samples]`` at ``sample_rate`` Hz.

    Several channels are averaged (never concatenated). The whole file is returned: cropping is the encoder's
    ``prepare``.

    Raises:
        InputError: The file is missing, is no audio or is corrupt, has no samples or non-finite ones, or has to be
            resampled where torchaudio cannot be loaded.
    """
    import soundfile

    path = Path(path)
    if not path.is_file():
        raise InputError("no such audio file", where=str(path), mend="check the audio folder given")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(error).split(": ")[-1].strip().rstrip(".")
        raise InputError(
            f"cannot be decoded as audio ({reason})", where=str(path), mend="replace the file or remove it"
        ) from error
    if samples.shape[0] == 0:
        raise InputError("the clip has no samples", where=str(path), mend="replace the file or remove it")
    waveform = torch.from_numpy(samples).mean(dim=1)
    if not bool(torch.isfinite(waveform).all()):
        raise InputError("the clip has non-finite samples", where=str(path), mend="replace the file or remove it")
    if rate == sample_rate:
        return waveform
    return _resampler()(waveform, rate, sample_rate)


def _resampler() -> Callable[[Tensor, int, int], Tensor]:
    try:
        from torchaudio.functional import resample
    except (ImportError, OSError, RuntimeError) as error:
        # The registry's torchaudio is built for one CUDA version and raises OSError beside another torch.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"torchaudio cannot be loaded, and clips have to be resampled ({reason})",
            mend='install it to match torch: pip install "torch>=2.11,<2.15" "torchaudio==2.11.*"',
        ) from error
    return resample
