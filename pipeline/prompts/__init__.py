"""Exports the best prompt of a study, reads it from any place, ranks clips with it, and serves it with MLflow."""

from pipeline.prompts.batch import Ranked, find_clips, rank_clips
from pipeline.prompts.export import Exported, export_prompt
from pipeline.prompts.output import check_output, write_rows
from pipeline.prompts.places import MLFLOW_PLACES, check_place, fetch_prompt, write_prompt

__all__ = [
    "MLFLOW_PLACES",
    "Exported",
    "Ranked",
    "check_output",
    "check_place",
    "export_prompt",
    "fetch_prompt",
    "find_clips",
    "rank_clips",
    "write_prompt",
    "write_rows",
]
