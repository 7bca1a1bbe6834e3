"""A cache of the model's answers on disk: nothing is paid for twice, after a kill or with another ``n``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.neighbors.prompt import PROMPT_VERSION, dataset_digest
from pipeline.store import open_files
from sept_core.checked_json import parse_json
from sept_core.datasets import DatasetInfo

__all__ = ["AnswerCache"]


class AnswerCache:
    """The terms that a model has offered for each class of a data set, in its own words and order.

    An entry's key consists of model, prompt version, the data set's digest and the class. Entries are written whole; an
    unreadable one counts as absent, since the model can be asked again. Several threads may use the cache, each for its
    own class.

    Args:
        folder: The cache's folder; the first entry creates it.
        model: Name of the model.
        info: The data set, with the classes that are sent to the model.
    """

    def __init__(self, folder: Path, model: str, info: DatasetInfo) -> None:
        self._files = open_files(folder)
        self._identity = {"model": model, "prompt_version": PROMPT_VERSION, "dataset": dataset_digest(info)}

    def read(self, classname: str) -> list[str]:
        """All terms offered for a class so far; empty if it was never asked for."""
        try:
            entry = parse_json(self._files.read(self._key(classname)))
        except (FileNotFoundError, ValueError):
            return []
        terms = entry.get("terms") if isinstance(entry, dict) else None
        if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
            return []
        return terms

    def write(self, classname: str, terms: Sequence[str]) -> None:
        """Store all terms offered for a class.

        Raises:
            StoreError: The disk failed.
        """
        entry = {**self._identity, "class": classname, "terms": list(terms)}
        self._files.write(self._key(classname), json.dumps(entry, indent=1).encode())

    def _key(self, classname: str) -> str:
        canonical = json.dumps({**self._identity, "class": classname}, sort_keys=True)
        return f"{hashlib.sha256(canonical.encode()).hexdigest()[:32]}.json"
