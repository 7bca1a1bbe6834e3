"""Noisy embeddings of test clips, and what was measured on them.

    noise/<noise>/embeddings/<encoder fingerprint>/<dataset>/...    as without noise; <noise> such as white-20dB
    trials/<study>/<signature>/noise.json                           accuracies of a trial's replicas by noise

They have a folder of their own, so that no sweep, plan or check takes them for the data set. Accuracies are computed
from checkpoints and can be deleted; a damaged file, or one of another format, counts as absent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipeline.store.open_store import Files, open_files
from pipeline.store.trials import TrialStore, trial_key
from sept_core.audio.noise import Noise
from sept_core.checked_json import seal, unseal
from sept_core.errors import InputError

__all__ = ["NoisyScores", "noises_of", "noisy_files", "read_noisy_scores", "write_noisy_scores"]

_FOLDER, _FORMAT = "noise", 1


@dataclass(frozen=True)
class NoisyScores:
    """What a trial's replicas do on noisy test clips.

    Attributes:
        embeddings: Digest of the noisy embeddings, as in `noises_of`.
        replicas: One row per fold and seed: ``fold``, ``seed`` and, in percent, the test measures of ``TrialResult``.
    """

    embeddings: str
    replicas: tuple[dict[str, Any], ...]


def noisy_files(files: Files, noise: Noise) -> Files:
    """The part of a store that has the embeddings with a noise."""
    return open_files(files.address(f"{_FOLDER}/{noise.name}"))


def noises_of(files: Files, fingerprint: str, datasets: Sequence[str]) -> dict[Noise, str]:
    """The noises with which all of these data sets are embedded: by noise a digest of the embeddings, in order.

    Args:
        files: The store.
        fingerprint: Of the encoder.
        datasets: Canonical names.
    """
    found: dict[Noise, dict[str, str]] = {}
    for key in files.list(_FOLDER):
        parts = key.split("/")
        if len(parts) != 6 or (parts[3], parts[5]) != (fingerprint, "manifest.json") or parts[4] not in datasets:
            continue
        with suppress(ValueError, InputError):
            found.setdefault(Noise.named(parts[1]), {})[parts[4]] = key
    digests = {}
    for noise, keys in sorted(found.items(), key=lambda one: (one[0].kind, -one[0].snr_db)):
        if len(keys) == len(set(datasets)):
            data = files.read_many(keys[dataset] for dataset in sorted(keys))
            digests[noise] = hashlib.sha256(b"".join(data.values())).hexdigest()[:16]
    return digests


def read_noisy_scores(
    store: TrialStore, trials: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], dict[Noise, NoisyScores]]:
    """What has been measured of these trials (study, signature)."""
    # Studies of several cells may have one trial in common.
    wanted: dict[str, list[tuple[str, str]]] = {}
    for study, signature in dict.fromkeys(trials):
        wanted.setdefault(trial_key(study, signature, "noise.json"), []).append((study, signature))
    found: dict[tuple[str, str], dict[Noise, NoisyScores]] = {}
    for key, data in store.files.read_many(wanted).items():
        with suppress(ValueError, KeyError, TypeError, InputError):
            content = unseal(data)
            if content.get("format") == _FORMAT:
                scores = {
                    Noise.named(name): NoisyScores(one["embeddings"], tuple(one["replicas"]))
                    for name, one in content["noises"].items()
                }
                found |= dict.fromkeys(wanted[key], scores)
    return found


def write_noisy_scores(store: TrialStore, trial: tuple[str, str], scores: dict[Noise, NoisyScores]) -> None:
    """Store what has been measured of a trial (study, signature), in place of an earlier measurement."""
    noises = {
        noise.name: {"embeddings": one.embeddings, "replicas": list(one.replicas)} for noise, one in scores.items()
    }
    store.files.write(trial_key(*trial, "noise.json"), seal({"format": _FORMAT, "noises": noises}))
