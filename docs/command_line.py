"""A hook of MkDocs: the page cli.md is made from the command line's own help."""

from typing import Any

import typer
from typer.cli import get_docs_for_click

from pipeline.cli.app import app


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page's text; for cli.md with a chapter for every command behind it."""
    if page.file.src_uri != "cli.md":
        return markdown
    command = typer.main.get_command(app)
    return markdown + get_docs_for_click(obj=command, ctx=typer.Context(command), name="sept", indent=1)
