"""Noise that is added to test clips: how robust is a trained prompt?

    noisy = Noise("babble", 10.0).added(waveform, sample_rate, clip_id)

A pure function of the waveform, its sample rate and the clip's id: neither the order of clips nor the process matters,
and a clip has the same noise, louder or softer, at every signal-to-noise ratio. The kinds are synthetic
(``noise_signals``), so that no recordings are needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from sept_core.errors import InputError
from sept_core.suggestions import known_words

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["KINDS", "Noise"]

KINDS = ("babble", "rain", "white")
"""The kinds of noise."""

_MOST_DB = 100.0
"""Beyond this the softer of the two is lost in the rounding of float32 samples."""


@dataclass(frozen=True, order=True)
class Noise:
    """A kind of noise and its level.

    Attributes:
        kind: One of ``KINDS``.
        snr_db: Signal-to-noise ratio in dB, to six digits; infinity adds nothing.

    Raises:
        InputError: There is no such kind, or the ratio is not between -100 and 100 dB or infinity.
    """

    kind: str
    snr_db: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"unknown noise '{self.kind}'", fix=known_words(self.kind, KINDS))
        if self.snr_db != math.inf and not abs(self.snr_db) <= _MOST_DB:
            raise InputError(
                f"a signal-to-noise ratio of {self.snr_db:g} dB", fix=f"give -{_MOST_DB:g} to {_MOST_DB:g}, or inf"
            )
        # As in its name, and 0 for -0.
        object.__setattr__(self, "snr_db", float(f"{self.snr_db:g}") + 0.0)

    @property
    def level(self) -> str:
        """Such as ``20 dB``."""
        return f"{self.snr_db:g} dB"

    @property
    def name(self) -> str:
        """Such as ``white-20dB``."""
        return f"{self.kind}-{self.snr_db:g}dB"

    @classmethod
    def named(cls, name: str) -> Self:
        """The noise with this `name`.

        Raises:
            ValueError: It is no such name.
            InputError: As the class.
        """
        kind, _, level = name.partition("-")
        if not level.endswith("dB"):
            raise ValueError(f"not the name of a noise: {name!r}")
        return cls(kind, float(level.removesuffix("dB")))

    def added(self, waveform: Tensor, sample_rate: int, clip_id: str) -> Tensor:
        """The waveform with noise, float32 ``[samples]``.

        The ratio is that of the mean squares around the mean, over the whole clip (not over an encoder's window).
        Samples may exceed full scale: nothing is clipped. At an infinite ratio, and for a clip without power (all
        samples equal), it is the waveform itself, bit for bit.

        Args:
            waveform: Mono float32 ``[samples]``.
            sample_rate: Of the waveform, in Hz.
            clip_id: The clip's id, from which the noise is drawn.
        """
        import numpy as np
        import torch

        from sept_core.audio.noise_signals import noise_signal

        if math.isinf(self.snr_db):
            return waveform
        signal = waveform.detach().cpu().numpy().astype(np.float64)
        noise = noise_signal(self.kind, len(signal), sample_rate, clip_id)
        noise = noise - noise.mean()
        power, own = float(signal.var()), float(noise.var())
        if power == 0.0 or own == 0.0:
            return waveform
        noise *= math.sqrt(power / own * 10.0 ** (-self.snr_db / 10.0))
        return torch.from_numpy((signal + noise).astype(np.float32))
