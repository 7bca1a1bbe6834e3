"""From good answers to a file: what is asked, kept, resumed and counted."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from chat_server import KEY, NAMES, YARD, Asked, Reply, Run, Server, chat, fail_first, good

from pipeline.neighbors import Prices, Usage, cache, estimate, known_to_model
from pipeline.neighbors.client import ChatClient
from sept_core.datasets import DatasetInfo
from sept_core.errors import InputError
from sept_core.semantic import load_neighbors


def test_good_answers_become_a_file_that_loads_with_one_request_a_class(server: Server, run: Run) -> None:
    outcome = run()
    loaded = load_neighbors("Yard", run.out)
    assert loaded == outcome.neighbors
    assert {name: len(terms) for name, terms in loaded.by_class.items()} == dict.fromkeys(NAMES, 3)
    assert loaded.by_class["rain"] == ("rain aa", "rain ab", "rain ac")
    assert loaded.origin["model"] == "m"
    assert {"date", "prompt", "prompt_version"} <= loaded.origin.keys()
    assert server.classes == Counter(NAMES)
    assert (outcome.dropped, outcome.unusable) == ((), 0)


def test_the_request_asks_for_structured_output_and_names_all_classes(server: Server, run: Run) -> None:
    run(model="gpt-x")
    body = server.asked[0].body
    assert body["model"] == "gpt-x"
    assert body["response_format"]["type"] == "json_schema"
    assert body["response_format"]["json_schema"]["strict"] is True
    assert "Its classes: dog bark, rain, sea waves." in body["messages"][1]["content"]
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_whatever_new_classes_are_called_requests_cache_file_and_what_is_dropped_are_the_same(
    server: Server, run: Run, tmp_path: Path
) -> None:
    # The model happens to name one of them, in first answers and when it is asked again.
    def respond(asked: Asked) -> Reply:
        return chat([f"zebra and {asked.classname}", "a howl", *good(asked, start=20 * (asked.number % 4))[:15]])

    server.respond = respond
    found = []
    for new in (("sea waves", "zebra"), ("surf", "zither")):
        info = known_to_model(replace(YARD, classnames=("dog bark", "rain", *new)), "base-to-new")
        begun = len(server.asked)
        outcome = run(info=info, cache_dir=tmp_path / new[0], out=tmp_path / f"{new[0]}.json", n=18)
        bodies = [asked.body for asked in server.asked[begun:]]
        cached = sorted(path.name for path in (tmp_path / new[0]).glob("*.json"))
        found.append((bodies, cached, outcome.neighbors, outcome.dropped, outcome.path.read_bytes()))
    assert found[0] == found[1]
    assert len(found[0][0]) > 2
    assert found[0][2].written_from == ("dog bark", "rain")
    assert found[0][2].by_class["rain"][0] == "zebra and rain"
    # The rules hold among the two all the same.
    assert "rain: 'a howl' was also offered for 'dog bark'" in map(str, found[0][3])


def test_a_killed_run_goes_on_with_the_classes_that_have_no_answer(server: Server, run: Run) -> None:
    arrived = threading.Event()
    over = threading.Event()

    def respond(asked: Asked) -> Reply:
        if asked.classname == "sea waves" and not over.is_set():
            arrived.set()
            over.wait(60)
        return chat(good(asked))

    server.respond = respond
    program = (
        "import sys; from pathlib import Path; from pipeline.neighbors import generate; "
        "from sept_core.datasets import DatasetInfo; "
        f"generate({YARD!r}, 'm', 3, out=Path({str(run.out)!r}), cache_dir=Path({str(run.cache)!r}), "
        f"base_url={server.url!r}, concurrency=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[3])
    try:
        assert arrived.wait(60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        over.set()
    assert not run.out.exists()
    assert server.classes == Counter(NAMES)
    outcome = run()
    assert server.classes == {"dog bark": 1, "rain": 1, "sea waves": 2}
    assert outcome.usage.answers == 1
    assert load_neighbors("Yard", run.out) == outcome.neighbors


def test_an_interruption_sends_nothing_more_and_keeps_what_comes_in(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = threading.Event()
    stop = ChatClient.stop
    told: list[int] = []

    def interrupted(done: int, total: int, usage: Usage) -> None:
        told.append(usage.answers)
        if len(told) == 1:
            raise KeyboardInterrupt

    def respond(asked: Asked) -> Reply:
        assert asked.number == 0 or stopped.wait(30)
        return chat(good(asked))

    monkeypatch.setattr(ChatClient, "stop", lambda self: (stop(self), stopped.set()))
    server.respond = respond
    with pytest.raises(KeyboardInterrupt):
        run(progress=interrupted)
    assert len(server.asked) in (1, 2)
    assert len(list(run.cache.glob("*.json"))) == len(server.asked) == told[-1]
    assert not run.out.exists()
    run()
    assert len(server.asked) == len(NAMES)


def test_the_cache_serves_a_second_run_without_a_key_and_a_larger_n_asks_only_for_the_rest(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run()
    monkeypatch.delenv("OPENAI_API_KEY")
    run.out.unlink()
    assert run(base_url=None).neighbors.by_class == first.neighbors.by_class
    assert len(server.asked) == len(NAMES)
    server.respond = lambda asked: chat(good(asked, start=100))
    more = run(n=9, force=True)
    assert len(server.asked) == 2 * len(NAMES)
    assert server.asked[-1].count < 9
    assert more.neighbors.by_class["rain"][:3] == first.neighbors.by_class["rain"]


def test_another_model_prompt_or_set_of_classes_has_entries_of_its_own(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    run(model="other", force=True)
    assert len(server.asked) == 6
    wider = DatasetInfo("Yard", "events", (*YARD.classnames, "wind"), "This is {}.", ("test",), "fixed")
    run(info=wider, force=True)
    assert len(server.asked) == 10
    monkeypatch.setattr(cache, "PROMPT_VERSION", "newer")
    run(force=True)
    assert len(server.asked) == 13


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"terms": [1]}', b"\xff"])
def test_a_damaged_entry_of_the_cache_is_asked_for_again(server: Server, run: Run, damage: bytes) -> None:
    run()
    min(run.cache.glob("*.json")).write_bytes(damage)
    run(force=True)
    assert len(server.asked) == len(NAMES) + 1


def test_a_file_that_is_there_is_replaced_only_when_told_so(server: Server, run: Run) -> None:
    run.out.write_text("reviewed by hand")
    with pytest.raises(InputError, match=r"yard\.json' exists; name another file, or replace it with --force"):
        run()
    assert server.asked == []
    run(force=True)
    assert load_neighbors("Yard", run.out).dataset == "Yard"


def test_requests_at_a_time_stay_within_the_bound(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat(good(asked), delay_s=0.1)
    run(concurrency=2)
    assert server.peak == 2


def test_the_estimate_asks_nothing_and_counts_what_the_cache_lacks(server: Server, run: Run) -> None:
    before = estimate(YARD, "m", 3, cache_dir=run.cache)
    assert (before.requests, before.cached) == (3, 0)
    assert before.input_tokens > 300
    assert before.output_tokens > 100
    assert before.cost(Prices(10.0, 100.0)) == pytest.approx(
        (before.input_tokens * 10 + before.output_tokens * 100) / 1e6
    )
    assert before.cost(None) is None
    assert server.asked == []
    run()
    after = estimate(YARD, "m", 3, cache_dir=run.cache)
    assert (after.requests, after.cached, after.input_tokens, after.output_tokens) == (0, 3, 0, 0)


def test_the_cost_is_what_the_server_counted_garbage_included(server: Server, run: Run) -> None:
    server.respond = fail_first(1, chat("garbage", usage=(1000, 7)))
    usage = run().usage
    assert usage == Usage(answers=4, input_tokens=1300, output_tokens=157)
    assert usage.cost(Prices(2.0, 10.0)) == pytest.approx((1300 * 2 + 157 * 10) / 1e6)


def test_a_cost_without_every_count_is_unknown(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat(good(asked), usage=None if asked.number else (1, 1))
    usage = run().usage
    assert (usage.answers, usage.uncounted) == (3, 2)
    assert usage.cost(Prices(2.0, 10.0)) is None
    server.respond = lambda asked: chat(good(asked), usage=(True, -5))
    assert run(force=True, model="n").usage == Usage(answers=3, uncounted=3)
