"""What is wrong with a command line of ours, as lines: no such command, option or value."""

from __future__ import annotations

import shlex
from typing import Any

import typer

from pipeline.cli.app import app

__all__ = ["command_faults", "parameters"]


def parameters(line: str) -> dict[str, Any]:
    """What a command would be given; nothing is run.

    Raises:
        ValueError: It would be refused, and why.
    """
    program, *words = shlex.split(line, comments=True)
    # Typer may bring a Click of its own: nothing here is compared with the classes of the one that is installed.
    command: Any = typer.main.get_command(app)
    if program != "sept":
        raise ValueError(f"not sept: {line}")
    while hasattr(command, "commands"):
        if not words or words[0] not in command.commands:
            raise ValueError(f"no command {' '.join(words[:1])}")
        command, words = command.commands[words[0]], words[1:]
    try:
        return dict(command.make_context(command.name, list(words)).params)
    except Exception as error:
        raise ValueError(getattr(error, "format_message", error.__str__)()) from error


def command_faults(line: str) -> list[str]:
    """Of a command line."""
    try:
        parameters(line)
    except ValueError as error:
        return [str(error)]
    return []
