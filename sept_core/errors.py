"""Errors that the user can act on.

Every error about the user's input says in one line what is wrong, where (file, key, value), and what to do.
The command line prints that line and exits with 2; a traceback is shown only with ``--debug``.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["CollectedInputError", "InputError", "SeptError", "gathered"]


class SeptError(Exception):
    """Base of all errors raised on purpose by this project.

    Attributes:
        resumable: Whether the same command may succeed later, without any change.
    """

    resumable = False


class InputError(SeptError):
    """Some input of the user (a file, a key, a value, a folder) cannot be used.

    Args:
        what: What is wrong, without a final full stop.
        where: The file, key or value; empty if ``what`` names it already.
        fix: What to do about it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        parts = [f"{where}: {what}" if where else what]
        if fix:
            parts.append(fix)
        super().__init__("; ".join(parts))

    @property
    def each(self) -> tuple[InputError, ...]:
        """The individual errors: itself, unless it is a collection."""
        return (self,)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and errors cross process boundaries in Ray.
        return (_rebuild, (self.what, self.where, self.fix))


class CollectedInputError(InputError):
    """Several errors found together, one line each. Its own fields are those of the first.

    Args:
        errors: At least one.
    """

    def __init__(self, errors: Iterable[InputError]) -> None:
        self._each = tuple(one for error in errors for one in error.each)
        first = self._each[0]
        super().__init__(first.what, where=first.where, fix=first.fix)

    @property
    def each(self) -> tuple[InputError, ...]:
        """The errors, in the order in which they were found."""
        return self._each

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self._each)

    def __reduce__(self) -> tuple[object, ...]:
        return (CollectedInputError, (self._each,))


def gathered(errors: Iterable[InputError]) -> InputError:
    """One error for all of these (at least one)."""
    several = CollectedInputError(errors)
    return several if len(several.each) > 1 else several.each[0]


def _rebuild(what: str, where: str, fix: str) -> InputError:
    return InputError(what, where=where, fix=fix)
