"""The embedded encoder ``mini``: small enough to ship, trained by this project, offline on a CPU.

``MODEL_CARD.md`` in this folder says what it was trained on and what it can do. ``infra/mini``, which is not part of
the installed package, trains it.
"""

from sept_core.encoders.mini.audio import MiniAudioConfig, MiniAudioTower
from sept_core.encoders.mini.loading import WEIGHTS, load_mini
from sept_core.encoders.mini.text import MiniTextConfig, MiniTextTower

__all__ = ["WEIGHTS", "MiniAudioConfig", "MiniAudioTower", "MiniTextConfig", "MiniTextTower", "load_mini"]
