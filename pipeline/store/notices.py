"""What a launch and those who watch it tell each other while it runs; the truth about the sweep lies elsewhere.

    sweeps/<sweep>/progress.json        what the driver has heard of its trials in flight: to be shown, never acted on
    sweeps/<sweep>/stop/<token>.json    somebody wants the launch that has this lease to stop

Both name a lease by its token. So what a killed launch leaves behind is not taken for the next one's, and a request
that comes too late for one launch can stop no other: it lies at a key that nobody looks at any more.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from pipeline.store.files import Files
from pipeline.store.trials import sweep_key
from sept_core.documents import seal, time_ms, unseal
from sept_core.results import now_ms

__all__ = ["LaunchProgress", "Noticeboard", "StopRequest", "TrialProgress"]

Notice = TypeVar("Notice")


@dataclass(frozen=True)
class TrialProgress:
    """What the driver has heard of a trial in flight.

    Attributes:
        study, number: Which trial it is.
        begun_ms: When a worker last began with it, by the driver's clock like ``heard_ms``; milliseconds since 1970.
        heard_ms: When its worker was last heard of.
        epoch: Epochs trained at its last report, 0 before the first.
        best: Best validation objective of its reports, percent; None before the first.
    """

    study: str
    number: int
    begun_ms: int
    heard_ms: int
    epoch: int
    best: float | None


@dataclass(frozen=True)
class LaunchProgress:
    """The trials in flight of one launch.

    Attributes:
        token: The launch's lease.
        workers: Trials that it runs at a time; 0 while it does not know yet.
    """

    token: str
    workers: int
    trials: tuple[TrialProgress, ...]

    @classmethod
    def from_json(cls, data: Any) -> LaunchProgress:
        """Back from plain values.

        Raises:
            ValueError: Damaged.
        """
        try:
            trials = tuple(
                TrialProgress(
                    study=str(one["study"]),
                    number=int(one["number"]),
                    begun_ms=time_ms(one["begun_ms"]),
                    heard_ms=time_ms(one["heard_ms"]),
                    epoch=int(one["epoch"]),
                    best=None if one["best"] is None else float(one["best"]),
                )
                for one in data["trials"]
            )
            return cls(str(data["token"]), int(data["workers"]), trials)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the progress of a launch: {error}") from error


@dataclass(frozen=True)
class StopRequest:
    """Somebody's wish that a launch stop.

    Attributes:
        token: The launch's lease.
        host, pid: The process that asks.
        asked_ms: When, milliseconds since 1970.
    """

    token: str
    host: str
    pid: int
    asked_ms: int

    @classmethod
    def from_json(cls, data: Any) -> StopRequest:
        """Back from plain values.

        Raises:
            ValueError: Damaged.
        """
        try:
            return cls(str(data["token"]), str(data["host"]), int(data["pid"]), time_ms(data["asked_ms"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a request to stop: {error}") from error


class Noticeboard:
    """The notices of one sweep. What is damaged is treated as not there.

    Args:
        files: The store.
        sweep: Name of the sweep.
    """

    def __init__(self, files: Files, sweep: str) -> None:
        self._files = files
        self._sweep = sweep

    def progress(self, token: str) -> LaunchProgress | None:
        """What the launch with this lease last told; None when that is not known."""
        return self._read(self._key("progress.json"), token, LaunchProgress.from_json)

    def tell(self, progress: LaunchProgress) -> None:
        """Tell how far the own launch is, in place of what was told before."""
        self._files.write(self._key("progress.json"), seal(asdict(progress)))

    def take_down(self, token: str) -> None:
        """Remove what the launch with this lease has told: nothing of it is in flight any more."""
        key = self._key("progress.json")
        try:
            told = self._files.read(key)
        except FileNotFoundError:
            return
        if self._parse(told, token, LaunchProgress.from_json) is not None:
            self._files.remove(key, told)

    def stop_request(self, token: str) -> StopRequest | None:
        """Who wants the launch with this lease to stop; None when nobody does."""
        return self._read(self._stop_key(token), token, StopRequest.from_json)

    def ask_to_stop(self, token: str) -> StopRequest:
        """Ask the launch with this lease to stop.

        Returns:
            The request that stands: of several the first.
        """
        request = StopRequest(token, platform.node(), os.getpid(), now_ms())
        key, data = self._stop_key(token), seal(asdict(request))
        if not self._files.create(key, data):
            standing = self.stop_request(token)
            if standing is not None:
                return standing
            self._files.write(key, data)
        return request

    def drop_stop(self, token: str) -> None:
        """Remove the request to the launch with this lease: it has obeyed, or exists no more."""
        self._files.delete(self._stop_key(token))

    def drop_other_stops(self, token: str) -> None:
        """Remove the requests to all launches but the one with this lease, which are over."""
        for key in self._files.list(self._key("stop")):
            if key != self._stop_key(token):
                self._files.delete(key)

    def _key(self, name: str) -> str:
        return sweep_key(self._sweep, name)

    def _stop_key(self, token: str) -> str:
        return self._key(f"stop/{token}.json")

    def _read(self, key: str, token: str, parse: Callable[[Any], Notice]) -> Notice | None:
        try:
            return self._parse(self._files.read(key), token, parse)
        except FileNotFoundError:
            return None

    @staticmethod
    def _parse(data: bytes, token: str, parse: Callable[[Any], Notice]) -> Notice | None:
        try:
            content = unseal(data)
            return parse(content) if content.get("token") == token else None
        except ValueError:
            return None
