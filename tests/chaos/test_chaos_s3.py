"""A sweep whose results lie in a bucket, by the command line, killed and launched again: what a folder would hold."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import tiny_inputs
import yaml
from launching import launched, said, sept
from s3_faults import proxying
from s3_fixtures import SEAWEEDFS
from tiny_sweep import SHORT, outcome_of, run_inline

from pipeline.search.sweep import launch
from pipeline.spec import parse_sweep
from pipeline.store import Files, Lease, LocalFiles, StoreError, open_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Six trials of the tiny sweep: every one of its objects is a request to the server.
SMALL = yaml.safe_dump(SHORT)

INPUTS = "slow_inputs:provide"
LAUNCH = ("sweep", "launch", "tiny.yaml", "--root")
# Nobody listens there; bucket, MLflow and Ray of this machine are asked past it.
PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")


def objects(files: Files) -> int:
    """How far the sweep is: trials, checkpoints, results and decisions in the store."""
    return len([key for key in files.list() if key.count("/") == 4 or key.startswith("trials/")])


def wait_for_progress(files: Files, beyond: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 120
    while objects(files) < beyond:
        assert process.poll() is None, said(folder)
        assert time.monotonic() < deadline, f"no progress: {objects(files)} objects"
        time.sleep(0.05)


def copied(files: Files, folder: Path) -> Path:
    """Everything in a store, as a folder."""
    local = LocalFiles(folder)
    for key, data in files.read_many(files.list()).items():
        local.write(key, data)
    return folder


@SEAWEEDFS
def test_a_sweep_in_a_bucket_killed_and_launched_again_is_the_sweep_in_a_folder(s3_root: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SMALL)
    files = open_files(s3_root)
    chance = random.Random(7)
    for beyond in (8,):
        with launched(tmp_path, INPUTS, *LAUNCH, s3_root) as process:
            wait_for_progress(files, beyond, process, tmp_path)
            time.sleep(chance.random() * 0.5)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, said(tmp_path)
        # The dead driver's lease is still there, and does not stand in the way of the next.
        assert Lease(files, "tiny").holder() is not None
    undone = copied(files, tmp_path / "undone")
    assert 0 < len(outcome_of(undone)["verdicts"]) < 6
    with launched(tmp_path, INPUTS, *LAUNCH, s3_root, variables=PROXIES) as process:
        assert process.wait(300) == 0, said(tmp_path)
    words = said(tmp_path)

    run_inline(parse_sweep(SMALL, "tiny.yaml"), tmp_path / "folder")
    assert outcome_of(copied(files, tmp_path / "copied")) == outcome_of(tmp_path / "folder")
    assert Lease(files, "tiny").holder() is None
    assert not files.list("quarantine")
    # Nothing of the store went to this machine, and what MLflow keeps here is said.
    assert not (tmp_path / "s3:").exists()
    assert sorted(path.name for path in (tmp_path / "sept-runs").iterdir()) == ["mlartifacts", "mlflow.db"]
    assert f"sqlite:///{tmp_path}/sept-runs/mlflow.db (on this machine" in words
    assert f"Table   {s3_root}/sweeps/tiny/report/report.md" in words
    assert f"sept ui --root {s3_root}" in words

    status = sept(tmp_path, "sweep", "status", "tiny", "--root", s3_root, "--json")
    assert status.returncode == 0, status.stderr
    found = json.loads(status.stdout)
    assert (found["ended"], found["budget"]) == (6, 6)


@SEAWEEDFS
def test_a_launch_on_a_server_without_conditional_writes_is_refused_before_anything_is_begun(
    s3_root: str, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxying(s3_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        proxy.dropped = frozenset({"if-match", "if-none-match"})
        with pytest.raises(StoreError, match=r"server of s3://\S+ ignores conditional writes, .*; use S3 itself or"):
            launch(parse_sweep(SMALL, "tiny.yaml"), s3_root, provider=tiny_inputs.provide)
    assert open_files(s3_root).list() == ["sweeps/tiny/lease.json"]
