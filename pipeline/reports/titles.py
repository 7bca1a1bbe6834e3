"""Titles and order of the methods of a report."""

from __future__ import annotations

from pipeline.text import has_sept, method_title, without_sept
from sept_core.trial_config import TrialConfig, parts_of_key

__all__ = ["method_place", "study_title", "title_in_cell"]


def method_place(method: str) -> tuple[bool, str, bool]:
    """Sorts methods: zero-shot first, each baseline before its SEPT twin; cells of one method stay in their order."""
    name = method.partition("@")[0]
    return name != "zero-shot", without_sept(name), has_sept(name)


def study_title(config: TrialConfig, key: str) -> str:
    """The method of a study for a table of studies, with its cell if it has one, and with ``strict`` its test fold."""
    apart = f", fold {', '.join(config.folds)}" if config.study_key != config.row_key else ""
    return title_in_cell(config.method, key) + apart


def title_in_cell(method: str, key: str) -> str:
    """The method of a study or row with its cell, if it has one."""
    cell = parts_of_key(key).cell
    return method_title(f"{method}@{cell}" if cell else method)
