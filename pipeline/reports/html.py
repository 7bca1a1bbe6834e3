"""Writes a report as one HTML page with styles and figures inside, without scripts or external resources."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

from pipeline.drawing import figure_style
from pipeline.reports.document import Document

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["to_html"]


def to_html(document: Document) -> str:
    """The page. All text is escaped; figures escape their own text."""
    template = _environment().get_template("report.html")
    style = figure_style() + files("pipeline.reports").joinpath("templates/report.css").read_text(encoding="utf-8")
    # The style sheets are ours and contain no text of a sweep.
    return template.render(document=document, style=Markup(style)) + "\n"  # noqa: S704


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("pipeline.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
