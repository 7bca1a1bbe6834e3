"""How many clips to encode at once: as many as the smallest GPU of the cluster has room for.

The last digits of an embedding depend on it, so it is determined once per run, before anything is encoded, and is part
of the store (``preprocessing``) and of the names of its parts. On CPUs it is always `CPU_BATCH`. On GPUs it is
measured, since it depends on the encoder's architecture, on libraries and on other users of the card: a GPU of each
kind encodes silence in two batch sizes, and the peaks of its memory give the cost of a clip.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sept_core.datasets.embeddings import ROWS_PER_PART
from sept_core.errors import InputError, SeptError

if TYPE_CHECKING:
    from pipeline.embed.encoder_loading import Loader
    from pipeline.spec import EncoderFiles
    from sept_core.encoders import AudioTower

__all__ = ["CPU_BATCH", "Begun", "Probe", "gpu_batch_size", "gpu_kinds", "measure", "smallest"]

logger = logging.getLogger(__name__)

Begun = Callable[[], int | None]
"""Returns how many clips an interrupted attempt encoded at once; None if there is nothing left of one."""

CPU_BATCH = 4
"""On one thread, 32 at once are a third slower than 4, both with msclap-2023 (4.2 and 5.8 clips/s) and with mini:
4 clips fit into the processor's cache."""

# Batch sizes to probe a GPU with; their difference gives the cost of a clip.
_FEW, _MORE = 2, 8
# Seconds until a message that the command waits for a GPU.
_WAIT_S = 60.0

# The share of a GPU's free memory to use: the allocator's fragments and cuDNN's workspaces need the rest.
_SHARE = 0.6


@dataclass(frozen=True)
class Probe:
    """A GPU's measurements, in bytes.

    Attributes:
        free: Its free memory with the encoder loaded and nothing else of this process.
        few: Its peak with two clips, without the encoder's weights.
        more: Its peak with eight.
    """

    free: int
    few: int
    more: int

    @property
    def batch_size(self) -> int:
        """The largest power of 2, up to a part of the store, that needs no more than a share of the free memory.

        Raises:
            SeptError: There is no room for even one clip.
        """
        clip = max((self.more - self.few) / (_MORE - _FEW), 1.0)
        fixed = max(self.few - _FEW * clip, 0.0)
        room = int((self.free * _SHARE - fixed) / clip)
        if room < 1:
            raise SeptError(
                f"a GPU has {self.free / 2**30:.1f} GiB free, and a clip of this encoder takes {clip / 2**30:.1f} GiB; "
                "end other programs that use it, or give --batch-size 1 to try anyway"
            )
        return int(min(2 ** (room.bit_length() - 1), ROWS_PER_PART))


def gpu_batch_size(files: EncoderFiles, load: Loader, begun: Begun, gpus: int | None = None) -> int | None:
    """The batch size for the Ray cluster that this process is connected to; None if it has no GPU.

    Args:
        files: The encoder's.
        load: Loads it.
        begun: Returns the size of an interrupted attempt, which is kept: a GPU may have less free memory now.
        gpus: Number of GPUs that the cluster can grow to; if it has none yet, wait for one.

    Raises:
        InputError: The encoder cannot be loaded there.
        SeptError: The cluster fails, or a GPU does not have enough memory.
    """
    import ray
    from ray.exceptions import RayError

    kinds = gpu_kinds(ray.nodes()) or [{}] * bool(gpus)
    if not kinds:
        return None
    if (size := begun()) is not None:
        return size
    probe: Any = ray.remote(num_cpus=0, num_gpus=1, max_retries=3)(_probe)
    try:
        asked = [probe.options(resources=kind).remote(files, load) for kind in kinds]
        if ray.wait(asked, num_returns=len(asked), timeout=_WAIT_S)[1]:
            logger.warning("waiting for a GPU; all are in use, or none has joined the cluster yet")
        said = ray.get(asked)
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, InputError):
            raise cause from error
        raise SeptError(f"a GPU of the cluster cannot encode: {' '.join(str(error).split())[-300:]}") from error
    return smallest(said)


def smallest(probes: Iterable[Probe]) -> int:
    """The batch size that fits on every GPU."""
    return min(probe.batch_size for probe in probes)


def gpu_kinds(nodes: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The resources to request from Ray, to get a GPU of each kind that its nodes have."""
    with_gpu = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("GPU")]
    kinds = {name for resources in with_gpu for name in resources if name.startswith("accelerator_type:")}
    # Ray has no name for a kind that it does not know; then any GPU represents all.
    return [{name: 0.001} for name in sorted(kinds)] or [{}] * bool(with_gpu)


def _probe(files: EncoderFiles, load: Loader) -> Probe:
    """A task on a GPU: measure how much memory encoding needs there."""
    from pipeline.embed.batches import compute_exactly

    compute_exactly()
    return measure(load(files).load_audio().to("cuda"))


def measure(tower: AudioTower) -> Probe:
    """Measure how much memory encoding with ``tower`` needs on the GPU where it is."""
    import torch

    # Silence needs as much memory as any other sound.
    window = tower.prepare(torch.zeros(round(tower.sample_rate * tower.seconds)))
    peaks = []
    with torch.inference_mode():
        # Libraries keep memory after the first call; that does not count for a clip.
        tower(window.to("cuda")[None])
        for clips in (_FEW, _MORE):
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            tower(window.to("cuda").repeat(clips, 1))
            torch.cuda.synchronize()
            peaks.append(torch.cuda.max_memory_allocated() - held)
    torch.cuda.empty_cache()
    return Probe(torch.cuda.mem_get_info()[0], *peaks)
