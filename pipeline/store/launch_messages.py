"""What a launch and its observers report to each other while it runs; the record of the sweep itself is elsewhere.

    sweeps/<sweep>/progress.json        the driver's view of its running trials: to be shown, never acted on
    sweeps/<sweep>/stop/<token>.json    a request that the launch with this lease stop

Both name a lease by its token, so what a killed launch leaves behind is not mistaken for the next one's, and a request
that comes too late for one launch cannot stop another: nothing reads its key any more.
"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from typing import TypeVar

from pydantic import TypeAdapter

from pipeline.store.open_store import Files
from pipeline.store.processes import TimeMs
from pipeline.store.trials import sweep_key
from sept_core.checked_json import seal, unseal
from sept_core.results import now_ms

__all__ = ["LaunchProgress", "Noticeboard", "StopRequest", "TrialProgress"]

Notice = TypeVar("Notice", "LaunchProgress", "StopRequest")


@dataclass(frozen=True)
class TrialProgress:
    """What the driver knows of a running trial.

    Attributes:
        study, number: Which trial it is.
        begun_ms: When a worker last started it, by the driver's clock like ``heard_ms``; milliseconds since 1970.
        heard_ms: When its worker last reported.
        epoch: Epochs trained at its last report, 0 before the first.
        best: Best validation objective of its reports, percent; None before the first.
    """

    study: str
    number: int
    begun_ms: TimeMs
    heard_ms: TimeMs
    epoch: int
    best: float | None


@dataclass(frozen=True)
class LaunchProgress:
    """The running trials of one launch.

    Attributes:
        token: The launch's lease.
        workers: Trials that it runs at a time; 0 while it does not know yet.
        trials: The running trials.
    """

    token: str
    workers: int
    trials: tuple[TrialProgress, ...]


@dataclass(frozen=True)
class StopRequest:
    """A request that a launch stop.

    Attributes:
        token: The launch's lease.
        host, pid: The process that asks.
        asked_ms: When, milliseconds since 1970.
    """

    token: str
    host: str
    pid: int
    asked_ms: TimeMs


_PROGRESS = TypeAdapter(LaunchProgress)
_STOP = TypeAdapter(StopRequest)


class Noticeboard:
    """The notices of one sweep. A damaged one counts as absent.

    Args:
        files: The store.
        sweep: Name of the sweep.
    """

    def __init__(self, files: Files, sweep: str) -> None:
        self._files = files
        self._sweep = sweep

    def progress(self, token: str) -> LaunchProgress | None:
        """What the launch with this lease last published; None when that is not known."""
        return self._read(self._key("progress.json"), token, _PROGRESS)

    def tell(self, progress: LaunchProgress) -> None:
        """Publish the progress of this launch, in place of what it published before."""
        self._files.write(self._key("progress.json"), seal(asdict(progress)))

    def take_down(self, token: str) -> None:
        """Remove what the launch with this lease has published: none of its trials runs any more."""
        key = self._key("progress.json")
        try:
            published = self._files.read(key)
        except FileNotFoundError:
            return
        if self._parse(published, token, _PROGRESS) is not None:
            self._files.remove(key, published)

    def stop_request(self, token: str) -> StopRequest | None:
        """The request that the launch with this lease stop; None when there is none."""
        return self._read(self._stop_key(token), token, _STOP)

    def ask_to_stop(self, token: str) -> StopRequest:
        """Ask the launch with this lease to stop.

        Returns:
            The request in the store: the first one, if there are several.
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
        """Remove the request to the launch with this lease: it has stopped, or no longer exists."""
        self._files.delete(self._stop_key(token))

    def drop_other_stops(self, token: str) -> None:
        """Remove the requests to all other launches than the one with this lease: those are over."""
        for key in self._files.list(self._key("stop")):
            if key != self._stop_key(token):
                self._files.delete(key)

    def _key(self, name: str) -> str:
        return sweep_key(self._sweep, name)

    def _stop_key(self, token: str) -> str:
        return self._key(f"stop/{token}.json")

    def _read(self, key: str, token: str, form: TypeAdapter[Notice]) -> Notice | None:
        try:
            return self._parse(self._files.read(key), token, form)
        except FileNotFoundError:
            return None

    @staticmethod
    def _parse(data: bytes, token: str, form: TypeAdapter[Notice]) -> Notice | None:
        try:
            content = unseal(data)
            return form.validate_python(content) if content.get("token") == token else None
        except ValueError:
            return None
