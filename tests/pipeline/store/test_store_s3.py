"""The bucket behind the door: the conformance suite against a real server, and what only a network can do to it."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from files_conformance import FilesConformance
from s3_faults import Proxy, proxying, seeded
from s3_fixtures import BOTH_SERVERS, SEAWEEDFS
from s3_server import BUCKET, raw_client
from seaweedfs_server import READER

from pipeline.doctor.storage import check_store
from pipeline.store import Files, Lease, StoreAway, StoreError, TrialStore, open_files
from pipeline.store.s3 import S3Files
from pipeline.store.s3_client import Connection, make_client, s3_connection, split_address
from sept_core.errors import InputError

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def files(s3_root: str) -> Files:
    return open_files(s3_root)


@pytest.fixture
def proxy(s3_root: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that stands before the server from now on, for new stores of this process and those it starts."""
    with proxying(s3_endpoint) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.address)
        yield running


def impatient(root: str, **settings: Any) -> S3Files:
    """A store that does not wait as long as is good for a person, nor waits out an outage unless told to."""
    patience_s = settings.pop("patience_s", 0.0)
    client = make_client(**{"connect_s": 0.3, "read_s": 0.3, "attempts": 2} | settings)
    return S3Files(Connection(client, patience_s), *split_address(root))


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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
    files: Files, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "trials/study/0123456789abcdef/result.json"
    files.write(key, b"{")
    for name, value in READER.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    store = TrialStore(open_files(s3_root), on_damage=said.append)
    assert store.read_result("study", "0123456789abcdef") is None
    assert said[0].startswith(f"damaged '{key}' treated as absent, and left there: no permission to move it")
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


class TestFaults:
    def test_every_single_fault_is_come_through(self, s3_root: str, proxy: Proxy) -> None:
        files = impatient(s3_root, read_s=5, attempts=4)
        for fault in ("busy", "busy-after", "reset", "reset-after", "cut", "empty", "garbled", "slow"):
            # Each request of each kind meets it once; a put that was answered by a lost answer is put again.
            proxy.seen.clear()
            proxy.choose = lambda method, path, count, fault=fault: fault if count == 0 else ""
            files.write(f"{fault}/key", fault.encode() * 50)
            assert files.read(f"{fault}/key") == fault.encode() * 50
            assert files.list(fault) == [f"{fault}/key"]
            assert files.exists(f"{fault}/key")
            assert files.create(f"{fault}/new", b"mine")
            assert not files.create(f"{fault}/new", b"late")
            proxy.seen.clear()
            assert files.replace(f"{fault}/new", b"mine", b"again mine")
            proxy.seen.clear()
            assert not files.replace(f"{fault}/new", b"mine", b"late")
            files.delete(f"{fault}/new")
            proxy.seen.clear()
            assert files.list(fault) == [f"{fault}/key"]
            with pytest.raises(FileNotFoundError):
                files.read(f"{fault}/new")

    @pytest.mark.parametrize(
        ("s3_endpoint", "seed"), [("moto", 1), ("moto", 2), ("seaweedfs", 3)], indirect=["s3_endpoint"]
    )
    def test_through_many_faults_no_bytes_are_wrong_and_no_acknowledged_write_is_lost(
        self, s3_root: str, proxy: Proxy, files: Files, seed: int
    ) -> None:
        proxy.choose = seeded(0.3, seed)
        shaken = impatient(s3_root, read_s=2, attempts=6)
        with ThreadPoolExecutor(4) as pool:
            possible = [pool.submit(_live, shaken, f"{seed}/{me}", random.Random(10 * seed + me)) for me in range(4)]
            believed = {key: states for one in possible for key, states in one.result().items()}
        assert sum(proxy.faults.values()) - proxy.faults[""] > 50
        # Seen without the proxy, everything is as it was acknowledged.
        for key, states in believed.items():
            assert (files.read(key) if files.exists(key) else None) in states
        assert sum(len(states) > 1 for states in believed.values()) <= 2

    @SEAWEEDFS
    def test_of_competing_creators_behind_a_bad_network_exactly_one_wins(self, s3_root: str, proxy: Proxy) -> None:
        proxy.choose = seeded(0.4, 5)
        files = impatient(s3_root, read_s=2, attempts=9)
        for round_number in range(8):
            key = f"race/{round_number}"
            with ThreadPoolExecutor(4) as pool:
                won = list(pool.map(lambda me, key=key: files.create(key, f"{me}".encode() * 500), range(4)))
            assert won.count(True) == 1
            assert files.read(key) == f"{won.index(True)}".encode() * 500

    def test_a_lease_outlives_a_bad_network(self, s3_root: str, proxy: Proxy) -> None:
        proxy.choose = seeded(0.4, 6)
        files = impatient(s3_root, read_s=2, attempts=9)
        for _ in range(3):
            with Lease(files, "s", expiry_s=20, heartbeat_s=0.02) as lease:
                for _ in range(10):
                    time.sleep(0.03)
                    lease.check()

    @BOTH_SERVERS
    def test_a_server_that_ignores_conditions_is_refused_before_a_lease_is_believed(
        self, s3_root: str, proxy: Proxy
    ) -> None:
        proxy.dropped = frozenset({"if-match"})
        with pytest.raises(StoreError, match="ignores conditional writes"):
            Lease(open_files(s3_root), "a").acquire()
        proxy.dropped = frozenset({"if-none-match"})
        with pytest.raises(StoreError, match="ignores conditional writes"):
            Lease(open_files(s3_root), "b").acquire()

    def test_a_server_that_refuses_what_it_should_take_is_refused_and_leaves_no_lease(
        self, s3_root: str, proxy: Proxy
    ) -> None:
        """Ceph's gateway of release 16 compares the quoted ETag of If-Match with its own, unquoted one."""
        proxy.refused = frozenset({"if-match"})
        for _ in range(2):
            with pytest.raises(StoreError, match="refuses conditional writes whose condition holds"):
                Lease(open_files(s3_root), "a").acquire()
        assert open_files(s3_root).list() == []
        (check,) = (one for one in check_store(s3_root) if one.name == "store: conditional writes")
        assert check.status == "red"
        assert "refuses conditional writes whose condition holds" in check.said


