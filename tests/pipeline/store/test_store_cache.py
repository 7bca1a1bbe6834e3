"""The cache's size is bounded: what was used last stays, nobody loses what is in use, and leftovers go."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from s3_server import BUCKET, raw_client
from small_embeddings import FINGERPRINT, NAME, cached, fill, read, start

from pipeline.store.cache import cache_limit, lock_of, trim
from pipeline.store.fetch import fetch
from sept_core.errors import InputError

DAY = 24 * 3600.0


def entry(path: Path, size: int, hours_ago: float) -> Path:
    """An entry of the cache of so many bytes, last used then: a file, or a folder with two files."""
    if path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    else:
        (path / "deep").mkdir(parents=True)
        (path / "a").write_bytes(bytes(size - 1))
        (path / "deep" / "b").write_bytes(bytes(1))
    lock_of(path).touch()
    when = time.time() - 3600 * hours_ago
    os.utime(lock_of(path), (when, when))
    return path


def left(cache: Path) -> set[str]:
    return {path.name for folder in ("s3", "embeddings") for path in (cache / folder).glob("[!.]*")}


def test_what_was_not_used_for_the_longest_time_goes_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, hours in (("a.arrow", 5), ("b.arrow", 50), ("c.arrow", 1)):
        entry(cache / "embeddings" / name, 1000, hours)
    entry(cache / "s3" / "w", 1000, 60)
    new = entry(cache / "embeddings" / "new.arrow", 1000, 0)
    for limit, expected in (
        (5000, {"a.arrow", "b.arrow", "c.arrow", "w", "new.arrow"}),
        (4999, {"a.arrow", "b.arrow", "c.arrow", "new.arrow"}),
        (3500, {"a.arrow", "c.arrow", "new.arrow"}),
        (1000, {"new.arrow"}),
        (0, {"new.arrow"}),
    ):
        monkeypatch.setenv("SEPT_CACHE_GB", str(limit / 1e9))
        trim(new)
        assert left(cache) == expected, limit
    assert not list(cache.rglob("*.tmp"))


def test_weights_stay_for_a_day_after_their_last_use(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPT_CACHE_GB", "0")
    entry(cache / "s3" / "young", 10, 23)
    entry(cache / "s3" / "old", 10, 25)
    trim(cache / "none")
    assert left(cache) == {"young"}


def test_what_is_being_made_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPT_CACHE_GB", "0")
    held = [entry(cache / "embeddings" / "a.arrow", 10, 50), entry(cache / "s3" / "w", 10, 50)]
    free = entry(cache / "embeddings" / "b.arrow", 10, 50)
    hidden = held[0].with_name(".a.arrow.12345678.tmp")
    hidden.write_bytes(b"half")
    orphan = free.with_name(".b.arrow.12345678.tmp")
    orphan.write_bytes(b"half")
    code = (
        "import sys; from pathlib import Path; from pipeline.store.cache import turn\n"
        "with turn(Path(sys.argv[1])), turn(Path(sys.argv[2])): print('held', flush=True); sys.stdin.readline()"
    )
    process = start(code, *held)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        trim(cache / "none")
        assert left(cache) == {"a.arrow", "w"}
        assert (hidden.exists(), orphan.exists()) == (True, False)
    finally:
        process.communicate("\n", timeout=60)
    trim(cache / "none")
    assert left(cache) == set()
    assert not hidden.exists()


def test_reading_counts_as_use_and_a_mapped_table_outlives_its_file(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEPT_CACHE_GB", "1")
    files, rows = {}, {}
    for seed, name in enumerate(("first", "second")):
        rows[name] = fill(tmp_path / name, seed=seed)
        before = set(cached())
        read(tmp_path / name)
        (files[name],) = set(cached()) - before
    for name, hours in (("first", 30), ("second", 20)):
        when = time.time() - 3600 * hours
        os.utime(lock_of(files[name]), (when, when))
    mapped = read(tmp_path / "first")
    monkeypatch.setenv("SEPT_CACHE_GB", str(sum(file.stat().st_size for file in files["first"].iterdir()) / 1e9))
    trim(cache / "none")
    assert (files["first"].exists(), files["second"].exists()) == (True, False)
    monkeypatch.setenv("SEPT_CACHE_GB", "0")
    trim(cache / "none")
    assert left(cache) == set()
    assert torch.equal(mapped.embeddings, rows["first"])
    for _ in range(2):
        assert torch.equal(read(tmp_path / "first").embeddings, rows["first"]), "its own file stays, whatever its size"
        assert left(cache) == {files["first"].name}


def test_fetched_weights_are_trimmed_by_what_is_fetched_next(
    s3_root: str, s3_endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        key = f"{s3_root}/{name}.pth".removeprefix(f"s3://{BUCKET}/")
        raw_client(s3_endpoint).put_object(Bucket=BUCKET, Key=key, Body=name.encode() * 1000)
    paths = {name: fetch(f"{s3_root}/{name}.pth") for name in ("a", "b")}
    for path in paths.values():
        when = time.time() - 2 * DAY
        os.utime(lock_of(path.parent), (when, when))
    monkeypatch.setenv("SEPT_CACHE_GB", "0.0000025")
    assert fetch(f"{s3_root}/a.pth") == paths["a"]  # used again, which keeps it
    fetch(f"{s3_root}/c.pth")
    assert (paths["a"].exists(), paths["b"].exists()) == (True, False)
    assert fetch(f"{s3_root}/b.pth").read_bytes() == b"b" * 1000


def test_processes_that_read_while_others_trim_lose_nothing(tmp_path: Path, cache: Path) -> None:
    """Every read trims all but its own file, and all read both data sets again and again."""
    expected = {}
    for seed, name in enumerate(("first", "second")):
        fill(tmp_path / name, count=300, seed=seed)
        expected[name] = read(tmp_path / name).digest
    code = (
        "import sys; from pipeline.store import embeddings, find_embeddings; embeddings._CACHED_BYTES = 0\n"
        "for _ in range(30):\n"
        "    for root in sys.argv[1:]:\n"
        f"        table = find_embeddings('{FINGERPRINT}', '{NAME}', root)\n"
        "        vars(table).pop('digest', None); print(table.digest)\n"
    )
    roots = [tmp_path / "first", tmp_path / "second"]
    running = [start(code, *roots, SEPT_CACHE_GB="0") for _ in range(3)]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        assert out.split() == [expected["first"], expected["second"]] * 30


def test_the_limit_is_50_gb_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEPT_CACHE_GB", raising=False)
    assert cache_limit() == 50_000_000_000
    monkeypatch.setenv("SEPT_CACHE_GB", "0.5")
    assert cache_limit() == 500_000_000
    monkeypatch.setenv("SEPT_CACHE_GB", "some")
    with pytest.raises(InputError, match="SEPT_CACHE_GB is 'some'; give the cache's size in GB, or leave it out"):
        fetch("s3://bucket/weights.pth")
