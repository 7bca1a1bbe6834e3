"""Files of MLflow's runs; those of a finished trial are the table of its replicas and its confusion matrices."""

from __future__ import annotations

import csv
import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.drawing import confusion_figure, picture_file
from sept_core.results import TrialResult

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["digest_of", "log_files", "write_artifacts"]


def write_artifacts(result: TrialResult, title: str, folder: Path) -> None:
    """Write ``replicas.csv`` and ``confusion_base.svg``, ``confusion_new.svg`` of a finished trial into ``folder``."""
    columns = list(dict.fromkeys(name for row in result.replicas for name in row))
    with (folder / "replicas.csv").open("w", newline="", encoding="utf-8") as lines:
        table = csv.DictWriter(lines, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(result.replicas)
    for part in sorted(result.confusion):
        what = f"{part} classes, test clips of {len(result.replicas)} replicas"
        drawing = confusion_figure(result.confusion[part], result.classnames[part], what)
        (folder / f"confusion_{part}.svg").write_bytes(picture_file([drawing], [title]))


def log_files(client: MlflowClient, run: str, files: Mapping[str, bytes], folder: str | None = None) -> None:
    """Write files, by name, into a folder of a run's artifacts."""
    with tempfile.TemporaryDirectory(prefix="sept-mlflow-") as place:
        for name, data in files.items():
            (Path(place) / name).write_bytes(data)
        client.log_artifacts(run, place, folder)


def digest_of(files: Mapping[str, bytes]) -> str:
    """Digest of the names and contents of files."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()
