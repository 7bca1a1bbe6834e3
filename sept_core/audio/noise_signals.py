"""Synthetic noise of each kind, of no particular power.

- ``white``: Gaussian.
- ``babble``: the sum of eight talkers. Each is Gaussian noise with the long-term spectrum of speech (flat from 100 to
  500 Hz, falling by 9 dB per octave above), whose loudness varies at the rate of syllables. No words.
- ``rain``: a hiss that rises towards 4 kHz, and some 80 drops per second, each a click around 3 kHz, of the same power.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["noise_signal"]

_REPEATS_S = 60
"""Noise of a longer clip repeats, so that memory stays small."""
_TALKERS, _KNOTS_PER_S = 8, 8
_DROPS_PER_S = 80.0

_Gain = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def noise_signal(kind: str, samples: int, sample_rate: int, clip_id: str) -> NDArray[np.float64]:
    """The noise of a clip, float64 ``[samples]``.

    Args:
        kind: One of ``noise.KINDS``.
        samples: Length of the clip.
        sample_rate: In Hz.
        clip_id: The clip's id.
    """
    digest = hashlib.sha256(f"noise/{kind}/{clip_id}".encode()).digest()
    random = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
    return np.resize(_SIGNALS[kind](random, min(samples, _REPEATS_S * sample_rate), sample_rate), samples)


def _white(random: np.random.Generator, samples: int, sample_rate: int) -> NDArray[np.float64]:
    return random.standard_normal(samples)


def _babble(random: np.random.Generator, samples: int, sample_rate: int) -> NDArray[np.float64]:
    total, time = np.zeros(samples), np.arange(samples) / sample_rate
    knots = np.arange(math.ceil(samples / sample_rate * _KNOTS_PER_S) + 1) / _KNOTS_PER_S
    for _ in range(_TALKERS):
        loudness = np.interp(time, knots, random.standard_normal(len(knots)))
        # Squared, so that there are pauses between syllables.
        total += random.standard_normal(samples) * loudness**2
    # All at once: a loudness that changes this slowly does not change a spectrum.
    return _filtered(total, sample_rate, _speech)


def _rain(random: np.random.Generator, samples: int, sample_rate: int) -> NDArray[np.float64]:
    hiss = _filtered(random.standard_normal(samples), sample_rate, _hiss)
    drops = np.zeros(samples)
    where = random.random(samples) < _DROPS_PER_S / sample_rate
    drops[where] = random.lognormal(0.0, 1.0, int(where.sum()))
    clicks = _filtered(drops, sample_rate, _drop)
    # Half of the power each; a very short clip may have no drop.
    return hiss / max(float(hiss.std()), 1e-30) + clicks / max(float(clicks.std()), 1e-30)


def _filtered(signal: NDArray[np.float64], sample_rate: int, gain: _Gain) -> NDArray[np.float64]:
    """The signal ``[samples]``, each frequency multiplied by ``gain`` of it (in Hz)."""
    size = 1 << max(1, len(signal) - 1).bit_length()  # a power of 2, since other sizes can be very slow
    spectrum = np.fft.rfft(signal, size) * gain(np.fft.rfftfreq(size, 1 / sample_rate))
    return np.fft.irfft(spectrum, size)[: len(signal)]


def _speech(pitch: NDArray[np.float64]) -> NDArray[np.float64]:
    # 9 dB per octave: power 3 of the frequency for the power, 1.5 for the amplitude.
    return np.minimum(1.0, pitch / 100) ** 2 * np.minimum(1.0, (np.maximum(pitch, 1.0) / 500) ** -1.5)


def _hiss(pitch: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(1.0, (pitch + 50) / 4000)


def _drop(pitch: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-(((np.log2(np.maximum(pitch, 1.0)) - np.log2(2800)) / 1.5) ** 2))


_SIGNALS: dict[str, Callable[[np.random.Generator, int, int], NDArray[np.float64]]] = {
    "babble": _babble,
    "rain": _rain,
    "white": _white,
}
