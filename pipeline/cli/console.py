"""How commands write to the terminal: a line, a wrapped note, a table, and what they are doing meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from shlex import quote
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


__all__ = ["class_option", "note", "page_console", "plain_table", "say", "wide_console", "working"]

_WIDE = 1000
_PAGE = 100


def class_option(classes: Sequence[str], method: str) -> str:
    """``--classes`` for a suggested ``sept predict``: two classes of a dataset, and a new one if the method can."""
    from sept_core.learners import get_learner
    from sept_core.methods import split_method

    # A comma separates names.
    plain = [name for name in classes if "," not in name]
    new = ["my new class"] if get_learner(split_method(method)[0]).unseen else []
    return f"--classes {quote(', '.join([*dict.fromkeys([*plain[:1], *plain[-1:]]), *new]))}"


def note(console: Console, line: str) -> None:
    """A sentence as it is, wrapped at the width of the console."""
    console.print(line, highlight=False, markup=False)


def page_console() -> Console:
    """The standard output, at most 100 columns wide; where it is a file or a pipe, 100."""
    from rich.console import Console

    console = Console()
    return Console(width=min(console.width, _PAGE) if console.is_terminal else _PAGE)


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


def working(text: str) -> AbstractContextManager[object]:
    """Show on a terminal what takes time, while it does; on the standard error, so that it is in no output."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.status(text) if console.is_terminal else nullcontext()
