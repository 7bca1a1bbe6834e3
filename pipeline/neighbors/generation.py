"""Asks for the neighbours of every class, filters them, asks again for missing ones, and writes complete lists."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipeline.neighbors.cache import AnswerCache
from pipeline.neighbors.client import ChatClient, Notice, StoppedError
from pipeline.neighbors.cost import ROUNDS, SPARE, Usage, check_count, offered_so_far
from pipeline.neighbors.prompt import PROMPT_VERSION, messages, prompt_text
from pipeline.neighbors.reply import Unusable
from pipeline.neighbors.terms import Dropped, Sorted, sort_out
from pipeline.store import LocalFiles
from sept_core.datasets import DatasetInfo, prompt_name
from sept_core.errors import InputError, SeptError
from sept_core.semantic.neighbors import Neighbors, check_neighbors

__all__ = ["Outcome", "RoundProgress", "generate"]

# After this many answers that are all unusable for the same reason, no other answer will be usable either.
ENOUGH = 5

RoundProgress = Callable[[int, int, Usage], None]
"""Called with (classes that have an answer, classes in all, tokens so far) after every answer."""


@dataclass(frozen=True)
class Outcome:
    """A complete list for every class, and how it was made.

    Args:
        neighbors: The lists, as written.
        path: The file.
        usage: The tokens of this run; answers of earlier runs came from the cache.
        dropped: Terms that the model offered, in all runs, and that are in no list.
        reasons: How many answers of this run had no terms, by the reason.
    """

    neighbors: Neighbors
    path: Path
    usage: Usage
    dropped: tuple[Dropped, ...]
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def unusable(self) -> int:
        """How many answers of this run had no terms."""
        return sum(self.reasons.values())


def generate(
    info: DatasetInfo,
    model: str,
    n: int,
    *,
    out: Path,
    cache_dir: Path,
    base_url: str | None = None,
    concurrency: int = 4,
    timeout_s: float = 60.0,
    max_tokens: int | None = None,
    force: bool = False,
    progress: RoundProgress | None = None,
    notice: Notice | None = None,
) -> Outcome:
    """Generate the neighbours of a data set; after an interruption, run it again to resume.

    It sends one request per class, and asks again for classes that still lack terms, up to `ROUNDS` times in all. To
    avoid useless requests it stops if all answers of the first round (or its first five) are unusable for the same
    reason, and does not ask a third time for a class whose answers are unusable twice for the same reason. The API key
    is read from the environment variable ``OPENAI_API_KEY`` and stored nowhere.

    Args:
        info: The data set, with the classes that the model may know (`known_to_model`): all requests, checks and lists
            are about these.
        model: Name of the model, as the server calls it.
        n: Terms per class.
        out: The JSON file to write, in the form that `sept_core.semantic.load_neighbors` reads.
        cache_dir: Folder of the answers; each is stored when it arrives.
        base_url: An OpenAI-compatible server; None for OpenAI's own.
        concurrency: Number of requests at a time.
        timeout_s: How long to wait for an answer, in seconds.
        max_tokens: Longest answer, in tokens; None for the server's own limit.
        force: Whether to replace an existing file.
        progress: Called after every answer.
        notice: Called with the reason for a long wait: a busy or broken server, or outstanding answers after Ctrl-C.

    Raises:
        InputError: An argument cannot be used, ``out`` exists, or the server refuses the key or the model.
        SeptError: The server fails, its answers cannot be used, or the lists are incomplete after all rounds; the cache
            keeps all answers.
    """
    check_count(n)
    _check_out(out, force)
    cache = AnswerCache(cache_dir, model, info)
    offered = dict(offered_so_far(info, cache))
    state = sort_out(info, offered, n)
    usage, unusable = Usage(), _Unusables()
    if state.missing:
        client = ChatClient(model, base_url, timeout_s=timeout_s, max_tokens=max_tokens, notice=notice)
        asker = _Asker(info, client, cache, concurrency, progress or _silent, notice or _deaf)
        for number in range(ROUNDS):
            wanted = {name: count for name, count in state.missing.items() if name not in unusable.given_up}
            answers = asker.ask(wanted, offered, first=number == 0)
            unusable.add(answers)
            offered |= {name: terms for name, terms in answers.items() if not isinstance(terms, Unusable)}
            if number == 0 and (why := _one_reason(answers)):
                raise SeptError(f"{client.host}: {_hopeless(answers, why, len(state.missing))}")
            state = sort_out(info, offered, n)
            if not state.missing.keys() - unusable.given_up:
                break
        usage = client.usage
    if state.missing:
        raise SeptError(_incomplete(state, n, unusable))
    known = tuple(sorted(map(prompt_name, info.classnames)))
    neighbors = Neighbors(info.name, state.by_class, _origin(info, model, n), known)
    if broken := check_neighbors(neighbors, info.classnames):
        raise SeptError(f"the lists break a rule that each term alone follows: {broken[0]}")
    _write(neighbors, out)
    return Outcome(neighbors, out, usage, state.dropped, dict(unusable.reasons))


class _Unusables:
    """The unusable answers of a run: how many for each reason, each class's last one, and the classes to give up."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.last: dict[str, Unusable] = {}
        self.given_up: set[str] = set()

    def add(self, answers: Mapping[str, list[str] | Unusable]) -> None:
        for name, answer in answers.items():
            before = self.last.pop(name, None)
            if isinstance(answer, Unusable):
                self.reasons[answer.reason] += 1
                self.last[name] = answer
                if before is not None and before.reason == answer.reason:
                    self.given_up.add(name)


