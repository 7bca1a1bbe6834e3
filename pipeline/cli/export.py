"""``sept export``: the best prompt of a study as files, or as a model in MLflow."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import DEFAULT_ROOT, MlflowOption, RootOption, TextModelOption, WeightsOption
from sept_core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.prompts import Exported
    from sept_core.prompt import Prompt

__all__ = ["export"]


def export(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    study: Annotated[
        str | None,
        typer.Argument(help="Study, such as ESC10.mini.base-to-new.coop or ESC10.coop; see sept best."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FOLDER", help="Folder or s3:// address for prompt.safetensors and card.json."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="FOLDER", help="New folder for a model for mlflow models serve."),
    ] = None,
    register: Annotated[
        str | None,
        typer.Option("--register", metavar="NAME", help="Log the model in MLflow and register it under this name."),
    ] = None,
    best_replica: Annotated[
        bool,
        typer.Option("--best-replica", help="Export only the replica that is best on held-out clips, instead of all."),
    ] = False,
    weights: WeightsOption = None,
    text_model: TextModelOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace another prompt in the folder.")] = False,
    root: RootOption = DEFAULT_ROOT,
    mlflow: MlflowOption = None,
) -> None:
    """Export the best prompt of a study: best on held-out clips over all folds, and measured again.

    The card has the numbers of the report's table under "procedure". With several test folds they estimate the
    procedure (a search and its choice for each test fold), not this prompt; the card says if both are the same trial.
    """
    if to is None and model is None and register is None:
        raise InputError("no destination", fix="give --to FOLDER, --model FOLDER or --register NAME")
    if model is not None and model.exists() and (not model.is_dir() or any(model.iterdir())):
        raise InputError("the folder is not empty", where=str(model), fix="give --model a new folder")
    if mlflow is not None and register is None:
        raise InputError("--mlflow alone does nothing", fix="also give --register NAME")
    from rich.console import Console

    from pipeline.cli.console import say, working

    console = Console()
    with working("Reading the results, and looking at the destination"):
        from pipeline.prompts import check_place, export_prompt, write_prompt
        from pipeline.spec.known_sweep import known_sweep
        from pipeline.store import TrialStore, check_writable, open_files

        known_sweep(TrialStore(open_files(root)), sweep, study)
        if model is not None:
            check_writable(model)
        if register is not None:
            from pipeline.prompts.model import check_registry
            from pipeline.tracking import default_target

            check_registry(default_target(root, mlflow), register)

    def look(study: str, signature: str, replicas: int) -> None:
        if to is not None:
            check_place(to, (study, signature, replicas), force=force)
        say(console, "Measuring the prompt again")

    exported = export_prompt(
        TrialStore(open_files(root)),
        root,
        sweep,
        study,
        best_replica=best_replica,
        weights=weights,
        text_model=text_model,
        chosen_is=look,
        progress=lambda done, total: say(console, f"Training it again: epoch {done} of {total}"),
    )
    prompt = exported.prompt
    _tell(console, exported)
    if to is not None:
        say(console, f"Card    {write_prompt(to, prompt, force=force)}")
    if model is not None:
        from pipeline.prompts.model import save_model

        save_model(prompt, model)
        say(console, f"Model   {model}")
    if register is not None:
        from pipeline.prompts.model import log_model

        target = default_target(root, mlflow)
        address, version = log_model(prompt, target, register)
        say(console, f"MLflow  models:/{register}/{version} ({address}) at {target.shown}")
    _next(console, to, model, prompt)


def _tell(console: Console, exported: Exported) -> None:
    from pipeline.cli.console import say
    from pipeline.text import plural

    card, prompt = exported.prompt.card, exported.prompt
    source = "trained again" if exported.retrained else "from its last checkpoint"
    say(console, f"{card['study']}, trial #{card['trial']['number']} ({card['trial']['signature']}), {source}")
    say(console, f"{plural(prompt.replicas, 'replica')}, trained on {', '.join(prompt.trained)}")
    if card["training"]["clips_contained"] != "none":
        size = sum(value.nbytes for value in prompt.params.values())
        say(console, f"{size / 1e6:.2g} MB of parameters, among them the features of its training clips")
    if card["selection"] == "paper":
        say(console, str(card["chosen_by"]))
    elif card["caution"]:
        say(console, f"Its own test accuracies: {card['caution']}")
    if not exported.differences:
        say(console, "Measured again: equal to the sweep's record to the last digit")
        return
    name, (before, now) = max(exported.differences.items(), key=lambda one: abs(one[1][1] - one[1][0]))
    say(
        console,
        f"Measured again: slightly different from the sweep's record ({name} {before:.2f} then, {now:.2f} now: another "
        "machine, device or library version); the card has both",
    )


def _next(console: Console, to: str | None, model: Path | None, prompt: Prompt) -> None:
    from pipeline.cli.console import class_option, say

    place = to if to is not None else None if model is None else str(model)
    if place is not None:
        say(
            console,
            f"\n  sept predict clip.wav --prompt {quote(place)} {class_option(prompt.classes, prompt.card['method'])}",
        )
    if model is not None:
        say(console, f"  mlflow models serve -m {quote(str(model))} --env-manager local --port 5001")
