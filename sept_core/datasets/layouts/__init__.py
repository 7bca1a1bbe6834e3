"""Layouts: data sets' folders as their authors and PALM ship them, read into manifests.

A file per family of data sets; ``reading.py`` finds out which layout stands in a folder.
"""

from sept_core.datasets.layouts.reading import LAYOUTS, read_layout

__all__ = ["LAYOUTS", "read_layout"]
