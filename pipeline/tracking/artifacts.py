"""Files of a finished trial's MLflow run: the table of its replicas and its confusion matrices."""

from __future__ import annotations

import csv
from pathlib import Path

from pipeline.drawing import confusion_figure, picture_file
from sept_core.results import TrialResult

__all__ = ["write_artifacts"]


def write_artifacts(result: TrialResult, title: str, folder: Path) -> None:
    """Write ``replicas.csv`` and ``confusion_base.svg``, ``confusion_new.svg`` of a finished trial into ``folder``."""
    columns = list(dict.fromkeys(name for row in result.replicas for name in row))
    with (folder / "replicas.csv").open("w", newline="", encoding="utf-8") as lines:
        table = csv.DictWriter(lines, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(result.replicas)
    for part in sorted(result.confusion):
        what = f"{part} classes, test clips of {len(result.replicas)} replicas"
        drawing = confusion_figure(result.confusion[part], result.classnames[part], what)
        (folder / f"confusion_{part}.svg").write_bytes(picture_file([drawing], [title]))
