"""``sept neighbors``: lists of related terms from a language model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.errors import EXIT_RESUMABLE
from pipeline.cli.options import DEFAULT_ROOT, JsonOption, RootOption
from sept_core.errors import InputError
from sept_core.protocol_facts import PROTOCOLS

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.neighbors import CostEstimate, Outcome, Prices, Usage

__all__ = ["neighbors"]

MAX_SHOWN = 30


def neighbors(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset; sept data list shows them.")],
    protocol: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="PROTOCOL",
            help="base-to-new: lists of the base classes; no name of a new class is sent or used by a rule. "
            "few-shot and cross-dataset: the same lists of all classes.",
        ),
    ] = "base-to-new",
    by_hand: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Read the neighbours from this file, such as the one from sept data init, instead of asking a model.",
        ),
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Name of the model, as the server calls it.")] = "gpt-4o",
    n: Annotated[int, typer.Option("--n", min=1, help="Terms per class.")] = 20,
    base_url: Annotated[
        str | None,
        typer.Option(
            "--base-url",
            metavar="URL",
            envvar="OPENAI_BASE_URL",
            help="OpenAI-compatible server, such as http://localhost:8000/v1; by default OpenAI's own. An Azure "
            "address may end in ?api-version=VERSION.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File to write; by default neighbors/base/DATASET.json (lists of all classes: neighbors/all/) in "
            "the root, or next to your own dataset.",
        ),
    ] = None,
    price_in: Annotated[
        float | None, typer.Option("--price-in", min=0.0, help="Price of a million prompt tokens.")
    ] = None,
    price_out: Annotated[
        float | None, typer.Option("--price-out", min=0.0, help="Price of a million answer tokens.")
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=64, help="Requests at a time.")] = 4,
    timeout: Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds to wait for an answer.")] = 60.0,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", min=1, help="Longest answer, in tokens; by default the server's own limit."),
    ] = None,
    only_estimate: Annotated[bool, typer.Option("--estimate", help="Only show what it would cost.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Ask a language model for neighbours of the training classes, or store your own; OPENAI_API_KEY is the key."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from pipeline.cli.console import say
    from pipeline.data.prepared import neighbors_key, own_datasets, packaged_key
    from pipeline.neighbors import Usage, estimate, generate, known_to_model
    from pipeline.store import is_remote, local_folder
    from sept_core.datasets import DATASETS, get_dataset
    from sept_core.semantic.new_class_names import naming_untrained
    from sept_core.suggestions import known_words

    if protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol '{protocol}'", where="--for", fix=known_words(protocol, PROTOCOLS))
    whole = get_dataset(dataset, own_datasets(root))
    info = known_to_model(whole, protocol)
    folder = local_folder(root) if is_remote(root) else Path(root)
    kept = folder / neighbors_key(info.name, protocol)
    packaged = folder / packaged_key(info.name, protocol)
    if by_hand is not None:
        from pipeline.cli.own_neighbors import take

        take(whole, protocol, by_hand, out, root, force=force, as_json=as_json)
        return
    if out is None and info.name not in DATASETS and is_remote(root):
        fix = f"give --out FILE, and name the file in the sweep: neighbors: {{{info.name}: FILE}}"
        raise InputError("neighbours are written to a folder, not to a bucket", where="--root", fix=fix)
    target = out or (packaged if info.name in DATASETS else kept)
    prices = _prices(price_in, price_out)
    cache = folder / "cache" / "neighbors"
    # Only the JSON goes to standard output.
    console = Console(stderr=as_json)
    expected = estimate(info, model, n, cache_dir=cache)
    _announce(console, info.name, protocol, model, n, expected, prices)
    if only_estimate:
        if as_json:
            typer.echo(json.dumps({**vars(expected), "cost": expected.cost(prices)}, indent=1))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    usage = Usage()
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("Asking for classes", total=len(info.classnames), completed=expected.cached)

            def moved(done: int, total: int, consumed: Usage) -> None:
                nonlocal usage
                usage = consumed
                bar.update(task, completed=done, total=total)

            outcome = generate(
                info,
                model,
                n,
                out=target,
                cache_dir=cache,
                base_url=base_url,
                concurrency=concurrency,
                timeout_s=timeout,
                max_tokens=max_tokens,
                force=force,
                progress=moved,
                notice=lambda line: say(console, line),
            )
    except KeyboardInterrupt:
        say(console, "\nStopped. Every answer is kept; the same command continues from there.")
        raise typer.Exit(EXIT_RESUMABLE) from None
    finally:
        # Also after a failure: the requests are paid for.
        if usage.answers:
            say(console, f"Consumed {_tokens(usage.input_tokens, usage.output_tokens, usage.cost(prices))}")
            if usage.uncounted:
                say(console, f"  {usage.uncounted} of {usage.answers} answers came without a count")
    # New classes are used only now, after the last request.
    naming = naming_untrained(outcome.neighbors, whole, protocol)
    _show(console, outcome, naming, kept=target == kept)
    if as_json:
        typer.echo(json.dumps(_as_json(outcome, protocol, naming, prices), indent=1))


def _prices(price_in: float | None, price_out: float | None) -> Prices | None:
    from pipeline.neighbors import Prices

    if price_in is None and price_out is None:
        return None
    if price_in is None or price_out is None:
        raise InputError("one price is not enough for a cost", fix="give both --price-in and --price-out")
    return Prices(price_in, price_out)


def _announce(
    console: Console, dataset: str, protocol: str, model: str, n: int, expected: CostEstimate, prices: Prices | None
) -> None:
    from pipeline.cli.console import say
    from pipeline.text import plural

    which = "for each of all classes" if PROTOCOLS[protocol].all_classes else "for each base class"
    say(console, f"{dataset}: {n} neighbours {which} from {model} ({protocol})")
    if expected.cached:
        say(console, f"  {plural(expected.cached, 'class', 'classes')} complete from earlier answers")
    if expected.requests:
        tokens = _tokens(expected.input_tokens, expected.output_tokens, expected.cost(prices))
        say(console, f"  {plural(expected.requests, 'request')}, about {tokens}")
        most = f"at most {plural(expected.most_requests, 'request')} that you pay for"
        say(console, f"  {most}, if terms break a rule or an answer cannot be used")


def _tokens(sent: int, received: int, cost: float | None) -> str:
    price = "cost unknown" if cost is None else f"cost {cost:.4f}"
    return f"{sent} tokens sent and {received} received: {price}"


def _show(console: Console, outcome: Outcome, naming: Mapping[str, Mapping[str, str]], *, kept: bool) -> None:
    from pipeline.cli.console import say
    from pipeline.text import plural
    from sept_core.semantic.new_class_names import described_naming

    for reason, count in outcome.reasons.items():
        say(console, f"{plural(count, 'answer')} could not be used: {reason}")
    if outcome.dropped:
        say(console, f"{plural(len(outcome.dropped), 'term')} not taken:")
        for line in outcome.dropped[:MAX_SHOWN]:
            say(console, f"  {line}")
        if len(outcome.dropped) > MAX_SHOWN:
            say(console, f"  and {len(outcome.dropped) - MAX_SHOWN} more; --json lists all")
    if count := sum(map(len, naming.values())):
        say(console, f"{plural(count, 'term')} kept that happen to name a new class, which the model did not know:")
        say(console, f"  {described_naming(naming)}")
    say(console, f"Written to {outcome.path}. Read it before you train with it.")
    if kept:
        say(console, f"Sweeps on {outcome.neighbors.dataset} use it from there.")
    else:
        say(console, "A sweep uses it with this line in its YAML:")
        say(console, f"  neighbors: {{{outcome.neighbors.dataset}: {outcome.path.absolute()}}}")


def _as_json(
    outcome: Outcome, protocol: str, naming: Mapping[str, Mapping[str, str]], prices: Prices | None
) -> dict[str, object]:
    return {
        "dataset": outcome.neighbors.dataset,
        "for": protocol,
        "path": str(outcome.path),
        "usage": vars(outcome.usage),
        "cost": outcome.usage.cost(prices),
        "unusable": outcome.unusable,
        "reasons": dict(outcome.reasons),
        "dropped": [vars(line) for line in outcome.dropped],
        "naming_new": naming,
    }
