"""The base-new trade-off as a picture: what a learned context gains on base classes, and what it costs on new ones."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from pipeline.report.rows import Row, SweepTable, method_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "finish", "marker", "plot_tradeoff"]

# Okabe and Ito's colours, told apart by all common kinds of colour blindness; SEPT is filled, its baseline hollow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_ZERO_SHOT = "#444444"
_GREY = "#B8B8B8"
_PANEL_INCHES = 4.6
_FEW = 5
"""Methods up to which a panel names every H and shows spreads strongly."""


def plot_tradeoff(table: SweepTable) -> bytes:
    """Draw a panel per dataset: base accuracy across, new accuracy up, with the spread over replicas.

    An arrow leads from each baseline to its SEPT twin; the grey curves join points of equal harmonic mean H.

    Returns:
        A PNG. Drawn without pyplot, whose global state is not safe in threads.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    datasets = table.datasets
    columns = min(len(datasets), 3)
    lines = math.ceil(len(datasets) / columns)
    figure = Figure(figsize=(_PANEL_INCHES * columns, 4.5 * lines + 0.5), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    methods = sorted({row.method for row in table.rows}, key=lambda method: (method != "zero-shot", method))
    colours = dict(zip(sorted({row.baseline for row in table.rows} - {"zero-shot"}), COLOURS * 2, strict=False))
    for index, dataset in enumerate(datasets):
        axes = figure.add_subplot(lines, columns, index + 1)
        _panel(axes, [row for row in table.rows if row.dataset == dataset], colours)
        axes.set_title(f"{dataset}\n", fontsize=12, fontweight="bold")
        # Above the panel, not at the points: methods often lie so close that labels would cover each other and them.
        values = [f"{method_title(row.method)} {row.test.h:.1f}" for row in table.rows if row.dataset == dataset]
        text = f"H: {', '.join(values)}" if len(values) <= _FEW else f"best H: {_best(table, dataset)}"
        axes.text(0.5, 1.02, text, transform=axes.transAxes, ha="center", fontsize=9.5, color="#333333")
        axes.set_xlabel("accuracy on base classes, %", fontsize=10)
        if index % columns == 0:
            axes.set_ylabel("accuracy on new classes, %", fontsize=10)
    if table.warning:
        figure.suptitle(table.warning.replace(": not", ":\nnot"), fontsize=11, fontweight="bold", color="#B00020")
    return finish(figure, methods, colours)


def finish(figure: Figure, methods: Sequence[str], colours: dict[str, str]) -> bytes:
    """Put the legend of all methods below the panels and return the picture as a PNG."""
    from matplotlib.lines import Line2D

    # The markers alone: with their error bars they would look like boxes.
    figure.legend(
        [Line2D([], [], linestyle="none", **marker(method, colours)) for method in methods],
        [method_title(method) for method in methods],
        loc="outside lower center",
        ncols=min(len(methods), 4),
        frameon=False,
        fontsize=10,
    )
    picture = io.BytesIO()
    # Without the library's version and the date in it, the same result is the same file.
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _best(table: SweepTable, dataset: str) -> str:
    row = max((row for row in table.rows if row.dataset == dataset), key=lambda row: row.test.h)
    return f"{method_title(row.method)} {row.test.h:.1f}"


def _panel(axes: Axes, rows: list[Row], colours: dict[str, str]) -> None:
    _limits(axes, rows)
    _equal_h(axes)
    places = {row.method: (row.test.base, row.test.new) for row in rows}
    for row in rows:
        colour = colours.get(row.baseline, _ZERO_SHOT)
        sept = row.method.endswith("+sept")
        place = (row.test.base, row.test.new)
        axes.errorbar(
            *place,
            xerr=row.test.base_std,
            yerr=row.test.new_std,
            ecolor=colour,
            elinewidth=1,
            capsize=3,
            alpha=0.5 if len(rows) <= _FEW else 0.2,
            zorder=2,
        )
        axes.plot(*place, linestyle="none", zorder=5, **marker(row.method, colours))
        if sept and row.baseline in places:
            axes.annotate(
                "",
                xy=place,
                xytext=places[row.baseline],
                arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2.2, "shrinkA": 6, "shrinkB": 6},
                zorder=4,
            )
    axes.tick_params(labelsize=9)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def marker(method: str, colours: dict[str, str]) -> dict[str, Any]:
    """How a method's point looks: a diamond without learning, hollow for a baseline, filled with SEPT."""
    baseline = method.removesuffix("+sept")
    colour = colours.get(baseline, _ZERO_SHOT)
    return {
        "marker": "D" if baseline not in colours else "o",
        "markersize": 8 if baseline not in colours else 9,
        "color": colour,
        "markerfacecolor": "white" if baseline == method and baseline in colours else colour,
        "markeredgewidth": 2,
    }


def _limits(axes: Axes, rows: list[Row]) -> None:
    """Room for every point with its spread."""
    for values, setter in (
        ([(row.test.base, row.test.base_std) for row in rows], axes.set_xlim),
        ([(row.test.new, row.test.new_std) for row in rows], axes.set_ylim),
    ):
        low = min(mean - std for mean, std in values)
        high = max(mean + std for mean, std in values)
        room = max(0.12 * (high - low), 2.0)
        setter(max(low - room, 0.0), min(high + room, 102.0))


def _equal_h(axes: Axes) -> None:
    """Light curves of equal H = 2 b n / (b + n): n = H b / (2 b - H)."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for level in range(10, 100, 5 if max(right - left, high - low) < 45 else 10):
        points = []
        for step in range(301):
            base = left + (right - left) * step / 300
            if 2 * base > level:
                new = level * base / (2 * base - level)
                if low <= new <= high:
                    points.append((base, new))
        if len(points) < 2:
            continue
        axes.plot(*zip(*points, strict=True), color=_GREY, lw=0.8, ls=(0, (4, 3)), zorder=1)
        axes.text(
            *points[int(0.93 * (len(points) - 1))],
            f"H = {level}",
            ha="center",
            va="center",
            fontsize=7.5,
            color="#8A8A8A",
            zorder=1.5,
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"},
        )
