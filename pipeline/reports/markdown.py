"""Writes a report as Markdown, with everything but most figures."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.reports.document import Document, Section, Sheet

__all__ = ["to_markdown"]

_SPECIAL = re.compile(r"([\\`*|<\[\]])")


def to_markdown(document: Document) -> str:
    """The report as text."""
    lines = [f"# {_plain(document.title)}", ""]
    if document.warning:
        lines += [f"> **{_plain(document.warning)}**", ""]
    lines += [f"**{_plain(document.headline)}**", ""] if document.headline else []
    lines += [_plain(document.conclusion), ""] if document.conclusion else []
    lines += [_plain(document.about), ""] if document.about else []
    for section in document.sections:
        lines += _section(section)
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(section: Section) -> list[str]:
    """A section; one that has only figures is left out."""
    if section.groups and not section.sheets:
        return []
    lines = [f"## {_plain(section.title)}", ""]
    for paragraph in section.lead:
        lines += [_plain(paragraph), ""]
    if section.picture:
        lines += [f"![{_plain(section.title)}]({section.picture})", ""]
    if section.items:
        lines += [*(f"- {_plain(item)}" for item in section.items), ""]
    for sheet in section.sheets:
        lines += [*_sheet(sheet), ""]
    if section.notes:
        lines += [*(f"{_plain(note)}  " for note in section.notes), ""]
    return lines


def _sheet(sheet: Sheet) -> list[str]:
    lines = [f"### {_plain(sheet.title)}", ""] if sheet.title else []
    lines += [_line(sheet.columns), _line("---" if name in sheet.words else "---:" for name in sheet.columns)]
    for index, row in enumerate(sheet.rows):
        cells = [
            f"`{cell}`" if name in sheet.code and cell != "-" else _plain(cell)
            for name, cell in zip(sheet.columns, row, strict=True)
        ]
        lines.append(
            _line(
                f"**{cell}**" if cell and sheet.is_strong(index, name) else cell
                for name, cell in zip(sheet.columns, cells, strict=True)
            )
        )
    return lines


def _plain(words: str) -> str:
    """Text without a special meaning in Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(words.split()))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
