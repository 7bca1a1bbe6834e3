"""A group of commands that suggests commands of all groups: a command in the wrong group is shown in the right one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.core import TyperGroup

from sept_core.suggestions import nearest

__all__ = ["Group"]


class Group(TyperGroup):
    """Adds the complete intended command to the error about an unknown one: ``sept plan`` with ``sept sweep plan``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """See ``TyperGroup``.

        Raises:
            UsageError: There is no such command.
        """
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            root = ctx.find_root()
            everywhere = list(_lines(root.command, root.info_name))
            meant = _meant(
                word, [line for line in everywhere if line.rpartition(" ")[0] == ctx.command_path], everywhere
            )
            hint = f"Did you mean '{meant}'?" if meant else f"See '{ctx.command_path} --help'."
            ctx.fail(f"No such command '{word}'. {hint}")
        return super().resolve_command(ctx, args)


def _meant(word: str, here: list[str], everywhere: list[str]) -> str | None:
    # An exact word in another group is preferred to a similar one in this group.
    for lines in ([line for line in everywhere if line.rpartition(" ")[2] == word], here, everywhere):
        by_word = {line.rpartition(" ")[2]: line for line in reversed(lines)}
        if found := nearest(word, by_word):
            return by_word[found]
    return None


def _lines(command: Any, line: str) -> Iterator[str]:
    """All commands below, as typed."""
    for name, inner in getattr(command, "commands", {}).items():
        yield f"{line} {name}"
        yield from _lines(inner, f"{line} {name}")
