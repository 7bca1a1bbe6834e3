"""``sept show``: what tuning and SEPT did to the space of prompts."""

from __future__ import annotations

import json
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.errors import EXIT_FAILED
from pipeline.cli.options import DEFAULT_ROOT, JsonOption, RootOption, TextModelOption, WeightsOption, root_option
from pipeline.text import plural

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.prompts.measure_space import Measured
    from pipeline.reports.space_pairs import SpacePair
    from pipeline.store import TrialStore
    from sept_core.prompt_space import PromptSpace

__all__ = ["show", "unmeasured"]

_ROWS = {
    "drift_base": "drift from hand-written prompts, base classes",
    "drift_new": "drift from hand-written prompts, new classes",
    "ratio_base": "distance to own / to other neighbours, base",
    "ratio_new": "distance to own / to other neighbours, new",
    "violated_intra_base": "violated margins, base, own neighbours, %",
    "violated_inter_base": "violated margins, base, other neighbours, %",
    "violated_intra_new": "violated margins, new, own neighbours, %",
    "violated_inter_new": "violated margins, new, other neighbours, %",
}
_SHORT = {
    "drift": "drift",
    "violated_intra_base": "base own",
    "violated_inter_base": "base other",
    "violated_intra_new": "new own",
    "violated_inter_new": "new other",
}
_OWN = {
    "own_violated_intra_base": "its own margins, base, own neighbours, %",
    "own_violated_inter_base": "its own margins, base, other neighbours, %",
    "own_violated_intra_new": "its own margins, new, own neighbours, %",
    "own_violated_inter_new": "its own margins, new, other neighbours, %",
}


def show(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    study: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY]", help="Study, such as ESC10.coop+sept or ESC10.coop; without it, all pairs."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure it again, even if the store has it.")] = False,
    weights: WeightsOption = None,
    text_model: TextModelOption = None,
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Show what SEPT did to the space of prompts: classes against their neighbours, with and without it.

    Of the best trial of a study and of its twin without SEPT. Without STUDY, all SEPT studies of the sweep are measured
    that have not been; then sept report shows them.
    """
    from pipeline.cli.console import say, wide_console, working
    from pipeline.reports import collect
    from pipeline.reports.find_row import short_key
    from pipeline.reports.space_pairs import pair_of, space_pairs, stored_spaces
    from pipeline.spec.known_sweep import known_sweep
    from pipeline.store import TrialStore, open_files

    store = TrialStore(open_files(root))
    known_sweep(store, sweep, study)
    table = collect(store, sweep)
    pairs = space_pairs(table)
    from pipeline.prompts.measure_space import measure_missing, measure_pair

    if study is not None or len(pairs) < 2:
        pair = pair_of(table, pairs[0].main.study if study is None and pairs else study)
        (space,) = [None] if again else stored_spaces(store, [pair])
        if space is None:
            space = measure_pair(store, root, sweep, pair, weights=weights, text_model=text_model)
        if as_json:
            typer.echo(json.dumps(space.to_json(), indent=1))
            return
        _show_one(wide_console(), store, sweep, pair, space)
        return
    console = wide_console()
    with working("Measuring what SEPT did to the prompts"):
        done = measure_missing(store, root, sweep, table, again=again, weights=weights, text_model=text_model)
    spaces = list(zip(pairs, stored_spaces(store, pairs), strict=True))
    if as_json:
        # The others' reasons are in their place.
        found = {pair.main.study: space.to_json() for pair, space in spaces if space}
        found |= {study: {"not_measured": reason} for study, reason in done.refused.items() if study not in found}
        typer.echo(json.dumps(found, indent=1))
        return
    measured = [pair for pair, space in spaces if space is not None]
    if measured:
        _show_all(console, spaces)
    for line in unmeasured(done, sweep, root):
        say(console, line)
    if not measured:
        raise typer.Exit(EXIT_FAILED)
    named = f"{quote(sweep)} {quote(short_key(measured[0].main.study))}{root_option(root)}"
    say(console, f"\nOne of them with pictures:\n  sept show {named}")
    say(console, f"In the report: sept report {quote(sweep)}{root_option(root)}")


def unmeasured(done: Measured, sweep: str, root: str) -> list[str]:
    """What could not be measured and why, and the command that measures the rest; one line each."""
    lines = []
    for reason in dict.fromkeys(done.refused.values()):
        studies = [study for study, other in done.refused.items() if other == reason]
        more = f" and {len(studies) - 1} more" if len(studies) > 1 else ""
        lines.append(f"prompt space of {studies[0]}{more}: not measured: {reason}")
    if done.left:
        command = f"sept show {quote(sweep)}{root_option(root)}"
        lines.append(f"prompt spaces of {len(done.left)} more studies: {command} measures them")
    return lines


def _show_one(console: Console, store: TrialStore, sweep: str, pair: SpacePair, space: PromptSpace) -> None:
    from pipeline.cli.console import plain_table, say
    from pipeline.reports.space_files import space_pictures
    from pipeline.reports.space_section import space_sentence, titles_of, value_of

    trials = ", ".join(f"{use.study} #{use.number}" for use in reversed(pair.trials))
    say(console, f"{trials}: best over all test folds")
    counts = (plural(len(space.classes), "class", "classes"), plural(len(space.neighbors[0]), "neighbour"))
    say(console, f"{counts[0]}, {counts[1]} each, margins from {plural(space.templates, 'template')}\n")
    table = plain_table()
    table.add_column("mean ± deviation over replicas", overflow="fold")
    for view in space.views:
        table.add_column(view.title, justify="right", overflow="fold")
    # With factors of 1 they are the margins of hand-written prompts.
    differ = any(
        view.values.get(name, []) != view.values.get(name.removeprefix("own_"), [])
        for view in space.views
        for name in _OWN
        if name in view.values
    )
    own = _OWN if differ else {}
    rows = titles_of(_ROWS | own, [space])
    for measure, name in rows.items():
        cells = [value_of(view, measure) for view in space.views]
        if any(cells):
            table.add_row(name, *(cell or "-" for cell in cells))
    console.print(table)
    say(console)
    if sentence := space_sentence(pair, space):
        say(console, sentence)
    if own:
        say(console, "Violated: margins of hand-written prompts. Its own: with the factors and mode of its training.")
    for remark in space.remarks:
        say(console, remark)
    for name, data in space_pictures(pair, space).items():
        key = f"sweeps/{sweep}/report/space/{pair.main.study}-{name}"
        store.files.write(key, data)
        say(console, f"Picture {store.files.address(key)}")


def _show_all(console: Console, spaces: list[tuple[SpacePair, PromptSpace | None]]) -> None:
    """A line per method, means only, so that it fits into 100 columns."""
    from pipeline.cli.console import plain_table, say
    from pipeline.reports.space_section import titles_of

    table = plain_table()
    for name in ("study", "prompts"):
        table.add_column(name, overflow="fold")
    titles = titles_of(_SHORT, [space for _, space in spaces if space is not None])
    for name in titles.values():
        table.add_column(name, justify="right")
    for pair, space in spaces:
        for view in space.views[1:] if space is not None else ():
            means = [view.mean(measure) for measure in titles]
            cells = ("-" if mean is None else f"{mean:.2f}" for mean in means)
            table.add_row(pair.main.study, view.title, *cells)
    console.print(table)
    say(console, "drift: from hand-written prompts; others: shares of violated margins, to own and to other classes'")
    of = ", of base and of new classes" if len(titles) == len(_SHORT) else ""
    say(console, f"neighbours{of}; smaller is better ordered")