class TestOutages:
    """A server that was there and goes away."""

    @pytest.mark.parametrize("answer", [(503, "SlowDown"), (500, "InternalError"), (504, "GatewayTimeout")])
    def test_an_outage_is_waited_out_and_said(
        self, s3_root: str, proxy: Proxy, answer: tuple[int, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        files = impatient(s3_root, patience_s=30.0, read_s=5, attempts=1)
        files.write("key", b"before")
        proxy.answer = answer
        back = threading.Timer(1.5, setattr, (proxy, "answer", None))
        back.start()
        with ThreadPoolExecutor(3) as pool:
            calls = pool.submit(files.create, "new", b"x"), pool.submit(files.read, "key"), pool.submit(files.list)
            assert [call.result() for call in calls][:2] == [True, b"before"]
        back.join()
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 2, said
        assert "failing; waiting up to 30 s for it" in said[0]
        assert "is back after" in said[1]

    def test_an_outage_that_lasts_is_given_up_once_and_for_all_threads(self, s3_root: str, proxy: Proxy) -> None:
        files = impatient(s3_root, patience_s=1.0, attempts=1)
        files.write("key", b"before")
        proxy.answer = (503, "ServiceUnavailable")
        started = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(files.write, f"{number}", b"x") for number in range(4)]
            failures = [call.exception() for call in calls]
        assert [type(failure) for failure in failures] == [StoreAway] * 4
        assert all(failure.resumable for failure in failures if isinstance(failure, StoreAway))
        assert 1.0 < time.monotonic() - started < 5
        started = time.monotonic()
        with pytest.raises(StoreAway, match="overloaded or failing; run the same command again"):
            files.read("key")
        assert time.monotonic() - started < 0.5
        proxy.answer = None
        assert files.read("key") == b"before"
        # The next outage is one of its own.
        proxy.answer = (503, "ServiceUnavailable")
        started = time.monotonic()
        with pytest.raises(StoreAway):
            files.read("key")
        assert time.monotonic() - started > 1.0

    def test_a_request_that_alone_is_refused_is_given_up_too(self, s3_root: str, proxy: Proxy) -> None:
        files = impatient(s3_root, patience_s=1.5, attempts=1)
        files.write("good", b"x")
        proxy.choose = lambda method, path, count: "busy" if path.endswith("/bad") else ""
        with ThreadPoolExecutor(1) as pool:
            started = time.monotonic()
            refused = pool.submit(files.read, "bad")
            while not refused.done():
                assert files.read("good") == b"x"
                assert time.monotonic() - started < 10
            assert isinstance(refused.exception(), StoreAway)
        assert time.monotonic() - started > 1.5

    def test_a_refusal_is_an_answer(self, s3_root: str, proxy: Proxy) -> None:
        files = impatient(s3_root, patience_s=0.3, attempts=1)
        assert not files.exists("nothing")
        proxy.answer = (503, "ServiceUnavailable")
        with pytest.raises(StoreAway):
            files.read("key")

    def test_a_server_never_met_is_not_waited_for_unless_another_process_has_met_it(
        self, s3_root: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy.answer = (503, "ServiceUnavailable")
        with pytest.raises(StoreError) as refusal:
            impatient(s3_root, patience_s=60.0, attempts=1).read("key")
        assert not isinstance(refusal.value, StoreAway)
        monkeypatch.setenv("SEPT_S3_PATIENCE_S", "0.2")
        with pytest.raises(StoreAway):
            open_files(s3_root, known=True).list()

    @pytest.mark.parametrize("value", ["soon", "-1", "inf", "nan"])
    def test_a_patience_that_cannot_be(self, s3_root: str, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("SEPT_S3_PATIENCE_S", value)
        with pytest.raises(InputError, match=f"SEPT_S3_PATIENCE_S is '{value}'; give seconds"):
            open_files(s3_root)

    def test_what_is_no_outage_is_not_waited_for(self, s3_root: str, proxy: Proxy) -> None:
        files = impatient(s3_root, patience_s=60.0)
        files.write("key", b"before")
        proxy.answer = (403, "AccessDenied")
        with pytest.raises(StoreError, match="permission denied") as refusal:
            files.read("key")
        assert not isinstance(refusal.value, StoreAway)


def _live(files: Files, folder: str, draw: random.Random) -> dict[str, set[bytes | None]]:
    """Use a few keys in every way, checking each answer; what each may hold at the end, by what was acknowledged."""
    possible: dict[str, set[bytes | None]] = {f"{folder}/{number}": {None} for number in range(4)}
    for step in range(40):
        key = draw.choice(list(possible))
        states = possible[key]
        data = f"{key} {step} ".encode() * draw.randrange(1, 400)
        known = next(iter(states))
        action = draw.choice(["write", "create", "replace", "read", "delete", "list"])
        try:
            if action == "write":
                files.write(key, data)
                possible[key] = {data}
            elif action == "create":
                made = files.create(key, data)
                assert None in states if made else states != {None}
                possible[key] = {data} if made else states - {None}
            elif action == "replace" and known is not None:
                done = files.replace(key, known, data)
                assert done or len(states) > 1
                possible[key] = {data} if done else states - {known}
            elif action == "delete":
                files.delete(key)
                possible[key] = {None}
            elif action == "list":
                listed = files.list(folder)
                for other, found in possible.items():
                    assert (other in listed and found != {None}) or (other not in listed and None in found)
            else:
                found = files.read(key) if None not in states or files.exists(key) else None
                assert found in states
                possible[key] = {found}
        except StoreError:
            if action in ("write", "create", "replace"):
                possible[key] = states | {data}
            elif action == "delete":
                possible[key] = states | {None}
    return possible


class TestErrors:
    """One clear line, in bounded time, without anything secret."""

    @BOTH_SERVERS
    def test_a_bucket_that_is_not_there(self, s3_root: str) -> None:
        files = open_files("s3://no-such-bucket/x")
        for call in (
            files.list,
            lambda: files.read("a"),
            lambda: files.write("a", b""),
            lambda: files.create("a", b""),
        ):
            with pytest.raises(StoreError, match="no such bucket; check the name, or make the bucket first") as refusal:
                call()
            assert "\n" not in str(refusal.value)

    def test_a_server_that_is_not_there(self, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:secret@127.0.0.1:{port}")
        files = open_files(s3_root)
        started = time.monotonic()
        with pytest.raises(StoreError, match=rf"127\.0\.0\.1:{port} cannot be reached; check the network") as refusal:
            files.read("key")
        assert time.monotonic() - started < 30
        assert "secret" not in str(refusal.value)

    def test_a_server_that_accepts_and_says_nothing(self, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
            started = time.monotonic()
            for call in (lambda files: files.read("key"), lambda files: files.create("key", b"x")):
                with pytest.raises(StoreError, match="does not answer"):
                    call(impatient(s3_root))
            assert time.monotonic() - started < 15

    def test_no_credentials(self, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        with pytest.raises(StoreError, match="no AWS credentials found; set AWS_ACCESS_KEY_ID"):
            open_files(s3_root).list()

    def test_half_of_the_credentials(self, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises((StoreError, InputError), match="AWS_") as refusal:
            open_files(s3_root).list()
        assert "testing" not in str(refusal.value)

    @pytest.mark.parametrize(
        ("status", "code", "line"),
        [
            (403, "AccessDenied", "permission denied; the credentials need s3:ListBucket"),
            (403, "InvalidAccessKeyId", "credentials are not accepted; check AWS_ACCESS_KEY_ID"),
            (403, "SignatureDoesNotMatch", "credentials are not accepted"),
            (400, "ExpiredToken", "have expired; renew them"),
            (501, "NotImplemented", "use one with conditional writes"),
            (503, "SlowDown", "overloaded or failing"),
            (418, "Teapot", "Teapot"),
        ],
    )
    def test_refusals_of_the_server(self, s3_root: str, proxy: Proxy, status: int, code: str, line: str) -> None:
        proxy.answer = status, code
        files = impatient(s3_root)
        for call in (
            lambda: files.write("a", b""),
            lambda: files.read("a"),
            files.list,
            lambda: files.create("a", b""),
        ):
            with pytest.raises(StoreError, match=line) as refusal:
                call()
            assert "\n" not in str(refusal.value)
            assert "testing" not in str(refusal.value)

    @pytest.mark.parametrize(
        ("status", "code", "line"),
        [
            (400, "ExpiredToken", "have expired; renew them"),
            (403, "InvalidAccessKeyId", "credentials are not accepted; check AWS_ACCESS_KEY_ID"),
            (403, "SignatureDoesNotMatch", "credentials are not accepted; check AWS_ACCESS_KEY_ID"),
            (403, "RequestTimeTooSkewed", "this machine's clock is wrong; set it"),
        ],
    )
    def test_credentials_that_were_good_end_with_what_passes(
        self, s3_root: str, proxy: Proxy, status: int, code: str, line: str
    ) -> None:
        files = impatient(s3_root, patience_s=60.0)
        files.write("a", b"before")
        proxy.answer = status, code
        for call in (
            lambda: files.write("a", b""),
            lambda: files.read("a"),
            files.list,
            lambda: files.create("a", b""),
            # Its answer has no body that could say why.
            lambda: files.exists("a"),
        ):
            with pytest.raises(StoreAway, match=line) as refusal:
                call()
            assert str(refusal.value).count("run the same command again") == 1
        proxy.answer = None
        assert files.read("a") == b"before"

    def test_credentials_that_never_were_good_do_not(self, s3_root: str, proxy: Proxy) -> None:
        proxy.answer = 403, "InvalidAccessKeyId"
        files = impatient(s3_root)
        for _ in range(2):
            with pytest.raises(StoreError, match="not accepted") as refusal:
                files.list()
            assert not refusal.value.resumable
        # Those have been good somewhere, whatever this process knows.
        proxy.answer = 400, "ExpiredToken"
        with pytest.raises(StoreAway, match="have expired"):
            files.exists("a")
        # A worker whose driver was let in.
        proxy.answer = 403, "InvalidAccessKeyId"
        with pytest.raises(StoreAway, match="not accepted"):
            open_files(s3_root, known=True).list()

    def test_a_login_that_ends_passes_too(self, s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = '{"Version": 1, "AccessKeyId": "testing", "SecretAccessKey": "testing", "SessionToken": "t", '
        keys += f'"Expiration": "{datetime.now(UTC) + timedelta(seconds=60):%Y-%m-%dT%H:%M:%SZ}"}}'
        (tmp_path / "keys").write_text(keys)
        config = tmp_path / "config"
        config.write_text(f"[profile team]\ncredential_process = cat {tmp_path / 'keys'}\n")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        monkeypatch.setenv("AWS_PROFILE", "team")
        files = impatient(s3_root)
        assert not files.exists("a")
        # They are renewed before they end, which is not possible from now on; past their end there are none.
        (tmp_path / "keys").unlink()
        credentials = files._client._request_signer._credentials
        monkeypatch.setattr(credentials, "_expiry_time", datetime.now(UTC) - timedelta(seconds=1))
        with pytest.raises(StoreAway, match="'team' could not get its credentials; run what .*, then run the same"):
            files.exists("a")

    def test_permission_is_told_where_the_answer_has_no_words(self, s3_root: str, proxy: Proxy) -> None:
        proxy.answer = 403, "AccessDenied"
        with pytest.raises(StoreError, match="permission denied"):
            open_files(s3_root).exists("a")

    def test_a_profile_that_is_not_there(self, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(InputError, match=r"nobody.*check AWS_PROFILE"):
            open_files(s3_root)

    @pytest.mark.parametrize(
        ("environment", "says"),
        [
            ({"AWS_PROFILE": "team"}, "profile 'team' is not logged in, or .*; aws sso login --profile team, and run"),
            ({"AWS_PROFILE": "empty"}, "profile 'empty' holds no credentials; log in: aws sso login --profile empty"),
            ({"AWS_PROFILE": "taem"}, r"have no profile 'taem'; check AWS_PROFILE; did you mean 'team'\?"),
            ({"AWS_PROFILE": "program"}, "profile 'program' could not get its credentials; run what ~/.aws/config"),
            ({"AWS_PROFILE": "loop"}, 'source_profile "nosuch".*; check AWS_PROFILE, AWS_CONFIG_FILE, ~/.aws/config'),
            ({"AWS_ACCESS_KEY_ID": "abc"}, "credentials lack AWS_SECRET_ACCESS_KEY; set it beside the other one"),
            ({}, "no AWS credentials found; set AWS_ACCESS_KEY_ID"),
        ],
        ids=["not logged in", "empty", "misspelt", "program", "loop", "half", "none"],
    )
    def test_advice_is_about_where_the_credentials_come_from(
        self, tmp_path: Path, s3_root: str, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], says: str
    ) -> None:
        config = tmp_path / "config"
        config.write_text(
            "[profile team]\nsso_session = my\nsso_account_id = 1\nsso_role_name = x\n"
            "[sso-session my]\nsso_start_url = https://example.com/start\nsso_region = us-east-1\n"
            "[profile empty]\nregion = us-east-1\n"
            "[profile program]\ncredential_process = sh -c 'echo hidden >&2; exit 1'\n"
            "[profile loop]\nrole_arn = arn:aws:iam::111122223333:role/x\nsource_profile = nosuch\n"
        )
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises((StoreError, InputError), match=says) as refusal:
            open_files(s3_root).list()
        assert "hidden" not in str(refusal.value)

    def test_denied_without_credentials_is_not_answered_with_permissions(
        self, s3_root: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SEPT_S3_ANONYMOUS", "1")
        proxy.answer = 403, "AccessDenied"
        with pytest.raises(StoreError, match="the bucket is not public: unset SEPT_S3_ANONYMOUS"):
            open_files(s3_root).list()

    def test_an_endpoint_that_is_no_address(self, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "user:secret@host")
        with pytest.raises(InputError, match="the endpoint is no address; check AWS_ENDPOINT_URL") as refusal:
            open_files(s3_root)
        assert "secret" not in str(refusal.value)

    @pytest.mark.parametrize(
        "address",
        ["s3://", "s3:///x", "s3://b", "s3://under score!/x", "s3://bucket//x", "s3://bucket/../x", "s3://bucket/.x"],
    )
    def test_addresses_that_cannot_be(self, address: str) -> None:
        with pytest.raises(InputError, match=r"give s3://BUCKET or s3://BUCKET/PREFIX"):
            open_files(address)


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
