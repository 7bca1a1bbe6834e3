"""Makes the document of a report, which is then written as HTML and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pipeline.reports.ablation import AblationTable, ablation_sections
from pipeline.reports.axes import axis_sections
from pipeline.reports.background import account_sections, origin_sections
from pipeline.reports.conclusion import conclusion_of, headline_of
from pipeline.reports.document import Document
from pipeline.reports.noise_rows import NoisyRow
from pipeline.reports.noise_section import noise_section
from pipeline.reports.records import SweepRecords
from pipeline.reports.result_sections import result_sections
from pipeline.reports.searches import search_sections
from pipeline.reports.space_pairs import SpacePair
from pipeline.reports.space_section import space_section
from pipeline.reports.sweep_table import SweepTable
from pipeline.reports.tuning import tuning_sections
from sept_core.prompt_space import PromptSpace

__all__ = ["describe"]


def describe(
    table: SweepTable,
    records: SweepRecords | None = None,
    spaces: Sequence[tuple[SpacePair, PromptSpace | None]] = (),
    ablations: Sequence[AblationTable] = (),
    noisy: Sequence[NoisyRow] = (),
) -> Document:
    """The document of a sweep's result.

    Args:
        table: The result.
        records: All its trials; without them the report has no sections about the search.
        spaces: The pairs whose prompt spaces are compared, with what has been measured of them.
        ablations: The ablations of its rows.
        noisy: Its rows with what has been measured on noisy test clips.
    """
    sections = [*axis_sections(table), *result_sections(table)]
    if (space := space_section(spaces, table.sweep)) is not None:
        sections.append(space)
    if (noise := noise_section(noisy, table.sweep)) is not None:
        sections.append(noise)
    sections += ablation_sections(ablations)
    if records is not None:
        sections += [*tuning_sections(records), *search_sections(records), *account_sections(table, records)]
    sections += origin_sections(table)
    return Document(
        title=table.sweep,
        headline=headline_of(table),
        conclusion=conclusion_of(table),
        about=_about(records) if records is not None else "",
        warning=table.warning,
        sections=tuple(sections),
    )


def _about(records: SweepRecords) -> str:
    """The progress of the sweep, with the time of the last decision, so that the same store gives the same report."""
    decided = [decision.decided_ms for study in records.studies for decision in study.decisions.values()]
    budget = sum(study.trials for study in records.spec.studies())
    last = datetime.fromtimestamp(max(decided) / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{len(decided)} of {budget} trials in {len(records.spec.studies())} studies have ended, the last one {last}. "
        f"Protocol {records.spec.protocol}, encoder {', '.join(records.spec.encoders)}, "
        f"selection {records.spec.selection}."
    )
