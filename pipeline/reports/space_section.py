"""The section of a report about prompt spaces, and the words that ``sept show`` shares with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.reports.document import Figure, Group, Section, Sheet
from pipeline.reports.figures.prompt_space import (
    distance_figures,
    distance_legend,
    distance_limits,
    map_figures,
    map_legend,
)
from pipeline.reports.space_pairs import SpacePair
from pipeline.reports.titles import title_in_cell
from sept_core.prompt_space import PromptSpace, View

__all__ = ["MEASURES", "space_section", "space_sentence", "titles_of", "value_of"]

_DRAWN, _CELLS = 8, 30_000
"""Pictures of at most this many pairs, and with this many cells of heatmaps, so that the page stays small; the table
has all pairs."""
_NARROW = 400
"""Pixels; wider heatmaps scroll on a phone."""

MEASURES = {
    "drift": "drift",
    "ratio_base": "ratio base",
    "ratio_new": "ratio new",
    "violated_intra_base": "base own, %",
    "violated_inter_base": "base other, %",
    "violated_intra_new": "new own, %",
    "violated_inter_new": "new other, %",
}
"""The columns of a table by measure: shares of violated margins in percent."""

_LEAD = (
    "Class names against their semantic neighbours, as the text encoder places them: in hand-written prompts, after "
    "tuning, and after tuning with SEPT. SEPT's margins are the distances in hand-written prompts; a margin is "
    "violated if a class is farther from one of its own neighbours than there, or nearer to a neighbour of another "
    "class."
)
_TRIALS = (
    "Each method: its best trial over all test folds, which sept export exports; means ± standard deviations over "
    "replicas. A twin without SEPT is measured with the neighbours and templates of the SEPT trial."
)
_COLUMNS = (
    "drift: mean distance of a class from its place in the hand-written prompt of zero-shot. ratio: mean distance to "
    "own neighbours over that to neighbours of other classes. The last columns: violated margins of hand-written "
    "prompts (factor 1, whatever factors the trial used) to own and to other classes' neighbours. Smaller is better "
    "ordered."
)
_MAP = "Map: the first two principal components of all three sets together, each set around its own centre."


def value_of(view: View, measure: str) -> str:
    """The mean of a measure and its spread over replicas as in a table; empty if it does not apply."""
    mean = view.mean(measure)
    if mean is None:
        return ""
    if measure.startswith(("drift", "ratio")):
        return f"{mean:.2f}" + (f" ± {view.spread(measure):.2f}" if len(view.values[measure]) > 1 else "")
    return f"{100 * mean:.0f}" + (f" ± {100 * view.spread(measure):.0f}" if len(view.values[measure]) > 1 else "")


def titles_of(measures: Mapping[str, str], spaces: Iterable[PromptSpace]) -> dict[str, str]:
    """Titles by measure; where all classes are trained on, no class is called a base class, and none is new."""
    if any(space.has_new for space in spaces):
        return dict(measures)
    words = {name: title for name, title in measures.items() if not name.endswith("_new")}
    return {
        name: title.replace(", base", "").replace("base ", "").removesuffix(" base") for name, title in words.items()
    }


def space_sentence(pair: SpacePair, space: PromptSpace) -> str:
    """What the margins say, in one sentence: of new classes if their neighbours are known, else of base classes."""
    group = space.groups[-1]
    told: list[str] = []
    for view in space.views[1:]:
        own, others = (view.mean(f"violated_{kind}_{group}") for kind in ("intra", "inter"))
        if own is not None and others is not None:
            first, second = ("", "") if told else (" (own neighbours)", " (others')")
            told.append(f"{view.title} {100 * own:.0f} %{first} and {100 * others:.0f} %{second}")
    of = f" of {group} classes" if space.has_new else ""
    return f"{pair.main.dataset}, violated margins{of}: {', '.join(told)}." if told else ""


def space_section(pairs: Sequence[tuple[SpacePair, PromptSpace | None]], sweep: str) -> Section | None:
    """The section; None if the sweep has no trial with SEPT.

    Args:
        pairs: The pairs of the sweep with what has been measured of them.
        sweep: Its name, for the command that measures the rest.
    """
    if not pairs:
        return None
    measured = [(pair, space) for pair, space in pairs if space is not None]
    missing = len(pairs) - len(measured)
    command = f"sept show {sweep} measures {'it' if len(pairs) == 1 else 'them' if not measured else 'the rest'}"
    notes = [f"{missing} of {len(pairs)} comparisons have not been measured: {command}."] if missing else []
    title = "Prompt space: what SEPT did"
    if not measured:
        return Section("space", title, lead=(_LEAD,), notes=tuple(notes))
    drawn = _drawn(measured)
    limits = distance_limits(space for _, space in drawn)
    unfolded = len(drawn) <= _DRAWN // 2
    groups: list[Group] = []
    for pair, space in drawn:
        heatmaps = tuple(Figure(svg, wide=svg.width > _NARROW) for svg in distance_figures(space, limits))
        maps = tuple(map(Figure, map_figures(space)))
        groups += (
            Group(f"{_name(pair)}: {kind}", of, unfolded) for kind, of in (("distances", heatmaps), ("map", maps))
        )
    if len(measured) > len(drawn):
        notes.append(f"Pictures of the first {len(drawn)}; sept show {sweep} STUDY draws any other.")
    remarks = dict.fromkeys(remark for _, space in measured for remark in space.remarks)
    sentences = tuple(filter(None, (space_sentence(pair, space) for pair, space in drawn)))
    return Section(
        "space",
        title,
        lead=(_LEAD,),
        items=sentences,
        legend=(*distance_legend(limits), *map_legend(measured[0][1])),
        sheets=(_sheet(measured),),
        groups=tuple(groups),
        notes=(*notes, _TRIALS, _COLUMNS, _MAP, *remarks),
    )


def _drawn(measured: Sequence[tuple[SpacePair, PromptSpace]]) -> Sequence[tuple[SpacePair, PromptSpace]]:
    cells = 0
    for count, (_, space) in enumerate(measured[:_DRAWN]):
        cells += len(space.views) * len(space.neighbors) ** 2
        if cells > _CELLS:
            return measured[: max(1, count)]
    return measured[:_DRAWN]


def _sheet(measured: Sequence[tuple[SpacePair, PromptSpace]]) -> Sheet:
    titles = titles_of(MEASURES, (space for _, space in measured))
    rows = tuple(
        (_name(pair), view.title, *(value_of(view, measure) for measure in titles))
        for pair, space in measured
        for view in space.views
    )
    return Sheet(("study", "prompts", *titles.values()), rows, frozenset({"study", "prompts"}))


def _name(pair: SpacePair) -> str:
    """Such as ``ESC10 CoOp + SEPT``; with a search for each test fold, also the fold."""
    fold = "" if pair.main.study == pair.main.row else f", fold {', '.join(pair.main.folds)}"
    return f"{pair.main.dataset} {title_in_cell(pair.main.method, pair.main.study)}{fold}"
