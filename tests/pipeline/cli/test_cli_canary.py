"""Marked secrets in every place where a person may have one: none of them is said, stored or logged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

SEARCH = Path(__file__).parents[1] / "search"
sys.path.insert(0, str(SEARCH))

from tiny_sweep import SWEEP  # noqa: E402

Sept = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.timeout(300)

MARK = "CANARY"
SECRETS = {
    name: f"{MARK}-{name}-{'0' * 40}"
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "HF_TOKEN",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_TRACKING_USERNAME",
        "OPENAI_API_KEY",
        "RAY_AUTH_TOKEN",
    )
} | {
    "AWS_ENDPOINT_URL": f"http://{MARK}-u:{MARK}-p@127.0.0.1:1",
    "HTTPS_PROXY": f"http://{MARK}-u:{MARK}-p@127.0.0.1:1",
    "HTTP_PROXY": f"http://{MARK}-u:{MARK}-p@127.0.0.1:1",
    "NO_PROXY": "127.0.0.1,localhost",
    "RAY_ADDRESS": f"{MARK}-u:{MARK}-p@127.0.0.1:1",
}
URL = f"http://{MARK}-u:{MARK}-p@127.0.0.1:1/?token={MARK}-q"
PROGRAM = """
import functools, sys
import pipeline.search.sweep as search
from tiny_inputs import provide_slowly
search.launch = functools.partial(search.launch, provider=provide_slowly)
from pipeline.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def ray_folder() -> Iterator[Path]:
    """Where the private Ray keeps its folder; its path is short."""
    with TemporaryDirectory(prefix="c", dir="/tmp") as place:
        yield Path(place)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path, empty_database: Path) -> Path:
    """A folder with a sweep (``runs``) whose command was killed, and what it had said (``said``)."""
    folder = tmp_path_factory.mktemp("canary")
    spec = {"trials": 2, "methods": ["zero-shot", "coop"], "spaces": {"coop": SWEEP["spaces"]["coop"]}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SWEEP | spec))
    (folder / "runs").mkdir()
    (folder / "runs" / "mlflow.db").write_bytes(empty_database.read_bytes())
    places = (str(SEARCH), str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", ""))
    variables = os.environ | SECRETS | {"PYTHONPATH": os.pathsep.join(places), "RAY_TMPDIR": str(ray_folder)}
    variables["OMP_NUM_THREADS"] = "1"
    arguments = ("sweep", "launch", "tiny.yaml", "--root", "runs", "--mlflow", URL, "--debug")
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], cwd=folder, env=variables, stdout=said, stderr=said
        )
    try:
        deadline = time.monotonic() + 200
        while not list((folder / "runs").glob("trials/*/*/result.json")):
            assert process.poll() is None, (folder / "said").read_text()
            assert time.monotonic() < deadline, (folder / "said").read_text()
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return folder


def holding(folder: Path) -> list[str]:
    """Lines of files that hold a marked secret."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and MARK.encode() in (data := path.read_bytes()):
            found += [f"{path}: {line[:300]!r}" for line in data.splitlines() if MARK.encode() in line]
    return found


def test_a_launch_writes_no_secret_anywhere_rays_own_logs_included(killed: Path, ray_folder: Path) -> None:
    logs = list(ray_folder.rglob("session_*/logs/*"))
    assert any("worker" in path.name for path in logs)
    assert any("runtime_env_agent" in path.name for path in logs)
    assert "MLflow cannot be reached yet" in (killed / "said").read_text()
    assert holding(killed) + holding(ray_folder) == []


@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.parametrize(
    "arguments",
    [
        ("sweep", "status", "tiny", "--root", "runs"),
        ("report", "tiny", "--root", "runs"),
        ("track", "sync", "tiny", "--root", "runs"),
        ("track", "sync", "tiny", "--root", "runs", "--mlflow", URL),
        ("predict", "tiny.yaml", "--prompt", "models:/a/1", "--mlflow", URL),
        ("predict", "tiny.yaml", "--prompt", f"https://{MARK}:{MARK}@host/a"),
        ("sweep", "launch", "tiny.yaml", "--root", "other", "--address", f"{MARK}:{MARK}@127.0.0.1:1"),
        ("sweep", "launch", "tiny.yaml", "--root", "other", "--address", f"ray://{MARK}:{MARK}@127.0.0.1:1"),
        ("sweep", "launch", "tiny.yaml", "--root", f"s3://{MARK}:{MARK}@bucket/x"),
        ("sweep", "submit", "tiny.yaml", "--root", "/runs", "--address", URL),
        ("sweep", "submit", "tiny.yaml", "--root", "/runs", "--address", "http://127.0.0.1:1", "--mlflow", URL),
        ("embed", "FSDD", "--audio", f"https://{MARK}:{MARK}@host/a.zip", "--root", "other"),
        ("neighbors", "FSDD", "--model", "m", "--base-url", f"http://{MARK}:{MARK}@127.0.0.1:1/v1"),
        ("neighbors", "FSDD", "--model", "m", "--base-url", f"http://127.0.0.1:1/v1?api-key={MARK}"),
    ],
    ids=lambda arguments: " ".join(arguments).replace(MARK, "X"),
)
def test_no_command_says_or_stores_one(
    arguments: tuple[str, ...], debug: tuple[str, ...], sept: Sept, killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # or Ray asks for tokens in this process for good
    monkeypatch.chdir(killed)
    _, out, err = sept(*arguments, *debug)
    assert out + err
    assert MARK not in out + err
    assert holding(killed) == []


def test_the_doctor_says_none(sept: Sept, killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # or Ray asks for tokens in this process for good
    monkeypatch.chdir(killed)
    _, out, err = sept("doctor", "--root", "runs", "--mlflow", URL, "--address", "auto", "--json")
    assert "127.0.0.1:1" in out
    assert MARK not in out + err
