"""Watches Ray while a command works on it: a command that has lost Ray ends within seconds, and can be run again.

By itself, Ray ends a process 60 s after its control plane (``gcs_server``, on the head) is gone, with exit code 1 and
without closing anything; a process whose own node's ``raylet`` is gone waits forever. Checked with Ray 2.60.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from sept_core.errors import SeptError

__all__ = ["RayLost", "ray_is_lost", "watched"]

# Seconds between two looks.
_LOOK_S = 1.0
# A process of Ray's that refuses connections for this many looks in a row is gone.
_REFUSALS = 5
# Seconds without an answer of the control plane. One look counts for a few of them at most: a process that was
# suspended has not looked.
_SILENCE_S, _LONGEST_LOOK_S = 45.0, 3.0
# Seconds for the work to notice.
_MOMENT_S = 2.0
_LOST = threading.Event()


class RayLost(SeptError):  # noqa: N818 (it names a state, like BlockingIOError)
    """The Ray that a command runs on is gone; it cannot even be shut down in order."""

    resumable = True


def watched(work: Callable[[], None], lost: threading.Event) -> None:
    """Do work on the Ray that this process is connected to, in a separate thread, until it ends or Ray is lost.

    The calling thread only watches, so that it can continue even if a call to Ray does not return.

    Args:
        work: What to do. Once Ray is lost it is abandoned where it is: it must not decide anything any more.
        lost: Set as soon as Ray is lost, or something is raised here, such as KeyboardInterrupt.

    Raises:
        RayLost: Ray's control plane, or this node's part of it, is gone or silent.
    """
    failure: list[BaseException] = []
    # Not `Thread.is_alive`: Python takes a thread for ended once a signal has interrupted a wait for it.
    done = threading.Event()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # raised again below
            failure.append(error)
        finally:
            done.set()

    try:
        watch = _Watch()
    except Exception as error:
        raise _lost("Ray went away before it was used") from error
    try:
        threading.Thread(target=run, name="work-on-ray", daemon=True).start()
        began = time.monotonic()
        while not done.wait(_LOOK_S):
            why = watch.look(began)
            if why:
                raise _lost(why)
            began = time.monotonic()
        # An error that the work raises because Ray is gone is only a consequence.
        if failure and (why := watch.refused()):
            raise _lost(why) from failure[0]
    except BaseException:
        # Also if a signal ends the command: Ray must not be shut down under work that continues.
        lost.set()
        done.wait(_MOMENT_S)
        raise
    finally:
        watch.close()
    if failure:
        raise failure[0]


def ray_is_lost() -> bool:
    """Whether this process was connected to a Ray that is gone; then only `os._exit` ends it, bypassing Ray."""
    return _LOST.is_set()


def _lost(why: str) -> RayLost:
    _LOST.set()
    return RayLost(f"{why}; every finished step is kept, the same command continues")


class _Watch:
    """Whether the Ray that this process is connected to is alive: its processes listen, and its head answers."""

    def __init__(self) -> None:
        import ray

        context = ray.get_runtime_context()
        self._node = context.get_node_id()
        own = {node["NodeID"]: node for node in ray.nodes()}[self._node]
        self._places = {
            f"Ray's control plane at {context.gcs_address}": _place(context.gcs_address),
            "the raylet of this node": (str(own["NodeManagerAddress"]), int(own["NodeManagerPort"])),
        }
        self._refusals = dict.fromkeys(self._places, 0)
        self._silent_s = 0.0
        self._answered = False
        self._excluded = False
        self._calling = threading.Lock()
        self._closing = threading.Event()
        threading.Thread(target=self._ask, name="ask-ray", daemon=True).start()

    def look(self, began: float) -> str:
        """What is lost; empty while nothing is. Call it once a second.

        Args:
            began: Start of the time that this look covers, on the monotonic clock.
        """
        for name, place in self._places.items():
            self._refusals[name] = self._refusals[name] + 1 if _refused(place) else 0
            if self._refusals[name] >= _REFUSALS:
                return f"{name} is gone"
        passed = min(time.monotonic() - began, _LONGEST_LOOK_S)
        self._silent_s = 0.0 if self._answered else self._silent_s + passed
        self._answered = False
        if self._silent_s >= _SILENCE_S:
            return f"{next(iter(self._places))} does not answer"
        return "Ray considers this node dead" if self._excluded else ""

    def refused(self) -> str:
        """What refuses connections at this moment; empty if nothing does."""
        return next((f"{name} is gone" for name, place in self._places.items() if _refused(place)), "")

    def close(self) -> None:
        """Stop asking: a call after Ray's end would start another Ray."""
        self._closing.set()
        if self._calling.acquire(timeout=_MOMENT_S):
            self._calling.release()

    def _ask(self) -> None:
        import ray

        while not self._closing.wait(_LOOK_S):
            with self._calling, suppress(Exception):
                if self._closing.is_set() or not ray.is_initialized():
                    return
                nodes = ray.nodes()
                self._excluded = not any(node["Alive"] for node in nodes if node["NodeID"] == self._node)
                self._answered = True


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _refused(place: tuple[str, int]) -> bool:
    """Whether nothing listens there. A machine that does not answer at all may be slow; the control plane knows."""
    try:
        socket.create_connection(place, timeout=_LOOK_S).close()
    except OSError as error:
        return isinstance(error, ConnectionError)
    return False
