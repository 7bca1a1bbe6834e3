"""Accuracy of every method on several test sets: of few-shot on each dataset, of cross-dataset on each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.drawing import Drawing, Linear, Panel, Words, look_of
from pipeline.drawing.panel import number
from pipeline.reports.rows import FewShotRow, TransferRow

__all__ = ["few_shot_figure", "transfer_figure"]

_Measured = Sequence[tuple[float, float] | None]
"""On each test set the accuracy and its spread."""


def few_shot_figure(rows: Sequence[FewShotRow], averages: Mapping[str, float], average: str) -> Drawing:
    """Draw all datasets; thin bars are the spread over replicas.

    Args:
        rows: All rows.
        averages: By method the average over datasets, which has no spread; may be empty.
        average: Its title.
    """
    datasets = tuple(dict.fromkeys(row.dataset for row in rows))
    of = {(row.dataset, row.method): (row.test.accuracy, row.test.std) for row in rows}
    measured: dict[str, _Measured] = {
        method: [
            *(of.get((name, method)) for name in datasets),
            *([(averages[method], 0.0)] if averages else []),
        ]
        for method in dict.fromkeys(row.method for row in rows)
    }
    title = f"few-shot, {rows[0].shots} shots per class"
    return _drawn((*datasets, *((average,) if averages else ())), measured, title)


def transfer_figure(rows: Sequence[TransferRow]) -> Drawing:
    """Draw one source; thin bars are the spread over replicas.

    Args:
        rows: The rows of this source.
    """
    places = ("itself", *rows[0].targets, "mean of targets")
    measured: dict[str, _Measured] = {
        row.method: [
            *((score.accuracy, score.std) for score in (row.source, *row.targets.values())),
            (row.mean, row.mean_std),
        ]
        for row in rows
    }
    return _drawn(places, measured, f"trained on {rows[0].dataset}")


def _drawn(places: tuple[str, ...], measured: Mapping[str, _Measured], title: str) -> Drawing:
    known = [one for line in measured.values() for one in line if one is not None]
    ends = [value + sign * std for value, std in known for sign in (1, -1)]
    up = Linear(max(min(ends) - 3, 0.0), min(max(ends) + 3, 101.0))
    # Side by side, so that equal methods do not hide each other.
    across = max(64, 13 * len(measured))
    size = (max(340, (across + 36) * len(places) + 80), 300)
    panel = Panel(Words(places), up, ("tested on", "accuracy on test clips, %"), title, size=size)
    for index, (method, line) in enumerate(measured.items()):
        look = look_of(method)
        shift = across * ((index + 0.5) / len(measured) - 0.5)
        for place, one in zip(places, line, strict=True):
            if one is None:
                continue
            value, std = one
            x, y, reach = panel.x(place) + shift, panel.y(value), panel.y(value) - panel.y(value + std)
            path = f"M{number(x)} {number(y - reach)}v{number(2 * reach)}"
            panel.parts.append(f'<path d="{path}" class="whisker {look.colour}"/>')
            panel.mark(x, y, look.shape, f"method {look.colour}", 5.0)
    return panel.drawn(f"accuracy of {len(measured)} methods, {title}, on {', '.join(places)}")
