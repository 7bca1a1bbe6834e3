"""What is stored: files, trials and sweeps, leases, embeddings."""

from pipeline.store.embedding_writer import EmbeddingHeader
from pipeline.store.embeddings import EmbeddingStore, find_embeddings
from pipeline.store.lease import Lease, LeaseHeld, LeaseLost
from pipeline.store.open_store import (
    Files,
    LocalFiles,
    StoreAway,
    StoreError,
    check_writable,
    is_remote,
    local_folder,
    open_files,
    root_option_of,
)
from pipeline.store.records import Decision, Proposal
from pipeline.store.trials import StoreConflict, TrialStore

__all__ = [
    "Decision",
    "EmbeddingHeader",
    "EmbeddingStore",
    "Files",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "LocalFiles",
    "Proposal",
    "StoreAway",
    "StoreConflict",
    "StoreError",
    "TrialStore",
    "check_writable",
    "find_embeddings",
    "is_remote",
    "local_folder",
    "open_files",
    "root_option_of",
]
