"""Both backends of the store, for tests of what both promise; an empty cache; processes that end with the test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from lease_processes import Processes
from s3_faults import Proxy, proxying
from s3_fixtures import store_at

from pipeline.store import Files, TrialStore, embeddings, open_files
from sept_core.datasets import EmbeddingTable


@pytest.fixture(params=["folder", "bucket"])
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Address of an empty store, once of each kind; the bucket is one of a server that serves drivers side by side."""
    if request.param == "folder":
        return str(tmp_path / "store")
    return store_at(str(request.getfixturevalue("seaweedfs_endpoint")), monkeypatch, tmp_path)


@pytest.fixture
def files(root: str) -> Files:
    """An empty store, once of each kind."""
    return open_files(root)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own, through which embeddings of any size are read."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SEPT_CACHE", str(folder))
    monkeypatch.delenv("SEPT_CACHE_GB", raising=False)
    monkeypatch.setattr(embeddings, "_CACHED_BYTES", 0)
    return folder


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with every reading of the parts themselves."""
    seen: list[str] = []
    original = embeddings.parse_embeddings

    def counted(fingerprint: str, dataset: str, *rest: object) -> EmbeddingTable:
        seen.append(dataset)
        return original(fingerprint, dataset, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(embeddings, "parse_embeddings", counted)
    return seen


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Starts processes, and ends each of them with the test."""
    running = Processes()
    yield running
    for process in running.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def damages() -> Iterator[list[str]]:
    """What `store` has reported as damaged."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pipeline.store.trials")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.fixture
def store(files: Files) -> TrialStore:
    """A trial store over `files`."""
    return TrialStore(files)


@pytest.fixture
def proxy(s3_root: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that stands before the server from now on, for new stores of this process and those it starts."""
    with proxying(s3_endpoint) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.address)
        yield running
