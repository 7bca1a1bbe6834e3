"""The rows of a table on noisy test clips, beside the same replicas on clean ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.reports.rows import Chosen
from pipeline.store import TrialStore
from pipeline.store.noise import read_noisy_scores
from sept_core.audio.noise import Noise
from sept_core.averages import averages

__all__ = ["NoisyRow", "noisy_json", "noisy_rows"]


@dataclass(frozen=True)
class NoisyRow:
    """A row of the table with what its chosen trials do on noisy clips.

    Attributes:
        row: The row.
        clean: Averages over its replicas on test clips, named as in ``TrialResult.test``: those of the table.
        noisy: The same on clips with noise, for the noises with which all of its trials have been measured.
    """

    row: Chosen
    clean: dict[str, float]
    noisy: dict[Noise, dict[str, float]]


def noisy_rows(store: TrialStore, rows: Sequence[Chosen]) -> list[NoisyRow]:
    """These rows of a sweep with what has been measured of them; nothing is measured here."""
    measured = read_noisy_scores(store, {(choice.study, choice.signature) for row in rows for choice in row.choices})
    found = []
    for row in rows:
        of_folds = {choice.fold: measured.get((choice.study, choice.signature), {}) for choice in row.choices}
        shared = set.intersection(*(set(scores) for scores in of_folds.values()))
        noisy = {}
        for noise in sorted(shared, key=lambda one: (one.kind, -one.snr_db)):
            replicas = [
                replica
                for fold, scores in of_folds.items()
                for replica in scores[noise].replicas
                if replica["fold"] == fold
            ]
            noisy[noise] = averages([_measures(replica) for replica in replicas])
        clean = averages([_measures(_tested(replica)) for replica in row.replicas])
        found.append(NoisyRow(row, clean, noisy))
    return found


def noisy_json(rows: Sequence[NoisyRow]) -> list[dict[str, Any]]:
    """The rows as plain values; an infinite ratio is null."""
    return [
        {
            "study": one.row.study,
            "dataset": one.row.dataset,
            "method": one.row.method,
            "clean": one.clean,
            "noisy": [
                {
                    "noise": noise.kind,
                    "snr_db": None if noise.snr_db == float("inf") else noise.snr_db,
                    "test": test,
                }
                for noise, test in one.noisy.items()
            ],
        }
        for one in rows
    ]


def _tested(replica: dict[str, Any]) -> dict[str, Any]:
    """The test measures of a replica of a ``TrialResult``, named as in ``NoisyScores``."""
    return {name.removeprefix("test_"): value for name, value in replica.items() if name.startswith("test_")}


def _measures(replica: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in replica.items() if name not in ("fold", "seed")}
