"""The parts of a report: sections with text, tables and figures.

HTML and Markdown are written from the same sections, so that both have the same content; Markdown leaves figures out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.drawing import Drawing, Legend

__all__ = ["Document", "Figure", "Group", "Section", "Sheet"]


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        words: Columns with words instead of numbers: aligned to the left.
        strong: Rows in bold.
        strong_in: The columns in which these rows are bold; empty: all.
        strong_cells: Other cells in bold: (row, column).
        grouped: Whether rows with the same first cell belong together.
        bars: Cells with a bar: (row, column) -> its share.
        code: Columns in a monospaced font.
        folded: Whether the page shows only its title until a reader unfolds it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[str]
    title: str = ""
    strong: frozenset[int] = frozenset()
    strong_in: frozenset[str] = frozenset()
    strong_cells: frozenset[tuple[int, str]] = frozenset()
    grouped: bool = True
    bars: dict[tuple[int, int], float] = field(default_factory=dict)
    code: frozenset[str] = frozenset()
    folded: bool = False

    def is_strong(self, row: int, column: str) -> bool:
        """Whether a cell is bold."""
        whole = row in self.strong and (not self.strong_in or column in self.strong_in)
        return whole or (row, column) in self.strong_cells


@dataclass(frozen=True)
class Figure:
    """A figure; a wide one scrolls in its own box on a narrow screen."""

    svg: Drawing
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Group:
    """Figures that belong together and can be folded away; in print they are unfolded.

    Attributes:
        pairs: Whether two of them are shown side by side if there is room.
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
        lead: Paragraphs at the beginning.
        items: A list of facts.
        legend: The meaning of the marks in its figures.
        picture: Name of the SVG file of its figures and legend, which Markdown shows.
        notes: Small print at the end.
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
        headline: What SEPT changes, and whether that is significant, in one sentence; empty without a comparison.
        conclusion: The evidence for it, and the best methods.
        about: Progress of the sweep, and the end of its last trial.
        warning: Empty if nothing was chosen on test clips.
    """

    title: str
    headline: str
    conclusion: str
    about: str
    warning: str
    sections: tuple[Section, ...]
