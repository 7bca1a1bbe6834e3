"""Ask for the neighbours of every class, sort them out, ask again for what is missing, write them when complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.neighbors.cache import AnswerCache
from pipeline.neighbors.client import ChatClient, Notice, StoppedError
from pipeline.neighbors.cost import SPARE, Usage, check_count, offered_so_far
from pipeline.neighbors.prompt import PROMPT_VERSION, messages, prompt_text
from pipeline.neighbors.terms import Dropped, Sorted, read_terms, sort_out
from pipeline.store import LocalFiles
from sept_core.datasets import DatasetInfo
from sept_core.errors import InputError, SeptError
from sept_core.semantic.neighbors import Neighbors, check_neighbors

__all__ = ["Outcome", "Progress", "generate"]

Progress = Callable[[int, int, Usage], None]
"""Called with (classes that have an answer, classes in all, what was consumed so far) after every answer."""


@dataclass(frozen=True)
class Outcome:
    """A complete list for every class, and how it came about.

    Args:
        neighbors: The lists, as written.
        path: The file.
        usage: What this run consumed; answers of earlier runs came from the cache.
        dropped: What the model offered, in all runs, and no list has.
        unusable: How many answers of this run held no terms.
    """

    neighbors: Neighbors
    path: Path
    usage: Usage
    dropped: tuple[Dropped, ...]
    unusable: int


def generate(
    info: DatasetInfo,
    model: str,
    n: int,
    *,
    out: Path,
    cache_dir: Path,
    base_url: str | None = None,
    concurrency: int = 4,
    rounds: int = 4,
    retries: int = 5,
    timeout_s: float = 60.0,
    force: bool = False,
    progress: Progress | None = None,
    pause: Callable[[float], object] | None = None,
    notice: Notice | None = None,
) -> Outcome:
    """Generate the neighbours of a data set; run again after an interruption, it goes on where it was.

    One request per class; classes whose answers leave terms missing are asked again, up to ``rounds`` times in all.
    The API key is taken from the environment variable ``OPENAI_API_KEY`` and kept nowhere.

    Args:
        info: The data set.
        model: Name of the model, as the server calls it.
        n: Terms per class.
        out: The JSON file to write, in the form that `sept_core.semantic.load_neighbors` reads.
        cache_dir: Folder of the answers; they are kept as they come in.
        base_url: An OpenAI-compatible server; None for OpenAI's own.
        concurrency: Requests at a time.
        rounds: How often a class is asked for at most.
        retries: How often a request is sent again to a server that is busy or broken.
        timeout_s: How long an answer may take, in seconds.
        force: Replace the file where it exists.
        progress: Told after every answer.
        pause: Waits that many seconds between two tries; None for a wait that an interruption ends.
        notice: Told why a wait takes long: a server that is busy or broken, or answers to come after an interruption.

    Raises:
        InputError: An argument cannot be used, ``out`` exists, or the server refuses the key or the model.
        SeptError: The server fails, or the lists are incomplete after all rounds; the cache keeps what there is.
    """
    check_count(n)
    _check_out(out, force)
    cache = AnswerCache(cache_dir, model, info)
    offered = dict(offered_so_far(info, cache))
    state = sort_out(info, offered, n)
    usage, unusable = Usage(), 0
    if state.missing:
        client = ChatClient(model, base_url, timeout_s=timeout_s, retries=retries, pause=pause, notice=notice)
        asker = _Asker(info, client, cache, concurrency, progress or _silent, notice or _deaf)
        for _ in range(rounds):
            answers = asker.ask(state.missing, offered)
            unusable += sum(terms is None for terms in answers.values())
            offered |= {name: terms for name, terms in answers.items() if terms is not None}
            state = sort_out(info, offered, n)
            if not state.missing:
                break
        usage = client.usage
    if state.missing:
        raise SeptError(_incomplete(state, n, unusable))
    neighbors = Neighbors(info.name, state.by_class, _origin(info, model, n))
    if broken := check_neighbors(neighbors, info.classnames):
        raise SeptError(f"the lists break a rule that the terms kept one by one: {broken[0]}")
    _write(neighbors, out)
    return Outcome(neighbors, out, usage, state.dropped, unusable)


class _Asker:
    """Asks for several classes at once and keeps every answer in the cache as soon as it is there."""

    def __init__(
        self,
        info: DatasetInfo,
        client: ChatClient,
        cache: AnswerCache,
        concurrency: int,
        progress: Progress,
        notice: Notice,
    ) -> None:
        self._info = info
        self._client = client
        self._cache = cache
        self._concurrency = concurrency
        self._progress = progress
        self._notice = notice

    def ask(self, missing: Mapping[str, int], offered: Mapping[str, Sequence[str]]) -> dict[str, list[str] | None]:
        """All terms offered for each class of ``missing`` so far, this answer's last; None for an unusable answer."""
        total = len(self._info.classnames)
        answers: dict[str, list[str] | None] = {}
        with ThreadPoolExecutor(self._concurrency) as pool:
            futures = {
                pool.submit(self._one, name, count, list(offered[name])): name for name, count in missing.items()
            }
            try:
                for future in as_completed(futures):
                    try:
                        answers[futures[future]] = future.result()
                    except StoppedError:
                        continue  # by the failure of another one, which is the one to raise
                    self._progress(total - len(missing) + len(answers), total, self._client.usage)
            except BaseException as error:
                # What is on its way still comes in and is kept; nothing else is sent.
                self._client.stop()
                if isinstance(error, KeyboardInterrupt):
                    self._notice("Stopping; waiting for the answers that are on their way, since they are paid for")
                pool.shutdown(wait=True, cancel_futures=True)
                self._progress(total - len(missing) + len(answers), total, self._client.usage)
                raise
        return answers

    def _one(self, name: str, count: int, given: list[str]) -> list[str] | None:
        terms = read_terms(self._client.ask(messages(self._info, name, count + SPARE, given)))
        if terms is None:
            return None
        self._cache.write(name, [*given, *terms])
        return [*given, *terms]