class _Asker:
    """Asks for several classes at once and caches every answer when it arrives."""

    def __init__(
        self,
        info: DatasetInfo,
        client: ChatClient,
        cache: AnswerCache,
        concurrency: int,
        progress: RoundProgress,
        notice: Notice,
    ) -> None:
        self._info = info
        self._client = client
        self._cache = cache
        self._concurrency = concurrency
        self._progress = progress
        self._notice = notice

    def ask(
        self, missing: Mapping[str, int], offered: Mapping[str, Sequence[str]], *, first: bool
    ) -> dict[str, list[str] | Unusable]:
        """All terms offered for each class of ``missing`` so far, the newest last, or why its answer has none.

        In the first round, classes that there is no point in asking for have no answer.
        """
        total = len(self._info.classnames)
        answers: dict[str, list[str] | Unusable] = {}
        with ThreadPoolExecutor(self._concurrency) as pool:
            futures: dict[Future[list[str] | Unusable], str] = {
                pool.submit(self._one, name, count, list(offered[name])): name for name, count in missing.items()
            }
            try:
                for future in as_completed(futures):
                    try:
                        answers[futures[future]] = future.result()
                    except (StoppedError, CancelledError):
                        continue  # stopped by another request's failure, which is the one to raise, or pointless
                    self._progress(total - len(missing) + len(answers), total, self._client.usage)
                    if first and len(answers) >= ENOUGH and _one_reason(answers):
                        for waiting in futures:
                            waiting.cancel()
            except BaseException as error:
                # Answers in progress still arrive and are cached; nothing else is sent.
                self._client.stop()
                if isinstance(error, KeyboardInterrupt):
                    self._notice("Stopping; waiting for the answers in progress, since they are paid for")
                pool.shutdown(wait=True, cancel_futures=True)
                self._progress(total - len(missing) + len(answers), total, self._client.usage)
                raise
        return answers

    def _one(self, name: str, count: int, given: list[str]) -> list[str] | Unusable:
        terms = self._client.ask(messages(self._info, name, count + SPARE, given))
        if isinstance(terms, Unusable):
            return terms
        self._cache.write(name, [*given, *terms])
        return [*given, *terms]


def _one_reason(answers: Mapping[str, list[str] | Unusable]) -> Unusable | None:
    """The first answer if all are unusable for the same reason, else None."""
    unusable = [answer for answer in answers.values() if isinstance(answer, Unusable)]
    one = len(unusable) == len(answers) and len({answer.reason for answer in unusable}) == 1
    return unusable[0] if one else None


def _hopeless(answers: Mapping[str, object], why: Unusable, asked: int) -> str:
    if len(answers) == 1:
        return f"class '{next(iter(answers))}': {why}; {why.fix}"
    which = f"none of {len(answers)} answers can be used"
    rest = ", so no more were asked for" if asked > len(answers) else ""
    return f"{which}{rest}: {why}; {why.fix}"


def _silent(done: int, total: int, usage: Usage) -> None:
    del done, total, usage


def _deaf(line: str) -> None:
    del line


def _check_out(out: Path, force: bool) -> None:
    if out.name.startswith(".") or not out.name or out.is_dir():
        raise InputError(f"'{out}' cannot be written", where="--out", fix="name a file that is not hidden")
    if out.exists() and not force:
        # It may have been reviewed and corrected by hand.
        raise InputError(f"'{out}' exists", where="--out", fix="name another file, or replace it with --force")


def _incomplete(state: Sorted, n: int, unusable: _Unusables) -> str:
    # A class with unusable answers explains more than one that lacks a term or two.
    name, lacking = max(state.missing.items(), key=lambda item: (item[0] in unusable.last, item[1]))
    others = f" and {len(state.missing) - 1} other classes" if len(state.missing) > 1 else ""
    if why := unusable.last.get(name):
        times = f", {unusable.reasons[why.reason]} answers" if unusable.reasons[why.reason] > 1 else ""
        why_not = f" ({why}{times}); {why.fix}; terms so far are kept"
        return f"class '{name}'{others}: {lacking} of {n} neighbours still missing{why_not}"
    reasons = [line for line in state.dropped if line.classname == name]
    examples = f" (dropped: {'; '.join(f'{line.term!r} {line.reason}' for line in reasons[:3])})" if reasons else ""
    return (
        f"class '{name}'{others}: {lacking} of {n} neighbours still missing after all rounds{examples}; "
        "run the same command again (terms so far are kept), lower --n or use another model"
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
    text = json.dumps(neighbors.to_json(), indent=2) + "\n"
    LocalFiles(out.absolute().parent).write(out.name, text.encode("ascii"))
