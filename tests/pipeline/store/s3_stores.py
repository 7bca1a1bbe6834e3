"""S3 stores with little patience, and processes that use one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline.store.s3 import S3Files
from pipeline.store.s3_client import Connection, make_client, split_address

REPOSITORY = Path(__file__).parents[3]


def impatient(root: str, **settings: Any) -> S3Files:
    """A store that does not wait as long as is good for a person, nor waits out an outage unless told to."""
    patience_s = settings.pop("patience_s", 0.0)
    client = make_client(**{"connect_s": 0.3, "read_s": 0.3, "attempts": 2} | settings)
    return S3Files(Connection(client, patience_s), *split_address(root))


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
