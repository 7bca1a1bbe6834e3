"""A machine's copy of embeddings among several processes, and of embeddings that lie in a bucket."""

from __future__ import annotations

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from s3_faults import Proxy, proxying
from small_embeddings import FINGERPRINT, NAME, cached, fill, read, start

from pipeline.store import EmbeddingStore, embeddings


@pytest.fixture
def root(tmp_path: Path, cache: Path) -> Path:
    """An empty results folder whose embeddings are cached whatever their size."""
    return tmp_path / "runs"


READ = (
    "import sys; from pipeline.store import embeddings, find_embeddings; embeddings._CACHED_BYTES = 0\n"
    f"table = find_embeddings('{FINGERPRINT}', '{NAME}', sys.argv[1]); print(table.digest, flush=True)\n"
)


class TestProcesses:
    def test_of_several_processes_one_reads_the_parts(self, s3_root: str, s3_endpoint: str, cache: Path) -> None:
        fill(s3_root)
        with proxying(s3_endpoint) as proxy:
            proxy.delay_s = 0.05
            running = [start(READ, s3_root, AWS_ENDPOINT_URL=proxy.address) for _ in range(4)]
            said = {process.communicate(timeout=60)[0].strip() for process in running}
            assert gets_of_parts(proxy) == 1
        assert said == {EmbeddingStore(s3_root).read(FINGERPRINT, NAME, cached=False).digest}

    def test_threads_that_want_the_same_make_it_once(self, root: Path, parses: list[str]) -> None:
        rows = fill(root)
        with ThreadPoolExecutor(6) as pool:
            tables = [*pool.map(lambda _: read(root), range(6))]
        assert all(torch.equal(table.embeddings, rows) for table in tables)
        assert len(parses) == 1

    def test_a_maker_that_is_killed_leaves_only_what_the_next_removes(self, root: Path, cache: Path) -> None:
        rows = fill(root)
        code = "import os, signal; os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n" + READ
        process = start(code, root)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert [path.suffix for path in cache.rglob("*.tmp")] == [".tmp"]
        assert cached() == []
        assert torch.equal(read(root).embeddings, rows)
        assert not list(cache.rglob("*.tmp"))

    def test_processes_share_the_pages(self, root: Path) -> None:
        """Four processes that have read every embedding need the memory of one."""
        size = 4 * 4000 * 1024
        fill(root, 4000, 1024)
        code = READ + (
            "before = table.embeddings.sum().item(); print('ready', flush=True); sys.stdin.readline()\n"
            "found = {}; mine = False\n"
            "for line in open('/proc/self/smaps'):\n"
            "    words = line.split()\n"
            "    if not words[0].endswith(':'): mine = line.rstrip().endswith('.npy')\n"
            "    elif mine and words[-1] == 'kB': found[words[0][:-1]] = found.get(words[0][:-1], 0) + int(words[1])\n"
            "import json; print(json.dumps(found), flush=True)\n"
        )
        running = [start(code, root) for _ in range(4)]
        try:
            for process in running:
                assert process.stdout is not None
                assert process.stdout.readline()
                assert process.stdout.readline() == "ready\n"
            told = []
            for process in running:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("\n")
                process.stdin.flush()
                told.append(json.loads(process.stdout.readline()))
        finally:
            for process in running:
                process.kill()
                process.communicate()
        for found in told:
            assert 1024 * found["Shared_Clean"] > 0.95 * size, found
            assert 1024 * (found["Private_Clean"] + found["Private_Dirty"]) < 0.05 * size, found
        # Each process's share of the pages: together one copy.
        assert sum(1024 * found["Pss"] for found in told) < 1.2 * size


def gets_of_parts(proxy: Proxy) -> int:
    return sum(count for (method, path), count in proxy.seen.items() if method == "GET" and ".parquet" in path)


class TestBucket:
    def test_embeddings_in_a_bucket_are_fetched_once_whatever_their_size(
        self, s3_root: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = fill(s3_root)
        with proxying(s3_endpoint) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
            for _ in range(3):
                assert torch.equal(read(s3_root).embeddings, rows)
            assert gets_of_parts(proxy) == 1

    def test_many_parts_are_asked_for_at_a_time(
        self, s3_root: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipeline.store.embedding_writer.ROWS_PER_PART", 1)
        rows = fill(s3_root, 40)
        with proxying(s3_endpoint) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
            proxy.delay_s = 0.1
            began = time.monotonic()
            assert torch.equal(EmbeddingStore(s3_root).read(FINGERPRINT, NAME).embeddings, rows)
            took = time.monotonic() - began
            assert gets_of_parts(proxy) == 40
        assert took < 0.1 * 40 / 2, "forty requests of 0.1 s one after the other take 4 s"

    def test_parts_are_asked_for_in_portions_and_each_once(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipeline.store.embedding_writer.ROWS_PER_PART", 1)
        monkeypatch.setattr(embeddings, "_AHEAD_BYTES", 3 * 8 * 4)
        rows = fill(root, 10)
        store = EmbeddingStore(root)
        asked: list[list[str]] = []
        original = store.files.read_many

        def counted(keys: list[str]) -> dict[str, bytes]:
            asked.append([*dict.fromkeys(keys)])
            return original(keys)

        monkeypatch.setattr(store.files, "read_many", counted)
        assert torch.equal(store.read(FINGERPRINT, NAME, cached=False).embeddings, rows)
        assert [len(keys) for keys in asked] == [3, 3, 3, 1]
        assert len({key for keys in asked for key in keys}) == 10
