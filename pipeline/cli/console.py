"""How commands write to the terminal: a line, a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


__all__ = ["plain_table", "say", "wide_console"]

_WIDE = 1000


def plain_table() -> Table:
    """A table with a line under its head and no other, as all commands show them."""
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def say(console: Console, line: str = "") -> None:
    """A line as it is: no markup, no colours of rich's own, and paths never broken."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def wide_console() -> Console:
    """The standard output; where it is a file or a pipe, so wide that nothing is cut."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)
