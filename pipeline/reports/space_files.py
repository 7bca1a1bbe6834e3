"""The pictures and numbers of one prompt space, for files and for MLflow."""

from __future__ import annotations

from pipeline.drawing import picture_file
from pipeline.reports.figures.prompt_space import (
    distance_figures,
    distance_legend,
    distance_limits,
    map_figures,
    map_legend,
)
from pipeline.reports.rows import warning_of
from pipeline.reports.space_pairs import SpacePair
from sept_core.prompt_space import PromptSpace, View

__all__ = ["space_metrics", "space_pictures"]


def space_pictures(pair: SpacePair, space: PromptSpace) -> dict[str, bytes]:
    """SVG files by name: ``distances.svg`` and ``map.svg``."""
    limits = distance_limits([space])
    heading = [", ".join(f"{use.study} #{use.number}" for use in pair.trials)]
    heading += filter(None, [warning_of(pair.main.selection)])
    return {
        "distances.svg": picture_file(distance_figures(space, limits), heading, distance_legend(limits)),
        "map.svg": picture_file(map_figures(space), heading, map_legend(space)),
    }


def space_metrics(view: View) -> dict[str, float]:
    """Means over replicas by metric, such as ``space/drift`` and ``space/violated_inter_new``."""
    means = {name: view.mean(name) for name in view.values}
    return {f"space/{name}": mean for name, mean in means.items() if mean is not None}
