"""Layouts: data sets' folders as their authors and PALM ship them, read into manifests.

One file per family of data sets; ``reading.py`` finds out which layout a folder has.
"""

from sept_core.datasets.layouts.reading import LAYOUTS, read_layout

__all__ = ["LAYOUTS", "read_layout"]
