"""What goes wrong around a sweep and inside its trials: a store that is away, a disk that is full, trials that fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faulty_inputs as faults
import pytest
import yaml
from launching import launched, said, sept
from s3_faults import Proxy, proxying
from tiny_sweep import SHORT, outcome_of, run_inline

from pipeline.spec import parse_sweep
from pipeline.store import Files, Lease, LocalFiles, TrialStore, open_files
from pipeline.tracking import default_target, mlflow_client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LONGER = SHORT | {"training": {"epochs": 10, "report_every": 1, "batch_size": 8}}
LAUNCH = ("sweep", "launch", "tiny.yaml", "--root")


def sweep_file(folder: Path, content: dict[str, Any]) -> str:
    text = yaml.safe_dump(content)
    (folder / "tiny.yaml").write_text(text)
    return text


def objects(files: Files) -> int:
    """How far the sweep is: trials, checkpoints, results and decisions in the store."""
    return len([key for key in files.list() if key.count("/") == 4 or key.startswith("trials/")])


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert process.poll() is None, said(folder)
        assert time.monotonic() < deadline, said(folder)
        time.sleep(0.05)


def last_line(folder: Path) -> str:
    return said(folder).strip().splitlines()[-1]


def equals_undisturbed(text: str, root: Path, folder: Path) -> None:
    run_inline(parse_sweep(text, "tiny.yaml"), folder / "undisturbed")
    assert outcome_of(root) == outcome_of(folder / "undisturbed")
    assert not (root / "quarantine").exists()
    assert not list(root.rglob("*.tmp"))


class TestFailingTrials:
    CHOICES = (1, faults.NAN, faults.RAISES, faults.NO_MEMORY, faults.KILLED)

    def sweep(self, choices: tuple[int, ...]) -> dict[str, Any]:
        return SHORT | {
            # So many that each choice comes, some of them more than once.
            "trials": 3 * len(choices),
            "sampler": {"name": "random", "seed": 1},
            "pruner": {"name": "none"},
            "spaces": {"coop": {"n_ctx": {"choices": list(choices)}, "lr": {"fixed": 0.1}}},
        }

    def test_trials_that_fail_keep_their_reason_the_sweep_goes_on_and_they_can_be_run_again(
        self, tmp_path: Path
    ) -> None:
        text = sweep_file(tmp_path, self.sweep(self.CHOICES))
        root = tmp_path / "runs"
        with launched(tmp_path, "faulty_inputs:provide", *LAUNCH, "runs") as process:
            assert process.wait(300) == 0, said(tmp_path)
        store = TrialStore(LocalFiles(root))
        proposals = {(proposal.study, proposal.number): proposal for proposal in store.proposals("tiny")}
        found = {
            proposals[decision.study, decision.number].params.get("n_ctx"): decision
            for decision in store.decisions("tiny")
            if decision.study.endswith("coop")
        }
        assert {kind: decision.state for kind, decision in found.items()} == {
            kind: "finished" if kind == 1 else "failed" for kind in self.CHOICES
        }
        assert "NonFiniteError: not finite at epoch 2" in found[faults.NAN].error
        assert found[faults.RAISES].error == "RuntimeError: a trial's own mistake"
        assert "alloc" in found[faults.NO_MEMORY].error
        assert "lost 6 workers in a row without a new report" in found[faults.KILLED].error
        # What was reported before is kept, and a configuration that comes again is not tried again.
        assert {len(decision.curve) for kind, decision in found.items() if kind != 1} == {1}
        attempts = Counter(line for line in (tmp_path / "attempts").read_text().splitlines())
        assert [attempts[f"{kind} 1"] for kind in self.CHOICES] == [1, 1, 3, 3, 6]
        assert all(attempts[f"{kind} 0"] == 1 for kind in self.CHOICES)

        status = json.loads(sept(tmp_path, "sweep", "status", "tiny", "--root", "runs", "--json").stdout)
        assert (status["ended"], status["budget"]) == (16, 16)
        # Launching again does not run them again, unless requested.
        with launched(tmp_path, "faulty_inputs:provide", *LAUNCH, "runs") as process:
            assert process.wait(300) == 0, said(tmp_path)
        assert len((tmp_path / "attempts").read_text().splitlines()) == attempts.total()
        (tmp_path / "mended").touch()
        with launched(tmp_path, "faulty_inputs:provide", *LAUNCH, "runs", "--retry-failed") as process:
            assert process.wait(200) == 0, said(tmp_path)
        equals_undisturbed(text, root, tmp_path)

    @pytest.mark.long
    def test_a_worker_that_ray_ends_for_want_of_memory_is_told_as_that(self, tmp_path: Path) -> None:
        sweep_file(tmp_path, self.sweep((1, faults.TOO_LARGE)))
        memory = dict(line.split()[:2] for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = int(memory["MemTotal:"]), int(memory["MemAvailable:"])
        eaten, spare = 6_000_000_000, 4_000_000
        if free < 12_000_000:
            pytest.skip("less than 12 GB of memory are free")
        variables = {
            "SEPT_TEST_EATEN_BYTES": str(eaten),
            "RAY_memory_usage_threshold": str((total - free + spare) / total),
            "RAY_memory_monitor_refresh_ms": "50",
        }
        with launched(tmp_path, "faulty_inputs:provide", *LAUNCH, "runs", variables=variables) as process:
            assert process.wait(300) == 0, said(tmp_path)
        decisions = TrialStore(LocalFiles(tmp_path / "runs")).decisions("tiny")
        failed = [decision.error for decision in decisions if decision.state == "failed"]
        reason = "Ray ended its worker because the machine ran out of memory"
        assert set(failed) == {f"lost 6 workers in a row without a new report; the last one: {reason}"}


@pytest.mark.long  # the tests of stores have each outage and refusal, and the chaos tests on S3 a sweep that goes on
class TestStoreAway:
    @pytest.fixture
    def proxy(self, s3_root: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
        with proxying(s3_endpoint) as running:
            monkeypatch.setenv("AWS_ENDPOINT_URL", running.address)
            yield running

    @pytest.mark.parametrize("seconds", [6.0, 75.0])
    def test_an_outage_is_waited_out_and_one_that_lasts_stops_the_sweep_with_nothing_lost(
        self,
        s3_root: str,
        s3_endpoint: str,
        proxy: Proxy,
        tmp_path: Path,
        seconds: float,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        text = sweep_file(tmp_path, LONGER)
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
        files = open_files(s3_root)
        through = {"AWS_ENDPOINT_URL": proxy.address}
        with launched(tmp_path, "faulty_inputs:provide_slowly", *LAUNCH, s3_root, variables=through) as process:
            wait_for(lambda: objects(files) > 8, process, tmp_path)
            proxy.answer = (503, "ServiceUnavailable")
            before = objects(files)
            time.sleep(seconds)
            assert objects(files) == before
            assert process.poll() is None, said(tmp_path)
            proxy.answer = None
            # A worker may be the first to get through; the launch says so when it gets through itself.
            wait_for(lambda: objects(files) > before and "is back after" in said(tmp_path), process, tmp_path)
            process.kill()
        assert "overloaded or failing; waiting up to 180 s for it" in said(tmp_path)

        through["SEPT_S3_PATIENCE_S"] = "3"
        with launched(tmp_path, "faulty_inputs:provide_slowly", *LAUNCH, s3_root, variables=through) as process:
            # From somewhere within its work.
            seen = proxy.seen.total()
            wait_for(lambda: proxy.seen.total() > seen + 60, process, tmp_path)
            proxy.answer = (503, "ServiceUnavailable")
            assert process.wait(180) == 75, said(tmp_path)
        assert last_line(tmp_path).startswith("error: cannot ")
        assert last_line(tmp_path).endswith("the server is overloaded or failing; run the same command again later")
        proxy.answer = None

        # Credentials that end in mid-course; MLflow's records do not go through the bucket, and are closed.
        with launched(tmp_path, "faulty_inputs:provide_slowly", *LAUNCH, s3_root, variables=through) as process:
            seen = proxy.seen.total()
            wait_for(lambda: proxy.seen.total() > seen + 60, process, tmp_path)
            proxy.answer = (400, "ExpiredToken")
            assert process.wait(180) == 75, said(tmp_path)
        assert last_line(tmp_path).startswith("error: cannot ")
        assert "the credentials have expired; renew them (set new AWS_ACCESS_KEY_ID" in last_line(tmp_path)
        assert last_line(tmp_path).endswith("and run the same command again")
        assert "RUNNING" not in run_states(tmp_path)
        assert "Traceback" not in said(tmp_path)
        proxy.answer = None
        with launched(tmp_path, "faulty_inputs:provide_slowly", *LAUNCH, s3_root, variables=through) as process:
            assert process.wait(300) == 0, said(tmp_path)
        local = LocalFiles(tmp_path / "copied")
        for key, data in files.read_many(files.list()).items():
            local.write(key, data)
        assert Lease(files, "tiny").holder() is None
        equals_undisturbed(text, tmp_path / "copied", tmp_path)


def run_states(folder: Path) -> set[str]:
    """States of all runs of the sweep in the MLflow of a launch into a bucket from this folder."""
    client = mlflow_client(default_target(folder / "sept-runs"))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return {run.info.status for run in client.search_runs([experiment.experiment_id])}


@pytest.mark.long  # the tests of stores have a full disk
class TestDiskFull:
    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        """A disk of its own, of 30 MB."""
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", str(folder)]
        if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
            pytest.skip("a small disk can be mounted by root only, and not in every container")
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)

    def test_a_full_disk_stops_the_sweep_with_one_line_and_it_goes_on_when_there_is_room(
        self, disk: Path, tmp_path: Path
    ) -> None:
        text = sweep_file(tmp_path, LONGER)
        root, filler = disk / "runs", disk / "filler"
        with launched(tmp_path, "faulty_inputs:provide_slowly", *LAUNCH, str(root)) as process:
            wait_for(lambda: root.exists() and objects(LocalFiles(root)) > 8, process, tmp_path)
            fill(filler)
            assert process.wait(120) == 1, said(tmp_path)
        assert "No space left on device" in last_line(tmp_path)
        assert last_line(tmp_path).startswith("error: cannot write ")
        assert "Traceback" not in said(tmp_path)
        kept = outcome_of(root)["members"]
        # Still full: the same line again, and nothing worse.
        fill(filler)
        with launched(tmp_path, "faulty_inputs:provide_slowly", *LAUNCH, str(root)) as process:
            assert process.wait(120) == 1, said(tmp_path)
        assert "No space left on device" in last_line(tmp_path)
        assert outcome_of(root)["members"] == kept
        filler.unlink()
        with launched(tmp_path, "faulty_inputs:provide_slowly", *LAUNCH, str(root)) as process:
            assert process.wait(300) == 0, said(tmp_path)
        assert Lease(LocalFiles(root), "tiny").holder() is None
        equals_undisturbed(text, root, tmp_path)


def fill(path: Path) -> None:
    """Leave not one byte on the disk."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
