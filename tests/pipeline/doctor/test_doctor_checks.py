"""What the doctor says of real parts: working ones, dead ones, and ones that break a promise."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from s3_server import BUCKET, environment
from servers import CarelessBucket, answering, dead_port, silent_port
from small_ray import small_ray

from pipeline.doctor import Check, Subject
from pipeline.doctor.checks import examined
from pipeline.doctor.data import Datasets, check_datasets, check_encoder
from pipeline.doctor.examine import wanted_by
from pipeline.doctor.language_model import check_language_model
from pipeline.doctor.machine import check_disk
from pipeline.doctor.mlflow_server import EXPERIMENT, check_mlflow
from pipeline.doctor.ray_cluster import check_ray
from pipeline.doctor.requirements import install
from pipeline.doctor.storage import check_store
from pipeline.spec import EncoderFiles
from pipeline.store import open_files
from pipeline.store.cache import FOLDERS
from pipeline.tracking import TrackingTarget, mlflow_client
from sept_core.errors import InputError

Ran = tuple[int, str, str]
SECRET = "sk-a-very-secret-key"


def statuses(checks: object) -> dict[str, str]:
    return {check.name: check.status for check in checks}  # type: ignore[attr-defined]


@pytest.fixture
def s3_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    def lead_to(endpoint: str) -> str:
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        return f"s3://{BUCKET}/prefix"

    return lead_to


GOOD = {"store: read and write": "green", "store: conditional writes": "green", "store: clock": "green"}


def test_a_folder_and_a_bucket_that_work_are_green_and_left_as_they_were(s3_root: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    assert statuses(check_store(str(folder))) == {"store": "green"}
    assert not folder.exists()
    folder.mkdir()
    assert statuses(check_store(str(folder))) == GOOD
    assert list(folder.iterdir()) == []
    assert statuses(check_store(s3_root)) == GOOD
    assert open_files(s3_root).list() == []


def test_a_bucket_without_conditional_writes_is_red(s3_at: Callable[[str], str]) -> None:
    careless = CarelessBucket()
    with answering(careless) as endpoint:
        found = check_store(s3_at(endpoint))
    assert statuses(found) == GOOD | {"store: conditional writes": "red"}
    (check,) = (one for one in found if one.status == "red")
    assert "ignores conditional writes" in check.said
    assert "If-None-Match" in check.fix
    assert careless.objects == {}


@pytest.mark.parametrize(("ahead_s", "status"), [(60.0, "yellow"), (-3600.0, "red")])
def test_a_clock_that_is_wrong_is_told_with_its_direction(
    ahead_s: float, status: str, s3_at: Callable[[str], str]
) -> None:
    with answering(CarelessBucket(ahead_s)) as endpoint:
        (check,) = (one for one in check_store(s3_at(endpoint)) if one.name == "store: clock")
    assert check.status == status
    assert ("ahead of" if ahead_s > 0 else "behind") in check.said
    assert "timedatectl" in check.fix


def test_a_dead_and_a_refusing_bucket_are_red_within_seconds(s3_endpoint: str, s3_at: Callable[[str], str]) -> None:
    began = time.monotonic()
    (dead,) = check_store(s3_at(f"http://127.0.0.1:{dead_port()}"))
    assert (dead.status, "cannot be reached" in dead.said) == ("red", True)
    assert time.monotonic() - began < 5
    s3_at(s3_endpoint)
    (missing, _) = check_store("s3://no-such-bucket/prefix")
    assert (missing.status, "there is no such bucket" in missing.said) == ("red", True)
    assert "create the bucket first" in missing.fix


def test_a_check_that_hangs_or_raises_is_a_finding() -> None:
    ends = threading.Event()
    try:
        (hung,) = examined(Subject("slow", 0.1, lambda: [Check("slow", "green", str(ends.wait(60)))], "hurry"))
        assert (hung.name, hung.status, hung.said, hung.fix) == ("slow", "red", "no answer within 0 s", "hurry")
    finally:
        ends.set()

    def raises() -> list[Check]:
        raise RuntimeError("a\nbug")

    (broken,) = examined(Subject("broken", 5, raises, "report it"))
    assert (broken.status, broken.said) == ("red", "RuntimeError: a bug")


def test_mlflow_takes_a_run_and_keeps_none_that_is_seen(make_target: Callable[[str], TrackingTarget]) -> None:
    target = make_target("root")
    root = str(Path(target.uri.removeprefix("sqlite:///")).parent)
    for _ in range(2):
        assert statuses(check_mlflow(root, None)) == {"MLflow": "green", "MLflow: write": "green"}
    client = mlflow_client(target)
    assert [one.name for one in client.search_experiments()] == []
    assert client.get_experiment_by_name(EXPERIMENT).lifecycle_stage == "deleted"
    assert client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id]) == []


def test_an_mlflow_that_is_not_there_or_dead_or_of_another_version_is_told(tmp_path: Path) -> None:
    (fresh,) = check_mlflow(str(tmp_path / "none"), None)
    assert (fresh.status, "the first sweep creates it" in fresh.said) == ("green", True)
    assert not (tmp_path / "none").exists()
    began = time.monotonic()
    (dead,) = check_mlflow(str(tmp_path), f"http://user:{SECRET}@127.0.0.1:{dead_port()}")
    assert (dead.status, SECRET in dead.said) == ("red", False)
    assert time.monotonic() - began < 10

    def old(request: object) -> tuple[int, dict[str, str], bytes]:
        if request.path == "/version":  # type: ignore[attr-defined]
            return 200, {}, b"2.9.2"
        if "experiments/search" in request.path:  # type: ignore[attr-defined]
            return 200, {"Content-Type": "application/json"}, b"{}"
        return 403, {}, b'{"error_code": "PERMISSION_DENIED", "message": "not you"}'

    with answering(old) as uri:
        found = {check.name: check for check in check_mlflow(str(tmp_path), uri)}
    assert statuses(found.values()) == {"MLflow": "green", "MLflow: version": "red", "MLflow: write": "red"}
    assert found["MLflow: version"].said.startswith("2.9.2 there, 3.")
    assert "pip install mlflow==3." in found["MLflow: version"].fix
    assert "not you" in found["MLflow: write"].said


def test_a_server_of_mlflow_is_asked_its_version_as_the_user_it_asks_for(tmp_path: Path) -> None:
    def guarded(request: object) -> tuple[int, dict[str, str], bytes]:
        asked.append((request.path, request.headers.get("Authorization")))  # type: ignore[attr-defined]
        return 200, {"Content-Type": "application/json"}, b"2.9.2" if request.path == "/version" else b"{}"  # type: ignore[attr-defined]

    asked: list[tuple[str, str]] = []
    with answering(guarded) as uri:
        found = {check.name: check for check in check_mlflow(str(tmp_path), uri.replace("://", "://me:se%40cret@"))}
    assert found["MLflow: version"].said.startswith("2.9.2 there")
    assert ("/version", "Basic " + b64encode(b"me:se@cret").decode()) in asked
    assert "cret" not in "".join(check.said + check.fix for check in found.values())


def test_a_silent_bucket_keeps_no_sweep_of_shipped_datasets_waiting_and_ones_own_only_shortly(
    s3_at: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Its name stands for the function in the package.
    monkeypatch.setattr(sys.modules["pipeline.doctor.examine"], "OWN_S", 0.2)
    training = "training: {epochs: 2, report_every: 1}"
    spec = f"name: s\nencoder: mini\ndatasets: [Mine]\nmethods: [coop]\ntrials: 1\n{training}\n"
    (tmp_path / "mine.yaml").write_text(spec)
    (tmp_path / "wrong.yaml").write_text(spec.replace("trials", "trails"))
    began = time.monotonic()
    with silent_port() as port:
        root = s3_at(f"http://127.0.0.1:{port}")
        assert wanted_by("quickstart", root, None)[1].names == ("Synth12", "ESC10", "FSDD")
        assert wanted_by(str(tmp_path / "mine.yaml"), root, None) == (EncoderFiles(name="mini"), Datasets(None, {}))
        with pytest.raises(InputError, match="trails"):
            wanted_by(str(tmp_path / "wrong.yaml"), root, None)
    assert time.monotonic() - began < 5
    with pytest.raises(InputError, match="unknown dataset 'Mine'"):
        wanted_by(str(tmp_path / "mine.yaml"), str(tmp_path / "runs"), None)


def test_what_is_to_be_installed_is_what_the_package_says_that_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = ["torch<9,>=8", "ray[tune]>=7", 'ray[default]; extra == "cluster"', "soundfile"]
    monkeypatch.setattr("pipeline.doctor.requirements.requires", lambda name: lines)
    assert install("ray", "torch", "unknown") == "pip install 'ray[tune]>=7' 'torch<9,>=8' unknown"
    (tmp_path / "ray.py").write_text("raise ImportError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert [check.fix for check in check_ray("local")] == ["pip install 'ray[tune]>=7'"]


def test_copies_that_go_while_they_are_counted_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in FOLDERS:
        (tmp_path / folder / "deep").mkdir(parents=True)
    with (tmp_path / FOLDERS[0] / "deep" / "stays").open("wb") as stays:
        stays.truncate(200_000_000)
    (tmp_path / FOLDERS[0] / "deep" / "goes").write_bytes(b"x")

    def while_it_makes_room(folder: Path, walk: Callable[..., Any] = os.walk) -> Any:
        for place in walk(folder):
            Path(place[0], "goes").unlink(missing_ok=True)
            yield place

    monkeypatch.setattr("pipeline.doctor.machine.os.walk", while_it_makes_room)
    monkeypatch.setenv("SEPT_CACHE", str(tmp_path))
    (cache, _) = check_disk(str(tmp_path))
    assert cache.said.startswith("0.2 GB of at most ")


def test_a_dead_and_a_silent_ray_are_red_in_the_time_given() -> None:
    (dead,) = check_ray(f"127.0.0.1:{dead_port()}")
    assert (dead.status, "Connection refused" in dead.said) == ("red", True)
    with silent_port() as port:
        began = time.monotonic()
        (silent,) = check_ray(f"127.0.0.1:{port}", seconds=2.0)
        assert (silent.status, "no answer within 2 s" in silent.said) == ("red", True)
        assert time.monotonic() - began < 10
    (local,) = check_ray("local")
    assert (local.status, "started on this machine" in local.said) == ("green", True)


def test_a_language_models_server_is_asked_with_a_key_that_nobody_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (none,) = check_language_model(None)
    assert (none.status, "only sept neighbors" in none.said) == ("green", True)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    asked: list[str] = []

    def models(request: object) -> tuple[int, dict[str, str], bytes]:
        asked.append(request.headers.get("Authorization"))  # type: ignore[attr-defined]
        if request.path == "/elsewhere/models":  # type: ignore[attr-defined]
            return 302, {"Location": "/v1/models"}, b""
        if request.path != "/v1/models":  # type: ignore[attr-defined]
            return 401, {}, f"wrong key {SECRET}".encode()
        return 200, {}, json.dumps({"data": [{"id": "a"}, {"id": "b"}]}).encode()

    with answering(models) as address:
        (good,), (refused,), (moved,) = (check_language_model(address + path) for path in ("/v1", "/v2", "/elsewhere"))
    assert (good.status, good.said.endswith("answers and has 2 models")) == ("green", True)
    assert (refused.status, "refuses the key (401)" in refused.said) == ("red", True)
    assert (moved.status, "status 302" in moved.said) == ("red", True)
    # Never sent on to where a server points.
    assert asked == [f"Bearer {SECRET}"] * 3
    (dead,) = check_language_model(f"http://127.0.0.1:{dead_port()}/v1")
    assert (dead.status, "Connection refused" in dead.said) == ("red", True)
    assert SECRET not in "".join(check.said + check.fix for check in (good, refused, moved, dead))


def test_azures_list_of_models_is_asked_for_as_azure_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    asked: list[tuple[str, str, str | None]] = []

    def models(request: Any) -> tuple[int, dict[str, str], bytes]:
        asked.append((request.path, request.headers.get("api-key"), request.headers.get("Authorization")))
        return 200, {}, b'{"data": []}'

    with answering(models) as address:
        (good,) = check_language_model(f"{address}/openai/deployments/d?api-version=2024-10-21")
    assert good.status == "green"
    assert asked == [("/openai/models?api-version=2024-10-21", SECRET, None)]


def test_weights_embeddings_and_neighbours_are_looked_for(tmp_path: Path) -> None:
    fingerprints: list[str] = []
    (mini,) = check_encoder(EncoderFiles(name="mini"), fingerprints)
    assert (mini.status, fingerprints[0] in mini.said) == ("green", True)
    wanted = Datasets(("ESC10", "ESC50"), {"ESC10": None, "ESC50": str(tmp_path / "mine.json")})
    (tmp_path / "mine.json").write_text("{}")
    found = {check.name: check for check in check_datasets(str(tmp_path), wanted, "mini", fingerprints)}
    assert statuses(found.values()) == {
        "embeddings of ESC10": "green",
        "embeddings of ESC50": "red",
        "neighbours of ESC10": "green",
        "neighbours of ESC50": "red",
    }
    assert "400 clips with the package" in found["embeddings of ESC10"].said
    assert found["embeddings of ESC50"].fix == "sept embed esc50 --audio DIR"
    assert found["neighbours of ESC50"].fix
    absent_files = EncoderFiles(name="msclap-2023", weights=str(tmp_path / "no.pth"))
    (absent,) = examined(Subject("encoder", 30, lambda: check_encoder(absent_files, []), ""))
    assert (absent.status, "are not there" in absent.said) == ("red", True)
    assert "hub:" in absent.fix


def test_the_command_shows_words_and_mends_and_ends_with_1_where_something_is_red(
    sept: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    code, out, _ = sept("doctor", "--spec", "quickstart", "--root", "runs")
    lines = out.splitlines()
    assert (code, lines[-1].endswith(" 0 red")) == (0, True)
    for name in ("Python", "packages", "store", "Ray", "MLflow", "encoder mini", "embeddings of FSDD"):
        assert any(line.startswith(("green", "yellow")) and f" {name}: " in line for line in lines), name
    assert not list(tmp_path.iterdir())
    code, out, _ = sept("doctor", "--root", "runs", "--mlflow", f"http://127.0.0.1:{dead_port()}", "--json")
    (red,) = (check for check in json.loads(out) if check["status"] == "red")
    assert (code, red["name"]) == (1, "MLflow")
    assert "--mlflow" in red["fix"]


def test_a_running_ray_is_described_with_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", json.dumps({"GPU": 2}))
    with small_ray(1):
        address = ray.get_runtime_context().gcs_address
        (found,) = check_ray(address)
    assert (found.status, "1 nodes alive, 1 CPUs, 2 GPUs" in found.said) == ("green", True), found
