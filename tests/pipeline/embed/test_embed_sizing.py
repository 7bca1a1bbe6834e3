"""How many clips a GPU encodes at once: by what it said of its memory, and the smallest GPU decides."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.embed.batches import compute_exactly, encode
from pipeline.embed.encoder_loading import load
from pipeline.embed.sizing import Probe, gpu_kinds, measure, smallest
from pipeline.spec import EncoderFiles
from pipeline.store.embedding_writer import ROWS_PER_PART
from sept_core.datasets import Clip
from sept_core.errors import SeptError

GIB = 2**30


def probe(free: float, clip: float, fixed: float = 0.0) -> Probe:
    """Of a GPU with ``free`` GiB, where a batch takes ``fixed`` and ``clip`` GiB a clip."""
    return Probe(int(free * GIB), int((fixed + 2 * clip) * GIB), int((fixed + 8 * clip) * GIB))


@given(free=st.floats(1.0, 140.0), clip=st.floats(0.001, 0.4), fixed=st.floats(0.0, 0.1))
def test_what_is_chosen_fits_and_twice_as_much_would_not(free: float, clip: float, fixed: float) -> None:
    size = probe(free, clip, fixed).batch_size
    assert size & (size - 1) == 0
    assert ROWS_PER_PART % size == 0
    assert fixed + size * clip <= 0.6 * free + 1e-3
    assert size == ROWS_PER_PART or fixed + 2 * size * clip > 0.6 * free - 1e-3


def test_a_gpu_without_room_for_a_clip_says_what_it_has() -> None:
    with pytest.raises(
        SeptError, match=r"a GPU has 0\.5 GiB free, and a clip of this encoder takes 2\.0 GiB; end other programs"
    ):
        _ = probe(0.5, 2.0).batch_size


def test_the_smallest_gpu_of_a_cluster_decides() -> None:
    assert smallest([probe(80.0, 0.2), probe(16.0, 0.2), probe(24.0, 0.2)]) == probe(16.0, 0.2).batch_size == 32


def test_a_gpu_of_each_kind_is_asked() -> None:
    def node(alive: bool, **resources: float) -> dict[str, object]:
        return {"Alive": alive, "Resources": {name.replace("_TYPE_", "_type:"): n for name, n in resources.items()}}

    a100 = node(True, GPU=8.0, accelerator_TYPE_A100=1.0)
    small = node(True, GPU=1.0, accelerator_TYPE_T4=1.0)
    assert gpu_kinds([node(True, CPU=8.0), a100, a100, small]) == [
        {"accelerator_type:A100": 0.001},
        {"accelerator_type:T4": 0.001},
    ]
    assert gpu_kinds([node(True, CPU=8.0), node(False, GPU=8.0)]) == []
    assert gpu_kinds([node(True, GPU=1.0)]) == [{}]
    # A kind of accelerator that is no GPU can hold no task that wants one.
    assert gpu_kinds([node(True, CPU=8.0, accelerator_TYPE_TPU=1.0)]) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_takes_the_batch_that_it_was_measured_for() -> None:
    compute_exactly()
    tower = load(EncoderFiles(name="mini")).load_audio().to("cuda")
    size = measure(tower).batch_size
    windows = torch.randn(size, len(tower.prepare(torch.zeros(tower.sample_rate))))
    clips = [Clip(f"{number}", f"{number}.wav", "noise", "1", "", 64 * "0") for number in range(size)]
    assert encode(tower, windows, clips, size).shape == (size, tower.dim)
