"""Every trial of a search: its objective over each searched hyper-parameter, in the order of proposal, and over epochs;
and its accuracy on base and on new classes.

A baseline and its SEPT twin share a panel for comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.drawing import Drawing, Linear, Log, Panel, Scale, Words, look_of, spread
from pipeline.reports.figures.points import Point
from pipeline.spec import Dimension
from pipeline.text import has_sept
from sept_core.hyper import Value
from sept_core.methods import declared_hyper

__all__ = ["accuracies_figure", "curves_figure", "history_figure", "scale_of", "searched_figures"]

Trials = Mapping[str, Sequence[Point]]
"""The trials of a baseline and of its SEPT twin, by method."""


def scale_of(dimension: Dimension | None, values: Iterable[Value]) -> Scale:
    """The scale of a hyper-parameter: that of its search space, wide enough for trials of an earlier, wider space."""
    there = list(dict.fromkeys(values))
    words = [value for value in there if isinstance(value, str)]
    if words or (dimension is not None and dimension.choices is not None):
        choices = dimension.choices if dimension is not None and dimension.choices is not None else ()
        found: set[Value] = {*choices, *there}
        ordered = sorted(found, key=lambda value: (isinstance(value, str), value if not isinstance(value, str) else 0))
        return Words(tuple(choices) if words and set(choices) >= found else tuple(ordered))
    numbers = [float(value) for value in there if not isinstance(value, str)]
    if dimension is not None and dimension.low is not None and dimension.high is not None:
        numbers += [float(dimension.low), float(dimension.high)]
    low, high = min(numbers), max(numbers)
    if dimension is not None and dimension.log and low > 0:
        ratio = max(high / low, 1.1) ** 0.04
        return Log(low / ratio, high * ratio)
    margin = 0.04 * (high - low) or 0.5
    return Linear(low - margin, high + margin, whole=all(isinstance(value, int) for value in there))


def searched_figures(
    trials: Trials, spaces: Mapping[str, Dimension], objective: str, zero_shot: float | None
) -> list[Drawing]:
    """A panel for each searched hyper-parameter with the objective of every trial.

    Args:
        trials: The trials of a baseline and of its twin.
        spaces: Searched dimensions by name.
        objective: Name of the search objective.
        zero_shot: The objective of the zero-shot prompts, if known.
    """
    every = [point for points in trials.values() for point in points]
    labels = {name: parameter.label for name, parameter in declared_hyper().items()}
    names = sorted({name for point in every for name in point.params})
    up = _up(every, zero_shot)
    figures = []
    for name in names:
        across = scale_of(spaces.get(name), [point.params[name] for point in every if name in point.params])
        panel = Panel(across, up, (labels.get(name, name), f"{objective}, %"))
        panel.level(zero_shot)
        for method, points in trials.items():
            # Shifted on scales with few values, so that trials of the twins do not cover each other.
            shift = 0.0 if not isinstance(across, Words) else (5.0 if has_sept(method) else -5.0)
            for point in _best_last(points):
                if name in point.params:
                    _mark(panel, (panel.x(point.params[name]) + shift, panel.y(point.value)), point, method)
        figures.append(panel.drawn(f"{objective} of {len(every)} trials over {name}"))
    return figures


def history_figure(trials: Trials, objective: str, zero_shot: float | None) -> Drawing:
    """The objective of every trial in the order of proposal, and a line for the best finished one so far."""
    every = [point for points in trials.values() for point in points]
    last = max(point.number for point in every)
    panel = Panel(Linear(-0.5, max(last, 1) + 0.5, whole=True), _up(every, zero_shot), ("trial", f"{objective}, %"))
    panel.level(zero_shot)
    for method, points in trials.items():
        best, steps = float("-inf"), []
        for point in points:
            if point.state == "finished":
                if best > float("-inf"):
                    steps.append((float(point.number), best))
                best = max(best, point.value)
                steps.append((float(point.number), best))
        if steps:
            panel.line([*steps, (float(last), best)], f"best {look_of(method).colour}")
    for method, points in trials.items():
        for point in _best_last(points):
            _mark(panel, (panel.x(point.number), panel.y(point.value)), point, method)
    return panel.drawn(f"{objective} of {len(every)} trials in the order of proposal")


def curves_figure(trials: Trials, objective: str) -> Drawing | None:
    """The objective of every trial over its epochs; the curves of chosen trials are strong, those of pruned ones end
    early, in a hollow mark.

    Returns:
        None if no trial has two reports.
    """
    every = [point for points in trials.values() for point in points]
    if not any(len(point.curve) > 1 for point in every):
        return None
    last = max(epoch for point in every for epoch, _ in point.curve)
    up = spread([value for point in every for _, value in point.curve])
    panel = Panel(Linear(0, last * 1.03, whole=True), up, ("epoch", f"{objective}, %"))
    for best in (False, True):
        for method, points in trials.items():
            look = look_of(method)
            for point in points:
                if point.best == best and point.curve:
                    panel.line(point.curve, f"curve {look.colour}{' chosen' if best else ''}")
                    if point.state == "pruned":
                        end = panel.x(point.curve[-1][0]), panel.y(point.curve[-1][1])
                        panel.mark(*end, look.shape, f"trial pruned {look.colour}", 2.6)
    return panel.drawn(f"{objective} of {len(every)} trials by epoch")


def accuracies_figure(trials: Trials, clips: str) -> Drawing | None:
    """Accuracy of every trial on base and on new classes, at its last report.

    Args:
        trials: The trials of a baseline and of its twin.
        clips: What they are accuracies on, such as ``validation``.

    Returns:
        None if trials have no such accuracies (cross-dataset).
    """
    places = [
        (method, point, point.accuracies)
        for method, points in trials.items()
        for point in _best_last(points)
        if point.accuracies is not None
    ]
    if not places:
        return None
    across, up = (spread([accuracies[axis] for _, _, accuracies in places]) for axis in (0, 1))
    panel = Panel(across, up, (f"{clips} base, %", f"{clips} new, %"))
    for method, point, (base, new) in places:
        _mark(panel, (panel.x(base), panel.y(new)), point, method)
    return panel.drawn(f"{clips} accuracy on base and new classes of {len(places)} trials")


def _up(points: Sequence[Point], zero_shot: float | None) -> Linear:
    return spread([point.value for point in points] + ([] if zero_shot is None else [zero_shot]))


def _best_last(points: Sequence[Point]) -> list[Point]:
    return sorted(points, key=lambda point: (point.best, point.number))


def _mark(panel: Panel, place: tuple[float, float], point: Point, method: str) -> None:
    look = look_of(method)
    if point.state == "failed":
        panel.mark(*place, "cross", f"failed trial {look.colour}", 3.5)
        return
    panel.mark(*place, look.shape, f"trial {'pruned ' if point.state == 'pruned' else ''}{look.colour}", 3.8)
    if point.best:
        panel.mark(*place, "dot", "ring", 7.5)
