"""Both backends of the store, for every test that is about the door and not about what lies behind it."""

from __future__ import annotations

import pytest

from pipeline.store import Files, open_files


@pytest.fixture(params=["folder", "bucket"])
def root(request: pytest.FixtureRequest) -> str:
    """Address of an empty store, once of each kind."""
    if request.param == "folder":
        return str(request.getfixturevalue("tmp_path") / "store")
    return str(request.getfixturevalue("s3_root"))


@pytest.fixture
def files(root: str) -> Files:
    """An empty store, once of each kind."""
    return open_files(root)
