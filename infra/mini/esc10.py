"""Synthesised sounds of ESC-10's own classes: there are only eighty real clips, two of them helicopters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from infra.mini.signals import (
    RATE,
    Signal,
    band,
    decay,
    events,
    harmonics,
    modes,
    noise,
    pulses,
    swell,
    track,
)
from infra.mini.sounds import SECONDS, U, calls, grains, hit, voice

__all__ = ["ESC10_RECIPES"]


def _baby_cry(r: Generator) -> Signal:
    base = U(r, 330, 600)
    size = U(r, 0.9, 1.3)

    def cry() -> Signal:
        top = base * U(r, 1.0, 1.5)
        return voice(r, [base * U(r, 0.7, 1), top, top * U(r, 0.9, 1.1), base * U(r, 0.6, 0.9)], U(r, 0.4, 1.4),
                      (1000 * size, 1800 * size, 3500 * size), U(r, 0.1, 0.8))  # fmt: skip

    return calls(r, U(r, 0.6, 1.3), 0.08, cry)


def _chainsaw(r: Generator) -> Signal:
    revs = [U(r, 40, 160) for _ in range(r.integers(1, 6))] + [U(r, 60, 200)]
    tone = harmonics(
        r, track(SECONDS, revs), U(r, 0.1, 0.6), (U(r, 300, 900), U(r, 1500, 4500)), rough=U(r, 0.03, 0.15)
    )
    return tone + U(r, 0.2, 1) * band(noise(r, SECONDS), 800, 7000) * swell(r, SECONDS, 20, 0.3)


def _clock_tick(r: Generator) -> Signal:
    pair = [modes(r, 0.1, sorted(U(r, 800, 7000, 4)), U(r, 0.002, 0.02)) for _ in range(2)]
    for tick in pair:
        click = hit(r, 1500, 7000, 0.004)
        tick[: len(click)] += U(r, 0.0, 0.6) * click
    turn = iter(range(1000))
    return events(SECONDS, pulses(r, SECONDS, U(r, 0.9, 5), 0.003), lambda: pair[next(turn) % 2])


def _dog_bark(r: Generator) -> Signal:
    base, size = U(r, 180, 800), U(r, 0.7, 1.5)

    def bark() -> Signal:
        rise = [base * U(r, 0.6, 1), base * U(r, 1.1, 1.7), base * U(r, 0.5, 0.9)]
        throat = voice(r, rise, U(r, 0.1, 0.3), (600 * size, 1300 * size, 2600 * size), U(r, 0.2, 0.9))
        rasp = U(r, 0.1, 0.5) * band(noise(r, len(throat) / RATE), 400, 4000)
        return throat + rasp * np.hanning(len(throat))

    return calls(r, U(r, 0.5, 3.5), U(r, 0.02, 0.3), bark)


def _fire(r: Generator) -> Signal:
    roar = band(noise(r, SECONDS, 0.7), 40, U(r, 300, 1500)) * swell(r, SECONDS, 3, 0.5)
    return U(r, 0.02, 0.5) * roar + grains(r, U(r, 5, 70), 1000, 7000, U(r, 0.001, 0.006), U(r, 1.2, 3)) / 4


def _helicopter(r: Generator) -> Signal:
    rate = U(r, 8, 26)
    chop = np.sin(np.pi * rate * np.cumsum(swell(r, SECONDS, 1, 0.03)) / 16000) ** (2 * r.integers(1, 8))
    blades = band(noise(r, SECONDS, U(r, 0.3, 1)), 30, U(r, 300, 3000)) * (chop + U(r, 0.05, 0.5))
    turbine = band(noise(r, SECONDS), 1000, 6000) * U(r, 0, 0.1)
    return (blades + turbine) * track(SECONDS, [U(r, 0.3, 1), U(r, 0.6, 1), U(r, 0.3, 1)])


def _sneeze(r: Generator) -> Signal:
    inhale = band(noise(r, U(r, 0.3, 0.8)), 500, 4000)
    inhale *= np.linspace(0, 1, len(inhale)) ** 2 * U(r, 0.02, 0.25)
    pitch = U(r, 130, 450)
    blast = band(noise(r, 0.5), U(r, 500, 2500), 7500) * decay(0.5, U(r, 0.005, 0.03), U(r, 0.04, 0.15))
    cry = voice(r, [pitch, pitch * U(r, 1, 1.6), pitch * 0.7], U(r, 0.15, 0.4), (700, 1500, 2800), 0.5) * U(r, 0.1, 1)
    blast[: len(cry)] += cry[: len(blast)]
    return np.concatenate([inhale, blast, np.zeros(int(r.integers(0, 8000)))])


def _rain(r: Generator) -> Signal:
    steady = band(noise(r, SECONDS, U(r, 0, 0.4)), U(r, 100, 1500), U(r, 4000, 7900)) * swell(r, SECONDS, 1, 0.1)
    return steady * U(r, 0.1, 1) + grains(r, U(r, 40, 300), 1500, 7000, U(r, 0.001, 0.005), 4.0)


def _rooster(r: Generator) -> Signal:
    base, size = U(r, 350, 700), U(r, 0.9, 1.3)
    shape = (900 * size, 1700 * size, 3000 * size)
    parts: list[Signal] = []
    for length, steps in ((U(r, 0.1, 0.25), [0.7, 1.1]), (U(r, 0.1, 0.3), [1, 1.2]), (U(r, 0.1, 0.25), [1.1, 1]),
                          (U(r, 0.5, 1.3), [1.1, 1.5, 1.4, U(r, 0.6, 1.0)])):  # fmt: skip
        parts += [
            voice(r, [base * step for step in steps], length, shape, U(r, 0, 0.5)),
            np.zeros(r.integers(100, 2500)),
        ]
    return np.concatenate([*parts, np.zeros(int(r.integers(0, 16000)))])


def _waves(r: Generator) -> Signal:
    phase = U(r, 0, 6.3) + 2 * np.pi * U(r, 0.1, 0.35) * np.arange(80000) / 16000
    crest = (0.5 + 0.5 * np.sin(phase)) ** U(r, 1, 3)
    high = band(noise(r, SECONDS, U(r, 0.2, 0.6)), 300, U(r, 2500, 7500)) * (crest + U(r, 0.05, 0.4))
    return high + U(r, 0.2, 1.5) * band(noise(r, SECONDS, 0.8), 30, 500) * swell(r, SECONDS, 1, 0.4)


ESC10_RECIPES: dict[str, Callable[[Generator], Signal]] = {
    "baby cry": _baby_cry,
    "chainsaw": _chainsaw,
    "clock tick": _clock_tick,
    "dog bark": _dog_bark,
    "fire crackling": _fire,
    "helicopter": _helicopter,
    "person sneeze": _sneeze,
    "rain": _rain,
    "rooster": _rooster,
    "sea waves": _waves,
}
