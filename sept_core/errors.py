"""Errors that a person can act on.

Every error that is somebody's input says what was wrong, where (file, key, value) and what to do, in one line.
The command line prints that line and exits with 2; a traceback is shown only with ``--debug``.
"""

from __future__ import annotations

__all__ = ["InputError", "SeptError"]


class SeptError(Exception):
    """Base of all errors raised on purpose by this project.

    Attributes:
        resumable: Whether the same may well succeed later, without anything being mended.
    """

    resumable = False


class InputError(SeptError):
    """Something a person gave (a file, a key, a value, a folder) cannot be used.

    Args:
        what: What is wrong, without a final full stop.
        where: File, key or value that it is about; empty where ``what`` names it already.
        mend: What to do about it.
    """

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what = what
        self.where = where
        self.mend = mend
        parts = [f"{where}: {what}" if where else what]
        if mend:
            parts.append(mend)
        super().__init__("; ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and errors cross process boundaries in Ray.
        return (_rebuild, (self.what, self.where, self.mend))


def _rebuild(what: str, where: str, mend: str) -> InputError:
    return InputError(what, where=where, mend=mend)
