"""What a report consists of, before it is HTML or Markdown: sections of words, tables and figures.

Both are written from the same sections, so that neither says what the other does not; Markdown leaves figures out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.drawing import Drawing, Legend

__all__ = ["Document", "Figure", "Group", "Section", "Sheet"]


@dataclass(frozen=True)
class Sheet:
    """A table of words.

    Attributes:
        words: Columns of words rather than numbers: aligned to the left.
        strong: Rows in bold.
        grouped: Whether rows with the same first cell belong together.
        bars: Cells to be shown as a bar too: (row, column) -> its share.
        code: Columns to be shown in a typewriter's letters.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[str]
    title: str = ""
    strong: frozenset[int] = frozenset()
    grouped: bool = True
    bars: dict[tuple[int, int], float] = field(default_factory=dict)
    code: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A picture; a wide one scrolls in its own box on a narrow screen."""

    svg: Drawing
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Group:
    """Figures that belong together and can be folded away; in print they are unfolded.

    Attributes:
        pairs: Whether every two of them stand side by side, where there is room.
    """

    title: str
    figures: tuple[Figure, ...]
    unfolded: bool = True
    pairs: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the report under its own heading.

    Attributes:
        name: Anchor.
        lead: Paragraphs before everything else.
        items: A list of facts.
        legend: What the marks of its figures stand for.
        picture: Name of the SVG file of its figures and legend, which Markdown shows.
        notes: Small print behind everything else.
    """

    name: str
    title: str
    lead: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    legend: tuple[Legend, ...] = ()
    figures: tuple[Figure, ...] = ()
    groups: tuple[Group, ...] = ()
    picture: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """The report of one sweep.

    Attributes:
        conclusion: What it comes to, in a sentence or two.
        about: How far the sweep is, and when its last trial ended.
        warning: Empty where nothing was chosen on test clips.
    """

    title: str
    conclusion: str
    about: str
    warning: str
    sections: tuple[Section, ...]
