"""What a check is, and how its time is limited."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.text import masked, one_line
from sept_core.errors import InputError, SeptError

__all__ = ["Check", "Status", "Subject", "examined", "failed"]

Status = Literal["green", "yellow", "red"]


@dataclass(frozen=True)
class Check:
    """One finding; secrets in its texts are masked.

    Attributes:
        name: What was checked.
        status: ``green``: works. ``yellow``: works, but may not be as intended. ``red``: a sweep would fail.
        said: What was found, in one line.
        fix: A command, or what to do; empty if there is nothing to fix.
    """

    name: str
    status: Status
    said: str
    fix: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "said", masked(self.said))
        object.__setattr__(self, "fix", masked(self.fix))


@dataclass(frozen=True)
class Subject:
    """Checks that belong together.

    Attributes:
        name: Their subject; also the name of the finding if they fail or time out.
        seconds: How long they may take together.
        check: Runs them.
        fix: What to do if they take longer.
    """

    name: str
    seconds: float
    check: Callable[[], Sequence[Check]]
    fix: str


def examined(subject: Subject) -> Sequence[Check]:
    """The findings of a subject; an exception and a time-out are findings too."""
    found: list[Sequence[Check]] = []

    def run() -> None:
        try:
            found.append(subject.check())
        except Exception as error:
            found.append([failed(subject.name, error, subject.fix)])

    # A daemon: a call that hangs (on a network drive, for example) must not keep the process from ending.
    thread = threading.Thread(target=run, name=f"doctor-{subject.name}", daemon=True)
    began = time.monotonic()
    thread.start()
    thread.join(subject.seconds)
    if found:
        return found[0]
    waited = time.monotonic() - began
    return [Check(subject.name, "red", f"no answer within {waited:.0f} s", subject.fix)]


def failed(name: str, error: Exception, fix: str) -> Check:
    """An exception as a finding."""
    if isinstance(error, InputError):
        where = f"{error.where}: " if error.where else ""
        return Check(name, "red", one_line(where + error.what), masked(error.fix) or fix)
    if isinstance(error, SeptError):
        what, _, own = str(error).partition("; ")
        return Check(name, "red", one_line(what), masked(own) or fix)
    return Check(name, "red", one_line(f"{type(error).__name__}: {error}"), fix)
