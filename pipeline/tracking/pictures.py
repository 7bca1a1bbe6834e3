"""What a finished trial's MLflow run carries as files: the per-replica table and the confusion matrices."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from sept_core.results import TrialResult

__all__ = ["write_artifacts"]

# Pixels: a cell's side, the font, a letter's mean width and a line's height in it.
_CELL, _FONT, _LETTER, _LINE = 34, 11, 6.4, 16
# The shade of a full row, as in matplotlib's Blues.
_FULL = (8, 48, 107)


def write_artifacts(result: TrialResult, title: str, folder: Path) -> None:
    """Write ``replicas.csv`` and ``confusion_base.svg``, ``confusion_new.svg`` of a finished trial into ``folder``."""
    _write_replicas(result, folder / "replicas.csv")
    for part in sorted(result.confusion):
        lines = (title, f"{part} classes, test clips of {len(result.replicas)} replicas")
        picture = draw_confusion(result.confusion[part], result.classnames[part], lines)
        (folder / f"confusion_{part}.svg").write_text(picture, encoding="utf-8")


def _write_replicas(result: TrialResult, path: Path) -> None:
    columns = list(dict.fromkeys(name for row in result.replicas for name in row))
    with path.open("w", newline="", encoding="utf-8") as lines:
        table = csv.DictWriter(lines, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(result.replicas)


def draw_confusion(counts: Sequence[Sequence[int]], names: Sequence[str], title: Sequence[str]) -> str:
    """Draw a confusion matrix: rows are true classes, columns predictions, shade is the share of the row.

    As text, and not by matplotlib: that takes a quarter of a second a picture, seconds where there are 25 classes, and
    holds up the driver's other threads meanwhile.

    Args:
        counts: ``[classes][classes]`` clips.
        names: Class names in the order of rows and columns.
        title: Lines above the matrix.

    Returns:
        SVG.
    """
    side, label = _CELL * len(names), _LETTER * max(map(len, names))
    left, top = label + 2 * _LINE, _LINE * (len(title) + 1)
    # Slanted labels: as high as they are wide.
    width = max(left + side + _LINE, *(_LETTER * len(line) + _LINE for line in title))
    height = top + side + 0.71 * label + 2.5 * _LINE
    font = f'font-family="sans-serif" font-size="{_FONT}" fill="#333333"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" {font}>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        *(_text(_LINE / 2, _LINE * (row + 1), line) for row, line in enumerate(title)),
        *_cells(counts, left, top),
        f'<rect x="{left:.1f}" y="{top}" width="{side}" height="{side}" fill="none" stroke="#333333"/>',
    ]
    for index, name in enumerate(names):
        middle = _CELL * (index + 0.5)
        parts.append(_text(left - 5, top + middle + 4, name, "end"))
        parts.append(_text(left + middle + 4, top + side + _FONT + 2, name, "end", -45))
    parts.append(_text(left + side / 2, height - _LINE / 2, "predicted", "middle"))
    parts.append(_text(_LINE, top + side / 2, "true", "middle", -90))
    return "\n".join([*parts, "</svg>\n"])


def _cells(counts: Sequence[Sequence[int]], left: float, top: float) -> Iterator[str]:
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            if not count:
                continue
            share = count / sum(line)
            x, y = left + _CELL * column, top + _CELL * row
            shade = "".join(f"{round(255 + (full - 255) * share):02x}" for full in _FULL)
            yield f'<rect x="{x:.1f}" y="{y}" width="{_CELL}" height="{_CELL}" fill="#{shade}"/>'
            color = "#ffffff" if share > 0.5 else "#333333"
            yield _text(x + _CELL / 2, y + _CELL / 2 + 4, str(count), "middle", color=color)


def _text(x: float, y: float, text: str, anchor: str = "start", turned: int = 0, color: str = "") -> str:
    turn = f' transform="rotate({turned} {x:.1f} {y:.1f})"' if turned else ""
    fill = f' fill="{color}"' if color else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}{fill}>{escape(text)}</text>'
