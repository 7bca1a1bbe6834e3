"""Accuracy of every method on the source, on each target and on their mean, for one source."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.drawing import Drawing, Linear, Panel, Words, look_of
from pipeline.drawing.panel import number
from pipeline.reports.rows import TransferRow

__all__ = ["transfer_figure"]


def transfer_figure(rows: Sequence[TransferRow]) -> Drawing:
    """Draw one source; thin bars are the spread over replicas.

    Args:
        rows: The rows of this source.
    """
    source = rows[0].dataset
    places = ("itself", *rows[0].targets, "mean of targets")
    values = [[score.accuracy for score in (row.source, *row.targets.values())] + [row.mean] for row in rows]
    spreads = [[score.std for score in (row.source, *row.targets.values())] + [row.mean_std] for row in rows]
    ends = [
        value + sign * std
        for line, stds in zip(values, spreads, strict=True)
        for value, std in zip(line, stds, strict=True)
        for sign in (1, -1)
    ]
    up = Linear(max(min(ends) - 3, 0.0), min(max(ends) + 3, 101.0))
    size = (max(340, 100 * len(places) + 80), 300)
    panel = Panel(Words(places), up, ("tested on", "accuracy on test clips, %"), f"trained on {source}", size=size)
    for index, row in enumerate(rows):
        look = look_of(row.method)
        # Side by side, so that equal methods do not hide each other.
        shift = 64 * ((index + 0.5) / len(rows) - 0.5)
        for place, value, std in zip(places, values[index], spreads[index], strict=True):
            x, y, reach = panel.x(place) + shift, panel.y(value), panel.y(value) - panel.y(value + std)
            path = f"M{number(x)} {number(y - reach)}v{number(2 * reach)}"
            panel.parts.append(f'<path d="{path}" class="whisker {look.colour}"/>')
            panel.mark(x, y, look.shape, f"method {look.colour}", 5.0)
    return panel.drawn(f"accuracy of {len(rows)} methods trained on {source}, on {', '.join(places)}")
