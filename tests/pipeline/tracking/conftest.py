"""Places to track into: SQLite files, and a server as a team would run one."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

from mlflow_fixtures import team_server_address  # noqa: F401 (fixture)
from places import MakePlace, Place
from s3_faults import Proxy, proxying

from pipeline.store import LocalFiles, TrialStore
from pipeline.tracking import TrackingTarget, default_target

NUMBERS = itertools.count()


@pytest.fixture
def sqlite(tmp_path: Path, make_target: Callable[[str], TrackingTarget]) -> MakePlace:
    """Makes places with an SQLite database of their own."""

    def make(name: str = "place") -> Place:
        return Place(make_target(name), f"sweep-{name}", TrialStore(LocalFiles(tmp_path / name)))

    return make


@pytest.fixture
def served(tmp_path: Path, server: str) -> MakePlace:
    """Makes places on the server, each an experiment of its own."""

    def make(name: str = "place", address: str = server) -> Place:
        sweep = f"sweep-{name}-{next(NUMBERS)}"
        return Place(default_target(tmp_path, address), sweep, TrialStore(LocalFiles(tmp_path / sweep)))

    return make


@pytest.fixture(params=["sqlite", pytest.param("served", marks=pytest.mark.slow)])
def make_place(request: pytest.FixtureRequest) -> Any:
    """Makes empty places; every test of what is shown runs on each kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def proxy(server: str) -> Iterator[Proxy]:
    """A proxy before the server, which counts requests and spoils them."""
    with proxying(server) as running:
        yield running


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table in place of the drawn matrices, which take most of a test's time."""

    def stub(_result: Any, title: str, folder: Path) -> None:
        (folder / "replicas.csv").write_text(title)

    monkeypatch.setattr("pipeline.tracking.writer.write_artifacts", stub)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracker that tries again at once."""
    monkeypatch.setattr("pipeline.tracking.tracker._FIRST_WAIT_S", 0.02)
    monkeypatch.setattr("pipeline.tracking.tracker._LONGEST_WAIT_S", 0.1)
