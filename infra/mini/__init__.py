"""Trains the encoder ``mini`` on a CPU, from two folders of audio. It is not part of the installed package.

Needs ``pip install -e ".[pretraining]"`` in a checkout of the repository:

    python -m infra.mini --esc10 DIR --fsdd DIR [--out DIR] [--quick]
    python -m infra.mini.evaluate --esc10 DIR --fsdd DIR [--weights DIR]

One rule holds everywhere: no clip that a sweep may draw as a shot or test on is used here (``clips.py``), neither for
training nor for choosing anything.
"""

__all__: list[str] = []
