from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from s3_fixtures import s3_endpoint, s3_root  # noqa: F401 (fixtures)

from pipeline.store import LocalFiles, TrialStore
from pipeline.tracking import TrackingTarget, default_target, prepare


@pytest.fixture
def store(tmp_path: Path) -> TrialStore:
    return TrialStore(LocalFiles(tmp_path / "root"))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its schema and nothing in it; made once, since that takes seconds."""
    root = tmp_path_factory.mktemp("mlflow")
    prepare(default_target(root))
    return root / "mlflow.db"


@pytest.fixture
def make_target(tmp_path: Path, empty_database: Path) -> Callable[[str], TrackingTarget]:
    """Makes tracking targets with a database of their own."""

    def make(name: str = "root") -> TrackingTarget:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        shutil.copy(empty_database, folder / "mlflow.db")
        return default_target(folder)

    return make
