"""The command line in a process of its own, with a sweep's inputs replaced by those of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PROGRAM", "environment", "launched", "said", "sept"]

HERE = Path(__file__).parent

# The inputs' provider comes first among the arguments.
PROGRAM = """
import functools, pkgutil, sys
import pipeline.search.sweep as search
search.launch = functools.partial(search.launch, provider=pkgutil.resolve_name(sys.argv[1]))
from pipeline.cli import main
main(sys.argv[2:])
"""
_LOG = "log.txt"


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the processes and their workers find the tests' modules with."""
    places = (str(HERE.parents[1]), str(HERE), str(HERE.parent / "pipeline" / "search"))
    path = os.pathsep.join(filter(None, (*places, os.environ.get("PYTHONPATH", ""))))
    variables = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    variables.pop("MLFLOW_TRACKING_URI", None)
    return variables | dict(more or {})


def said(folder: Path) -> str:
    """What all launches from this folder have said."""
    return (folder / _LOG).read_text()


@contextmanager
def launched(
    folder: Path, provider: str, *arguments: str, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """``sept ARGUMENTS`` with this provider, in this folder; killed at the end, if it still runs."""
    with (folder / _LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, provider, *arguments],
            cwd=folder,
            env=environment(variables),
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def sept(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process that knows nothing of a launch but its root."""
    program = "import sys; from pipeline.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=400, check=False
    )
