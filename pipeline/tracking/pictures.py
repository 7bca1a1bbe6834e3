"""What a finished trial's MLflow run carries as files: the per-replica table and the confusion matrices."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from sept_core.results import TrialResult

__all__ = ["write_artifacts"]


def write_artifacts(result: TrialResult, title: str, folder: Path) -> None:
    """Write ``replicas.csv`` and ``confusion_base.png``, ``confusion_new.png`` of a finished trial into ``folder``."""
    _write_replicas(result, folder / "replicas.csv")
    for part in sorted(result.confusion):
        draw_confusion(
            result.confusion[part],
            result.classnames[part],
            f"{title}\n{part} classes, test clips of {len(result.replicas)} replicas",
            folder / f"confusion_{part}.png",
        )


def _write_replicas(result: TrialResult, path: Path) -> None:
    columns = list(dict.fromkeys(name for row in result.replicas for name in row))
    with path.open("w", newline="", encoding="utf-8") as lines:
        table = csv.DictWriter(lines, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(result.replicas)


def draw_confusion(counts: Sequence[Sequence[int]], names: Sequence[str], title: str, path: Path) -> None:
    """Draw a confusion matrix: rows are true classes, columns predictions, shade is the share of the row.

    Args:
        counts: ``[classes][classes]`` clips.
        names: Class names in the order of rows and columns.
        title: Above the matrix.
        path: PNG to write.
    """
    # Figure without pyplot: pyplot keeps global state and is not safe outside the main thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = len(names)
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    inches = max(4.2, 1.8 + 0.42 * size)
    figure = Figure(figsize=(inches + 0.6, inches), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(size), labels=list(names), rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(size), labels=list(names), fontsize=8)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("true", fontsize=9)
    axes.set_title(title, fontsize=9)
    for row in range(size):
        for column in range(size):
            if counts[row][column]:
                shade = "white" if shares[row][column] > 0.5 else "#333333"
                axes.text(column, row, str(counts[row][column]), ha="center", va="center", fontsize=8, color=shade)
    figure.savefig(path)
