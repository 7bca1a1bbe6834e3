"""What a FLAC file states about all its samples: rate, channels and MD5."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from sept_core.audio.formats import Fault

__all__ = ["StreamInfo"]


class StreamInfo:
    """The STREAMINFO block of a FLAC file. FFmpeg checks neither its MD5 nor whether it fits the frames.

    Args:
        block: The block, 34 bytes.
    """

    def __init__(self, block: bytes) -> None:
        packed = int.from_bytes(block[10:18], "big")
        self.rate, self.channels, self.bits = packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1
        self.md5, self.digest = block[18:34], hashlib.md5(usedforsecurity=False)

    @classmethod
    def of(cls, context: Any) -> StreamInfo | None:
        """The block of a stream; None if it is not FLAC."""
        return cls(context.extradata) if context.name == "flac" and len(context.extradata or b"") >= 34 else None

    def add(self, values: np.ndarray, rate: int, channels: int) -> None:
        """Check a frame and add its samples ``[samples, channels]``, which use the upper bits. Raises Fault."""
        if (rate, channels) != (self.rate, self.channels):
            raise Fault(
                f"damaged: its header states {self.rate} Hz and {self.channels} channels, its first frame {rate} Hz "
                f"and {channels}"
            )
        if any(self.md5):
            # The digest is of the lower bytes, little-endian.
            lower = (values >> (8 * values.itemsize - self.bits)).astype("<i4", order="C")
            self.digest.update(lower.view(np.uint8).reshape(-1, 4)[:, : (self.bits + 7) // 8].tobytes())

    def check(self) -> None:
        """Compare the MD5 of all samples that were added. Raises Fault."""
        if any(self.md5) and self.digest.digest() != self.md5:
            raise Fault("damaged: its samples do not match their MD5")
