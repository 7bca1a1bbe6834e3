"""A bucket: the conformance suite against real servers, and what only buckets have."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from files_conformance import FilesConformance
from s3_faults import Proxy
from s3_fixtures import BOTH_SERVERS, SEAWEEDFS
from s3_server import BUCKET, raw_client
from s3_stores import impatient, start
from seaweedfs_server import READER

from pipeline.store import Files, StoreError, TrialStore, open_files
from pipeline.store.s3_client import s3_connection, split_address
from sept_core.errors import InputError


@pytest.fixture
def files(s3_root: str) -> Files:
    return open_files(s3_root)


@BOTH_SERVERS
class TestS3Files(FilesConformance):
    """The bucket passes the suite, on either server."""


class TestS3FilesWithoutPrefix(FilesConformance):
    """So does a whole bucket."""

    @pytest.fixture
    def files(self, s3_root: str, s3_endpoint: str) -> Files:
        bucket = s3_root.rpartition("/")[2]
        raw_client(s3_endpoint).create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        return open_files(f"s3://{bucket}")


def test_what_is_written_between_the_look_and_the_removal_stays(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files, other = impatient(s3_root), open_files(s3_root)
    take_away = files._client.delete_object

    def late(**request: Any) -> Any:
        other.write("a/key", b"somebody else's")
        return take_away(**request)

    other.write("a/key", b"judged")
    monkeypatch.setattr(files._client, "delete_object", late)
    assert not files.remove("a/key", b"judged")
    assert other.read("a/key") == b"somebody else's"


@SEAWEEDFS
def test_who_may_only_read_passes_over_what_is_damaged_and_leaves_it_there(
    files: Files, s3_root: str, damages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "trials/study/0123456789abcdef/result.json"
    files.write(key, b"{")
    for name, value in READER.items():
        monkeypatch.setenv(name, value)
    store = TrialStore(open_files(s3_root))
    assert store.read_result("study", "0123456789abcdef") is None
    assert damages[0].startswith(f"damaged '{key}' counts as absent, and stays because it cannot be moved")
    with pytest.raises(InputError, match="permission denied"):
        store.files.write("key", b"")
    assert files.list() == [key]


@SEAWEEDFS
class TestProcesses:
    """Over the server that serves them side by side."""

    def test_of_competing_processes_exactly_one_creates(self, s3_root: str) -> None:
        code = """
import sys
from pipeline.store import open_files
files = open_files(sys.argv[1])
files.exists("warm")
print("ready", flush=True)
sys.stdin.readline()
print(sum(files.create(f"race/{number}", sys.argv[2].encode() * 3000) for number in range(25)))
"""
        racers = [start(code, s3_root, me) for me in range(4)]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("\n")
            racer.stdin.flush()
        wins = [int(racer.communicate(timeout=60)[0]) for racer in racers]
        assert sum(wins) == 25
        found = open_files(s3_root)
        contents = list(found.read_many(found.list("race")).values())
        assert all(data == data[:1] * 3000 for data in contents)
        assert wins == [contents.count(f"{me}".encode() * 3000) for me in range(4)]

    def test_a_writer_killed_at_any_moment_never_shows_a_part(self, s3_root: str, files: Files) -> None:
        # Contents say their own length, so that a cut one gives itself away.
        code = """
import sys
from itertools import count
from pipeline.store import open_files
files = open_files(sys.argv[1])
print("ready", flush=True)
for number in count():
    size = 1 + number * 7919 % 200_000
    files.write("a/key", f"{size:08d}".encode() + b"x" * size)
    files.create(f"made/{sys.argv[2]}-{number}", f"{size:08d}".encode() + b"y" * size)