def _silent(done: int, total: int, usage: Usage) -> None:
    del done, total, usage


def _deaf(line: str) -> None:
    del line


def _check_out(out: Path, force: bool) -> None:
    if out.name.startswith(".") or not out.name or out.is_dir():
        raise InputError(f"'{out}' cannot be written", where="--out", mend="name a file that is not hidden")
    if out.exists() and not force:
        # It may have been reviewed and corrected by hand.
        raise InputError(f"'{out}' exists", where="--out", mend="name another file, or replace it with --force")


def _incomplete(state: Sorted, n: int, unusable: int) -> str:
    name, lacking = max(state.missing.items(), key=lambda item: item[1])
    reasons = [line for line in state.dropped if line.classname == name]
    examples = f" (dropped: {'; '.join(f'{line.term!r} {line.reason}' for line in reasons[:3])})" if reasons else ""
    others = f" and {len(state.missing) - 1} other classes" if len(state.missing) > 1 else ""
    garbage = f"; {unusable} answers held no terms" if unusable else ""
    return (
        f"class '{name}'{others}: {lacking} of {n} neighbours still missing after all rounds{examples}{garbage}; "
        "run the same command again (terms so far are kept), lower --n or take another model"
    )


def _origin(info: DatasetInfo, model: str, n: int) -> dict[str, str]:
    return {
        "model": model,
        "date": datetime.now(UTC).date().isoformat(),
        "prompt": prompt_text(info, "CLASS", n + SPARE),
        "prompt_version": PROMPT_VERSION,
        "note": "Not reviewed by a person yet.",
    }


def _write(neighbors: Neighbors, out: Path) -> None:
    document = {"dataset": neighbors.dataset, "origin": neighbors.origin, "neighbors": neighbors.by_class}
    text = json.dumps(document, indent=2) + "\n"
    LocalFiles(out.absolute().parent).write(out.name, text.encode("ascii"))
