"""Lets these tests use the tiny sweep of the search's own tests, and the servers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline" / "search"))
sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline" / "store"))
sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))

from mlflow_fixtures import team_server_address  # noqa: F401 (fixture)
from s3_fixtures import moto_endpoint, s3_endpoint, s3_root, seaweedfs_endpoint  # noqa: F401 (fixtures)
