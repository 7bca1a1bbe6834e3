"""Cross-dataset as a picture: a panel per source, accuracy on it, on each target and on their mean, by method."""

from __future__ import annotations

from pipeline.report.plots import COLOURS, finish, marker
from pipeline.report.rows import SweepTable

__all__ = ["plot_transfer"]

_MEAN = "mean of targets"


def plot_transfer(table: SweepTable) -> bytes:
    """Draw a panel per source; error bars are the spread over replicas.

    Returns:
        A PNG. Drawn without pyplot, whose global state is not safe in threads.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sources = table.datasets
    methods = sorted({row.method for row in table.transfers}, key=lambda method: (method != "zero-shot", method))
    colours = dict(zip(sorted({row.baseline for row in table.transfers} - {"zero-shot"}), COLOURS * 2, strict=False))
    widest = max(len(row.targets) for row in table.transfers) + 2
    figure = Figure(figsize=(max(4.6, 1.3 * widest) * len(sources), 5.0), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    for index, source in enumerate(sources):
        axes = figure.add_subplot(1, len(sources), index + 1)
        rows = [row for row in table.transfers if row.dataset == source]
        places = [f"{source}\n(source)", *rows[0].targets, _MEAN]
        for row in rows:
            scores = [row.source, *row.targets.values()]
            values = [*(score.accuracy for score in scores), row.mean]
            spreads = [*(score.std for score in scores), row.mean_std]
            # Side by side, so that methods that agree don't hide each other.
            shift = 0.6 * (methods.index(row.method) + 0.5) / len(methods) - 0.3
            look = marker(row.method, colours)
            across = [place + shift for place in range(len(places))]
            axes.errorbar(across, values, yerr=spreads, linestyle="none", capsize=3, elinewidth=1, **look)
        axes.set_xticks(range(len(places)), labels=places, fontsize=9)
        axes.set_title(f"trained on {source}", fontsize=12, fontweight="bold")
        if index == 0:
            axes.set_ylabel("accuracy on test clips, %", fontsize=10)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return finish(figure, methods, colours)
