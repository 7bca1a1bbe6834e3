"""Fixtures for tests that keep their results in S3, and the choice of the server: moto, unless a test asks for more."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3_server
import seaweedfs_server
from s3_server import BUCKET, environment

SEAWEEDFS = pytest.mark.parametrize("s3_endpoint", ["seaweedfs"], indirect=True)
BOTH_SERVERS = pytest.mark.parametrize("s3_endpoint", ["moto", "seaweedfs"], indirect=True)


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """A running moto with the bucket ``BUCKET``."""
    with s3_server.serving() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def seaweedfs_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running SeaweedFS with the bucket ``BUCKET``."""
    try:
        with seaweedfs_server.serving(tmp_path_factory.mktemp("weed")) as endpoint:
            yield endpoint
    except seaweedfs_server.MissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def s3_endpoint(request: pytest.FixtureRequest) -> str:
    """A running S3 server with the bucket ``BUCKET``: the one that a test is parametrised with."""
    return str(request.getfixturevalue(f"{getattr(request, 'param', 'moto')}_endpoint"))


@pytest.fixture
def s3_root(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Address of an empty store in a bucket, which this process and those it starts can reach, and an empty cache."""
    return store_at(s3_endpoint, monkeypatch, tmp_path)


def store_at(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """``s3_root`` on the server at this address."""
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SEPT_CACHE", str(tmp_path / "cache"))
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"
