from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from s3_fixtures import moto_endpoint, s3_endpoint, s3_root, seaweedfs_endpoint  # noqa: F401 (fixtures)

from pipeline.cli import main
from pipeline.store import LocalFiles, TrialStore
from pipeline.tracking import TrackingTarget, default_target, prepare

# The tiny sweep of the search's tests serves other rooms, too.
sys.path.insert(0, str(Path(__file__).parent / "search"))

Ran = tuple[int, str, str]


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


@pytest.fixture
def sept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ran]:
    """Runs the command line in this process: exit code, stdout, stderr."""
    monkeypatch.delenv("SEPT_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Ran:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        code = end.value.code
        said = capsys.readouterr()
        assert isinstance(code, int)
        return code, said.out, said.err

    return run
