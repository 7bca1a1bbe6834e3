"""Noise has exactly the ratio that is asked for, and depends on nothing but the clip."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sept_core.audio.noise import KINDS, Noise
from sept_core.errors import InputError

RATE = 16_000


def clip(samples: int, seed: int = 0, offset: float = 0.0, scale: float = 0.1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(samples, generator=generator) + offset


def power(signal: torch.Tensor) -> float:
    return float(signal.double().numpy().var())


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    snr=st.floats(-40, 40),
    samples=st.integers(50, 20_000),
    rate=st.sampled_from([8_000, 16_000, 44_100, 48_000]),
    scale=st.sampled_from([1e-4, 0.1, 3.0]),
    offset=st.sampled_from([0.0, 0.25]),
)
def test_the_ratio_is_the_one_asked_for(
    kind: str, snr: float, samples: int, rate: int, scale: float, offset: float
) -> None:
    clean, noise = clip(samples, offset=offset, scale=scale), Noise(kind, snr)
    noisy = noise.added(clean, rate, "a clip")
    assert noisy.shape == clean.shape
    assert noisy.dtype == torch.float32
    # Of the samples as they are, so what rounding to float32 adds counts as noise.
    added = noisy.double() - clean.double()
    if math.sqrt(power(added)) > 1e3 * float(clean.abs().max()) * 2**-24:
        assert 10 * math.log10(power(clean) / power(added)) == pytest.approx(noise.snr_db, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_has_the_same_noise_whatever_came_before_it_and_at_every_ratio(kind: str) -> None:
    clean = clip(8_000)
    noise = Noise(kind, 10.0)
    first = noise.added(clean, RATE, "one")
    other = noise.added(clean, RATE, "two")
    assert torch.equal(noise.added(clean, RATE, "one"), first)
    assert not torch.equal(other, first)
    louder = Noise(kind, 0.0).added(clean, RATE, "one")
    torch.testing.assert_close(louder - clean, (first - clean) * 10**0.5, rtol=0, atol=1e-6)


def test_kinds_differ_as_their_names_say() -> None:
    silence = clip(4 * RATE, scale=1e-3)
    share = {}
    for kind in KINDS:
        noise = (Noise(kind, -60.0).added(silence, RATE, "clip") - silence).double().numpy()
        spectrum = np.abs(np.fft.rfft(noise)) ** 2
        share[kind] = spectrum[: len(spectrum) // 8].sum() / spectrum.sum()  # below 1 kHz
    assert share["babble"] > 0.8
    assert share["white"] == pytest.approx(1 / 8, abs=0.02)
    assert share["rain"] < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_an_infinite_ratio_and_a_clip_without_power_change_no_bit(kind: str) -> None:
    clean = clip(1_000)
    assert torch.equal(Noise(kind, math.inf).added(clean, RATE, "clip"), clean)
    for still in (torch.zeros(1_000), torch.full((1_000,), 0.5), torch.ones(1)):
        assert torch.equal(Noise(kind, 0.0).added(still, RATE, "clip"), still)


def test_noise_of_a_long_clip_repeats() -> None:
    long = clip(130 * 1_000)
    noise = Noise("white", 0.0).added(long, 1_000, "clip") - long
    torch.testing.assert_close(noise[:10_000], noise[60_000:70_000], rtol=0, atol=1e-6)


def test_a_name_says_kind_and_ratio() -> None:
    for noise in (Noise("white", 20.0), Noise("babble", -2.5), Noise("rain", math.inf), Noise("rain", -0.0)):
        assert Noise.named(noise.name) == noise
    assert [Noise("white", 20.0).name, Noise("rain", -0.0).level] == ["white-20dB", "0 dB"]
    with pytest.raises(ValueError, match="not the name"):
        Noise.named("white")


@pytest.mark.parametrize(("kind", "snr"), [("wite", 0.0), ("white", -math.inf), ("white", math.nan), ("white", 101.0)])
def test_what_is_no_noise_is_refused(kind: str, snr: float) -> None:
    with pytest.raises(InputError) as refusal:
        Noise(kind, snr)
    assert ("did you mean 'white'" in refusal.value.fix) == (kind == "wite")
