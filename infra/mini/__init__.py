"""Makes the encoder ``mini`` anew, on a CPU, from the two audio folders.

    python -m infra.mini --esc10 DIR --fsdd DIR [--out DIR] [--quick]
    python -m infra.mini.evaluate --esc10 DIR --fsdd DIR [--weights DIR]

The one rule: no clip that a sweep may draw as a shot or test on is heard here (``clips.py``), neither for training
nor for choosing anything.
"""

__all__: list[str] = []
