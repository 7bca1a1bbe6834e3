"""``sept init``: a sweep to start from, with every key and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sept_core.errors import InputError

__all__ = ["init"]


def init(
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="The file to write.")] = "sweep.yaml",
) -> None:
    """Write a commented sweep with every key; it runs as it stands."""
    from importlib.resources import files
    from string import Template

    from rich.console import Console

    from pipeline import load_spec
    from pipeline.cli.console import say

    path = Path(file)
    path = path if path.suffix in (".yaml", ".yml") else path.with_name(f"{path.name}.yaml")
    template = files("search_spaces").joinpath("template.yaml").read_text(encoding="utf-8")
    text = Template(template).substitute(name=path.stem, file=path)
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise InputError("is there already", where=str(path), fix="name another file, or remove it") from None
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot be written: {reason}", where=str(path), fix="name another place") from error
    try:
        load_spec(path)
    except InputError:
        # The file's name is the sweep's, and not every name can be one.
        path.unlink()
        raise
    console = Console()
    say(console, f"Written: {path}. Edit it, then:")
    say(console, f"  sept sweep plan {path}")
    say(console, f"  sept sweep launch {path}")
