"""Work on Ray ends within seconds once Ray is lost, in whichever way; Ray's answers are made up, its ports are real."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from pipeline.cluster import liveness
from pipeline.cluster.liveness import RayLost, watched

NODE = "0a"


class FakeRay:
    """What the watch asks Ray, and two ports that take connections."""

    def __init__(self, stack: ExitStack) -> None:
        self.gcs, self.raylet = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        self.alive = True
        self.silent = threading.Event()
        self.asked = 0

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address=f"127.0.0.1:{self.gcs.getsockname()[1]}", get_node_id=lambda: NODE)

    def nodes(self) -> list[dict[str, Any]]:
        self.asked += 1
        if self.silent.is_set():
            time.sleep(60)
        host, port = self.raylet.getsockname()
        own = {"NodeID": NODE, "Alive": self.alive, "NodeManagerAddress": host, "NodeManagerPort": port}
        return [own, own | {"NodeID": "0b", "Alive": False}]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRay]:
    with ExitStack() as stack:
        made = FakeRay(stack)
        for name in ("get_runtime_context", "nodes"):
            monkeypatch.setattr(ray, name, getattr(made, name))
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr(liveness, "_LOOK_S", 0.02)
        monkeypatch.setattr(liveness, "_MOMENT_S", 0.1)
        monkeypatch.setattr(liveness, "_LOST", threading.Event())
        yield made


def lost_with(happens: Callable[[], object]) -> tuple[str, threading.Event]:
    """What is said when this happens while the work waits for Ray for ever."""
    lost, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        happens()
        time.sleep(30)

    started = time.monotonic()
    with pytest.raises(RayLost) as raised:
        watched(work, lost)
    assert time.monotonic() - started < 10
    assert raised.value.resumable
    return str(raised.value), lost


def test_work_that_ends_ends_it_and_what_it_raises_is_raised(fake: FakeRay) -> None:
    done = []
    lost = threading.Event()
    watched(lambda: done.append(1), lost)
    assert done == [1]
    with pytest.raises(ZeroDivisionError):
        watched(lambda: done.append(1 // 0), lost)
    assert not lost.is_set()


@pytest.mark.parametrize("port", ["gcs", "raylet"])
def test_a_process_of_rays_that_is_gone(fake: FakeRay, port: str) -> None:
    said, lost = lost_with(lambda: getattr(fake, port).close())
    what = "the raylet of this node" if port == "raylet" else "Ray's control plane at 127.0.0.1:"
    assert said.startswith(what)
    assert said.endswith(" is gone; every finished step is kept, the same command continues")
    assert lost.is_set()


def test_a_control_plane_that_does_not_answer_any_more(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "_SILENCE_S", 0.3)
    assert "does not answer" in lost_with(fake.silent.set)[0]


def test_a_node_that_ray_takes_for_dead(fake: FakeRay) -> None:
    assert "Ray considers this node dead" in lost_with(lambda: setattr(fake, "alive", False))[0]


def test_a_moment_without_an_answer_is_no_loss(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "_SILENCE_S", 0.3)
    monkeypatch.setattr(liveness, "_REFUSALS", 10**6)

    def work() -> None:
        before = fake.asked
        while fake.asked < before + 20:
            time.sleep(0.01)

    watched(work, threading.Event())


def test_what_work_raises_because_ray_has_gone_is_rays_loss(fake: FakeRay) -> None:
    def work() -> None:
        fake.raylet.close()
        raise RuntimeError("the raylet died")

    with pytest.raises(RayLost, match="the raylet of this node is gone") as raised:
        watched(work, threading.Event())
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_ray_is_asked_nothing_after_the_end(fake: FakeRay) -> None:
    watched(lambda: time.sleep(0.1), threading.Event())
    before = fake.asked
    time.sleep(0.2)
    assert fake.asked == before


def test_a_head_whose_machine_answers_nothing_is_given_up_in_time(
    fake: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_SILENCE_S", 1.0)

    def dropped() -> None:
        # Packets that nobody answers: each attempt to connect takes all the time that it is given.
        monkeypatch.setattr(liveness, "_refused", lambda place: bool(time.sleep(0.4)))
        fake.silent.set()

    began = time.monotonic()
    assert "does not answer" in lost_with(dropped)[0]
    assert time.monotonic() - began < 4


def test_a_signal_stops_the_work_before_ray_is_shut_down(fake: FakeRay) -> None:
    lost, ended = threading.Event(), threading.Event()

    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        lost.wait(10)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        watched(work, lost)
    assert ended.is_set()


def test_a_control_plane_that_is_gone_before_anything_began(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", list)
    with pytest.raises(RayLost, match="Ray went away before it was used"):
        watched(lambda: None, threading.Event())
