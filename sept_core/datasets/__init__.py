"""Data sets: the registry, folders as their authors ship them, manifests, embeddings and splits.

The path of a clip: ``read_layout`` (or ``read_csv_dataset``, for your own data) turns a folder into a `Manifest`, an
encoder turns that into an `EmbeddingTable`, and ``make_split`` picks its rows for one replica.
"""

from sept_core.datasets.check import Finding, Findings, check_manifest, data_warnings
from sept_core.datasets.embeddings import load_embeddings
from sept_core.datasets.layouts import read_layout
from sept_core.datasets.manifest import Clip, Manifest
from sept_core.datasets.own_dataset import info_from_json, info_to_json, read_csv_dataset
from sept_core.datasets.registry import DATASETS, DatasetInfo, get_dataset, halves, prompt_name, trained_classes
from sept_core.datasets.split_faults import refuse_faulty
from sept_core.datasets.split_overlap import CrossingRule, contradictions, rows_of
from sept_core.datasets.splits import Split, WholeSplit, draw_shots, make_split, split_all_classes
from sept_core.datasets.table import EmbeddingTable
from sept_core.datasets.usable_folds import unheard_folds, usable_folds

__all__ = [
    "DATASETS",
    "Clip",
    "CrossingRule",
    "DatasetInfo",
    "EmbeddingTable",
    "Finding",
    "Findings",
    "Manifest",
    "Split",
    "WholeSplit",
    "check_manifest",
    "contradictions",
    "data_warnings",
    "draw_shots",
    "get_dataset",
    "halves",
    "info_from_json",
    "info_to_json",
    "load_embeddings",
    "make_split",
    "prompt_name",
    "read_csv_dataset",
    "read_layout",
    "refuse_faulty",
    "rows_of",
    "split_all_classes",
    "trained_classes",
    "unheard_folds",
    "usable_folds",
]
