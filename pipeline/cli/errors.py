"""Maps errors to exit codes, with one clear line each.

0: done. 1: something failed that is not the user's fault (or a bug). 2: some input cannot be used.
3: a sweep was stopped on request (`sept sweep stop`); no scheduler should restart it automatically.
75: interrupted, or stopped by a temporary problem; the same command resumes.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from pipeline.text import masked
from sept_core.errors import InputError, SeptError

__all__ = ["EXIT_FAILED", "EXIT_INPUT", "EXIT_RESUMABLE", "EXIT_STOPPED", "guarded", "take_debug"]

EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_STOPPED = 3
EXIT_RESUMABLE = 75  # EX_TEMPFAIL of sysexits.h: try again
_TYPERS_CTRL_C = 130


def guarded(call: Callable[[], object], debug: bool) -> int:
    """Run ``call`` and return the exit code; an exception becomes one line on stderr for each error.

    Args:
        call: The command line.
        debug: Show the traceback too.
    """
    try:
        call()
    except SystemExit as end:
        if end.code == _TYPERS_CTRL_C:
            return _interrupted(debug)
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except InputError as error:
        for one in error.each[:-1]:
            _say(f"error: {one}", EXIT_INPUT, False)
        return _say(f"error: {error.each[-1]}", EXIT_INPUT, debug)
    except SeptError as error:
        return _say(f"error: {error}", EXIT_RESUMABLE if error.resumable else EXIT_FAILED, debug)
    except KeyboardInterrupt:
        return _interrupted(debug)
    except Exception as error:
        line = " ".join(f"{type(error).__name__}: {error}".split())
        hint = "" if debug else " (run again with --debug for the traceback)"
        return _say(f"internal error: {line}{hint}", EXIT_FAILED, debug)
    return 0


def take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without ``--debug``, and whether it was there, at any position."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for at, argument in enumerate(arguments) if argument != "--debug" or at > end]
    return kept, len(kept) < len(arguments)


def _interrupted(debug: bool) -> int:
    # A command that can resume says so itself; any other starts again, without partial results.
    return _say("interrupted; run the same command again", EXIT_RESUMABLE, debug)


def _say(line: str, code: int, debug: bool) -> int:
    if debug:
        print(masked(traceback.format_exc()), end="", file=sys.stderr)  # noqa: T201
    # Input may contain line breaks, or control codes of terminals.
    line = "".join(character if character.isprintable() else repr(character)[1:-1] for character in masked(line))
    print(line, file=sys.stderr)  # noqa: T201 (the one line on stderr is this module's purpose)
    return code
