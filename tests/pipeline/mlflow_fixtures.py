"""Fixtures for tests that track into a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mlflow_server import UnavailableError, team_server


@pytest.fixture(scope="session", name="server")
def team_server_address(moto_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server with PostgreSQL and S3 behind it; started by the first test that asks for it."""
    log = tmp_path_factory.mktemp("mlflow-server") / "log"
    try:
        with team_server(moto_endpoint, log) as address:
            yield address
    except UnavailableError as error:
        pytest.skip(str(error))
