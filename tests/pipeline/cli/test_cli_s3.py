"""The commands with results in a bucket: they work as in a folder, or say in one line why not."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import synthetic_results as made

from pipeline.neighbors import Outcome, Usage
from pipeline.store import TrialStore, open_files
from pipeline.tracking import default_target
from pipeline.tracking.client import mlflow_client
from sept_core.datasets import DatasetInfo
from sept_core.semantic import Neighbors

Sept = Callable[..., tuple[int, str, str]]


@pytest.fixture
def filled(s3_root: str) -> str:
    """A root in a bucket with the synthetic sweep in it."""
    made.fill_store(TrialStore(open_files(s3_root)), made.make_cases())
    return s3_root


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Twenty clips of FSDD's layout."""
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for digit in range(10):
        for speaker in ("theo", "lucas"):
            sound = random.normal(0, 0.1, 800).astype("float32")
            soundfile.write(folder / f"{digit}_{speaker}_0.wav", sound, 8000)
    return folder.parent


def test_status_and_report_read_the_bucket_and_show_addresses(sept: Sept, filled: str, tmp_path: Path) -> None:
    code, out, _ = sept("sweep", "status", made.SWEEP, "--root", filled)
    assert code == 0
    assert "14 of 14 trials ended" in out
    code, out, _ = sept("report", made.SWEEP, "--root", filled)
    assert code == 0
    assert f"{filled}/sweeps/{made.SWEEP}/report/tradeoff.svg" in out
    assert open_files(filled).read(f"sweeps/{made.SWEEP}/report/tradeoff.svg").startswith(b"<svg ")
    # Nothing of it on this machine.
    assert list(tmp_path.iterdir()) == []


