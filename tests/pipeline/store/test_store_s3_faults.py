"""What a bad network does to a bucket, and outages: nothing wrong is read, and nothing acknowledged is lost."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from s3_faults import Proxy, seeded
from s3_fixtures import BOTH_SERVERS, SEAWEEDFS
from s3_stores import impatient

from pipeline.doctor.storage import check_store
from pipeline.store import Files, Lease, StoreAway, StoreError, open_files
from sept_core.errors import InputError


@pytest.fixture
def files(s3_root: str) -> Files:
    return open_files(s3_root)


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