"""

        def whole(data: bytes) -> bool:
            return len(data) == 8 + int(data[:8])

        draw = random.Random(0)
        for kill in range(3):
            writer = start(code, s3_root, kill)
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(draw.uniform(0.1, 0.4))
            writer.kill()
            writer.communicate()
        made = files.read_many(files.list())
        assert len(made) > 3
        assert all(whole(data) for data in made.values())


@BOTH_SERVERS
class TestForeignObjects:
    def test_what_is_hidden_beside_or_no_object_of_the_store_is_not_listed(
        self, s3_root: str, s3_endpoint: str, files: Files
    ) -> None:
        files.write("a/key", b"x")
        prefix = split_address(s3_root)[1]
        for name in (
            f"{prefix}/a/",
            f"{prefix}/.hidden",
            f"{prefix}/a/.hidden/b",
            f"{prefix}beside/key",
        ):
            raw_client(s3_endpoint).put_object(Bucket=BUCKET, Key=name, Body=b"")
        assert files.list() == ["a/key"]
        assert files.list("a") == ["a/key"]

    def test_an_object_put_there_by_another_tool_is_read_and_replaced(
        self, s3_root: str, s3_endpoint: str, files: Files
    ) -> None:
        name = f"{split_address(s3_root)[1]}/a/key"
        raw_client(s3_endpoint).put_object(Bucket=BUCKET, Key=name, Body=b"copied here")
        assert files.read("a/key") == b"copied here"
        assert not files.create("a/key", b"new")
        assert files.replace("a/key", b"copied here", b"new")

    def test_content_that_does_not_fit_its_stored_digest_is_an_error(
        self, s3_root: str, s3_endpoint: str, files: Files
    ) -> None:
        name = f"{split_address(s3_root)[1]}/a/key"
        raw_client(s3_endpoint).put_object(Bucket=BUCKET, Key=name, Body=b"bad", Metadata={"sept-sha256": "0" * 64})
        with pytest.raises(StoreError, match="cannot read 'a/key' in s3://.*damaged answers"):
            files.read("a/key")


def test_a_name_with_an_empty_part_is_not_listed(s3_root: str, s3_endpoint: str) -> None:
    """Other servers make one slash of the two."""
    raw_client(s3_endpoint).put_object(Bucket=BUCKET, Key=f"{split_address(s3_root)[1]}//x", Body=b"")
    assert open_files(s3_root).list() == []


class TestManyObjects:
    def test_objects_are_read_side_by_side(self, s3_root: str, files: Files, proxy: Proxy) -> None:
        for number in range(96):
            files.write(f"a/{number:03d}", f"{number}".encode())
        proxy.delay_s = 0.1
        far = open_files(s3_root)
        started = time.perf_counter()
        found = far.read_many(far.list("a"))
        seconds = time.perf_counter() - started
        assert list(found.values()) == [f"{number}".encode() for number in range(96)]
        # One after the other they would take ten seconds.
        assert seconds < 5

    @pytest.mark.slow
    @SEAWEEDFS
    def test_more_than_one_page_is_listed_and_read(self, files: Files) -> None:
        keys = [f"a/{number:05d}" for number in range(1100)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda key: files.write(key, key.encode()), keys))
        started = time.perf_counter()
        assert files.list() == keys
        assert time.perf_counter() - started < 5
        assert files.read_many(keys) == {key: key.encode() for key in keys}


class TestConnection:
    def test_region_and_signature_are_those_of_the_environment(self, s3_root: str, proxy: Proxy) -> None:
        open_files(s3_root).list()
        assert "/eu-central-1/s3/aws4_request" in proxy.headers["authorization"]

    def test_anonymous_requests_are_not_signed(
        self, s3_root: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SEPT_S3_ANONYMOUS", "1")
        assert open_files(s3_root).list() == []
        assert "authorization" not in proxy.headers

    def test_the_bucket_stands_in_the_path_where_an_endpoint_is_given(
        self, s3_root: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address.replace("127.0.0.1", "localhost"))
        open_files(s3_root).write("key", b"x")
        assert proxy.headers["host"].startswith("localhost:")

    def test_stores_of_one_environment_share_a_client_and_another_environment_has_its_own(
        self, s3_root: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = s3_connection()
        assert s3_connection() is first
        monkeypatch.setenv("AWS_REGION", "us-west-2")
        assert s3_connection() is not first

    def test_a_trailing_slash_names_the_same_store(self, s3_root: str, files: Files) -> None:
        files.write("key", b"x")
        assert open_files(f"{s3_root}/").read("key") == b"x"

    def test_what_needs_no_bucket_does_not_import_boto3(self) -> None:
        code = "import sys, pipeline.store, pipeline.store.fetch, pipeline.embed; print('boto3' in sys.modules)"
        done = start(code).communicate(timeout=60)
        assert done == ("False\n", "")