def test_the_root_may_come_from_the_environment(sept: Sept, filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPT_ROOT", filled)
    assert sept("sweep", "status", made.SWEEP)[0] == 0


def test_an_unknown_sweep_names_the_bucket(sept: Sept, filled: str) -> None:
    code, _, err = sept("report", "synthetik", "--root", filled)
    assert code == 2
    assert err.startswith(f"error: {filled}/sweeps: unknown sweep 'synthetik'; did you mean 'synthetic'?")


def test_embeddings_are_made_into_the_bucket_and_listed_from_there(sept: Sept, s3_root: str, audio: Path) -> None:
    code, out, err = sept("embed", "fsdd", "--audio", audio, "--root", s3_root)
    assert (code, err) == (0, "")
    assert "20 clips embedded with mini" in out
    assert f"{s3_root}/embeddings/" in out
    assert "exist already; --force makes them again" in sept("embed", "fsdd", "--audio", audio, "--root", s3_root)[1]
    code, out, _ = sept("data", "list", "--root", s3_root, "--json")
    assert code == 0
    rows = {row["dataset"]: row for row in json.loads(out)}
    assert rows["FSDD"]["embeddings"] == ["mini", "mini (bundled)"]


def test_ones_own_dataset_is_prepared_into_the_bucket_and_its_neighbours_are_asked_for_a_file(
    sept: Sept, s3_root: str, tmp_path: Path
) -> None:
    lines = ["path,classname,fold"]
    (tmp_path / "birds").mkdir()
    for number in range(64):
        name = f"{('wren', 'tit')[number % 2]}{number}.wav"
        sound = np.random.default_rng(number).uniform(-0.5, 0.5, 400).astype(np.float32)
        soundfile.write(tmp_path / "birds" / name, sound, 8000)
        lines.append(f"{name},{('wren', 'tit')[number % 2]},{1 + number // 32}")
    (tmp_path / "birds.csv").write_text("\n".join(lines))
    options = ("--audio", tmp_path / "birds", "--csv", tmp_path / "birds.csv", "--root", s3_root)
    code, out, _ = sept("data", "prepare", "birds", *options)
    assert code == 0
    assert f"{s3_root}/datasets/birds/dataset.json" in out
    assert f"sept embed birds --audio {tmp_path / 'birds'} --root {s3_root}" in out
    code, _, err = sept("neighbors", "birds", "--root", s3_root)
    assert code == 2
    assert "written to a folder, not to a bucket; give --out FILE" in err
    assert err.count("\n") == 1


def test_neighbours_of_a_registered_dataset_are_written_on_this_machine(
    sept: Sept, s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(info: DatasetInfo, model: str, n: int, *, out: Path, **_: object) -> Outcome:
        lists = {name: (f"kind of {number}",) for number, name in enumerate(info.classnames)}
        return Outcome(Neighbors(info.name, lists), out, Usage(), ())

    monkeypatch.setattr("pipeline.neighbors.generate", fake)
    code, out, _ = sept("neighbors", "esc50", "--n", 1, "--root", s3_root)
    assert code == 0
    assert f"Written to {tmp_path / 'sept-runs' / 'neighbors' / 'base' / 'esc50.json'}" in out


class TestMlflow:
    """It cannot lie in a bucket."""

    @pytest.fixture(autouse=True)
    def _no_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    @pytest.fixture
    def database(self, tmp_path: Path, empty_database: Path) -> Path:
        (tmp_path / "sept-runs").mkdir()
        return Path(shutil.copy(empty_database, tmp_path / "sept-runs" / "mlflow.db"))

    def test_track_sync_writes_into_a_database_on_this_machine(self, sept: Sept, filled: str, database: Path) -> None:
        code, out, _ = sept("track", "sync", made.SWEEP, "--root", filled)
        assert code == 0
        assert f"14 ended trials are in MLflow (sqlite:///{database}" in out
        client = mlflow_client(default_target(database.parent))
        assert client.get_experiment_by_name(made.SWEEP) is not None

    def test_the_servers_of_option_and_environment_go_before_it(
        self, sept: Sept, filled: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:8")
        code, _, err = sept("track", "sync", made.SWEEP, "--root", filled)
        assert (code, "MLflow at http://127.0.0.1:8 did not accept it" in err) == (1, True)
        code, _, err = sept("track", "sync", made.SWEEP, "--root", filled, "--mlflow", "http://127.0.0.1:9")
        assert (code, "MLflow at http://127.0.0.1:9 did not accept it" in err) == (1, True)

    def test_the_environment_changes_nothing_for_results_in_a_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:8")
        assert default_target(tmp_path).uri == f"sqlite:///{tmp_path}/mlflow.db"

    def test_ui_looks_for_it_on_this_machine(self, sept: Sept, s3_root: str, tmp_path: Path) -> None:
        code, _, err = sept("ui", "--root", s3_root)
        assert code == 2
        assert err.startswith(f"error: {tmp_path}/sept-runs/mlflow.db: no MLflow database")

    def test_a_launch_says_where_it_is(
        self, sept: Sept, filled: str, database: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import pipeline.search.sweep
        from pipeline.search.sweep import SweepOutcome

        def launch(spec: Any, root: str, **_: object) -> SweepOutcome:
            assert root == filled
            return SweepOutcome(spec.name, "stopped", 0, 0, 0, 0, 0, 0.0)

        monkeypatch.setattr(pipeline.search.sweep, "launch", launch)
        code, out, err = sept("quickstart", "--root", filled)
        assert err == ""
        assert code == 75
        assert f"results  {filled}\n" in out
        assert f"MLflow   sqlite:///{database} (on this machine, since it cannot be in a bucket)\n" in out
        assert out.endswith(f"  sept quickstart --root {filled}\n")


class TestErrors:
    def test_no_such_bucket_is_one_line(self, sept: Sept, s3_root: str) -> None:
        for command in (("report", "x"), ("sweep", "status", "x"), ("data", "list"), ("sweep", "launch", "quickstart")):
            code, _, err = sept(*command, "--root", "s3://no-such-bucket/x")
            assert code == 1
            assert "there is no such bucket; check the name, or create the bucket first" in err
            assert err.count("\n") == 1

    def test_an_address_that_cannot_be_is_one_line(self, sept: Sept, s3_root: str) -> None:
        code, _, err = sept("report", "x", "--root", "s3://a b/c")
        assert (code, err) == (2, "error: 's3://a b/c' is not an S3 address; give s3://BUCKET or s3://BUCKET/PREFIX\n")
        assert sept("report", "x", "--root", "gs://bucket/x")[0] == 2

    def test_a_server_that_is_not_there_is_one_line(
        self, sept: Sept, s3_root: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
        code, _, err = sept("report", "x", "--root", s3_root)
        assert code == 1
        assert f"{address} cannot be reached; check the network and AWS_ENDPOINT_URL" in err
        assert err.count("\n") == 1


def test_prepare_reads_audio_in_a_bucket_like_a_folder(sept: Sept, s3_root: str, audio: Path, tmp_path: Path) -> None:
    for number, speaker in enumerate(("george", "jackson", "nicolas", "yweweler")):
        for digit in range(10):
            sound = np.full(800, (10 * number + digit + 1) / 100, "float32")
            soundfile.write(audio / "recordings" / f"{digit}_{speaker}_0.wav", sound, 8000)
    clips = sorted(audio.rglob("*.wav"))
    store = open_files(s3_root)
    for file in clips:
        store.write(f"audio/{file.relative_to(audio).as_posix()}", file.read_bytes())
    table = tmp_path / "mine.csv"
    rows = [
        f"{file.relative_to(audio).as_posix()},digit {file.name[0]},{number % 2}" for number, file in enumerate(clips)
    ]
    table.write_text("\n".join(["path,classname,fold", *rows]) + "\n")
    place = f"{s3_root}/audio"
    for given in (["fsdd"], ["mine", "--csv", table]):
        code, out, err = sept("data", "prepare", *given, "--audio", place, "--root", "there")
        assert (code, err) == (0, ""), err
        assert f"--audio {place} --root there" in out
        name = "FSDD" if given == ["fsdd"] else "mine"
        local = sept("data", "prepare", *given, "--audio", audio, "--root", "here")
        assert local[0] == 0
        key = f"datasets/{name}/dataset.json"
        assert (tmp_path / "there" / key).read_bytes() == (tmp_path / "here" / key).read_bytes()
    code, _, err = sept("data", "check", "fsdd", "--audio", place)
    assert code == 2
    assert err.startswith(f"error: {place}: check reads every clip from a folder on this machine; copy it here first")
    code, _, err = sept("data", "prepare", "mine", "--csv", table, "--audio", f"{s3_root}/nothing")
    assert (code, err) == (2, f"error: {s3_root}/nothing: there is nothing at this address; check the address\n")
