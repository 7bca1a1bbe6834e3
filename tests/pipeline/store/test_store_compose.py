"""The bucket of infra/compose.yaml, started by its very command and with its keys: what the stack does with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import seaweedfs_server
import soundfile
import yaml

from pipeline.doctor.storage import check_store
from pipeline.store import Lease, LeaseHeld, StoreError, open_files

SERVICES: dict[str, Any] = yaml.safe_load((Path(__file__).parents[3] / "infra" / "compose.yaml").read_text())[
    "services"
]
BUCKET = SERVICES["seaweedfs"]

Sept = Callable[..., tuple[int, str, str]]


def settings(service: dict[str, Any]) -> dict[str, str]:
    """The environment of a service, where nobody has set anything."""
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for name, value in service["environment"].items()}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client with the keys of the stack's other services, before a bucket as the stack has it."""
    assert BUCKET["entrypoint"] == ["weed"]
    try:
        with seaweedfs_server.weed(tmp_path / "weed", BUCKET["command"], settings(BUCKET)) as endpoint:
            for name, value in settings(SERVICES["buckets"]).items():
                monkeypatch.setenv(name, endpoint if name == "AWS_ENDPOINT_URL" else value)
            monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            monkeypatch.setenv("SEPT_CACHE", str(tmp_path / "cache"))
            yield boto3.client("s3")
    except seaweedfs_server.MissingError as error:
        pytest.skip(str(error))


def test_the_stack_works_on_its_bucket_and_strangers_do_not(
    client: Any, sept: Sept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        exec(compile(SERVICES["buckets"]["command"][-1], "buckets", "exec"), {})
    assert {bucket["Name"] for bucket in client.list_buckets()["Buckets"]} == {"sept", "mlflow"}

    root = "s3://sept/runs"
    assert {check.status for check in check_store(root)} == {"green"}
    clips = tmp_path / "fsdd" / "recordings"
    clips.mkdir(parents=True)
    for digit in range(10):
        for speaker in ("theo", "lucas"):
            sound = np.random.default_rng(digit).normal(0, 0.1, 800).astype("float32")
            soundfile.write(clips / f"{digit}_{speaker}_0.wav", sound, 8000)
    code, out, err = sept("embed", "fsdd", "--audio", clips.parent, "--root", root)
    assert (code, err) == (0, "")
    assert "20 clips embedded with mini" in out
    with Lease(open_files(root), "sweep"), pytest.raises(LeaseHeld):
        Lease(open_files(root), "sweep").acquire()
    # A misspelt bucket is not made.
    with pytest.raises(StoreError, match="there is no such bucket"):
        open_files("s3://spet/runs").write("a", b"1")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    with pytest.raises(StoreError, match="the credentials are not accepted"):
        open_files(root).list()
    monkeypatch.setenv("SEPT_S3_ANONYMOUS", "1")
    with pytest.raises(StoreError, match="the bucket is not public"):
        open_files(root).list()
