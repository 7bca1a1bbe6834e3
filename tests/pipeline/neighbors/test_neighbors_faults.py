"""Servers that are busy, broken, slow or answer rubbish."""

from __future__ import annotations

import json
import re
import time
from email.utils import formatdate

import pytest
from chat_server import NAMES, Asked, Reply, Run, Server, chat, fail_first, fault, good

from sept_core.errors import SeptError


@pytest.mark.parametrize(("knows", "tries"), [({"json_object"}, 2), (set(), 3)])
def test_a_server_that_refuses_structured_output_is_asked_without_it_and_only_once(
    server: Server, run: Run, knows: set[str], tries: int
) -> None:
    def respond(asked: Asked) -> Reply:
        form = asked.body.get("response_format")
        if form is not None and form["type"] not in knows:
            return fault(400, "response_format is not supported")
        return chat(f"Here you are:\n```json\n{json.dumps({'terms': good(asked)})}\n```")

    server.respond = respond
    run()
    assert run.out.exists()
    assert len(server.asked) == len(NAMES) + tries - 1
    assert run.pauses == []


def test_a_request_that_is_refused_in_every_form_is_reported_and_not_repeated(server: Server, run: Run) -> None:
    server.respond = lambda asked: fault(400, "no such thing")
    with pytest.raises(SeptError, match=r"127\.0\.0\.1:\d+: 400 .*no such thing"):
        run()
    assert len(server.asked) == 3


def test_the_wait_that_a_rate_limit_asks_for_is_kept(server: Server, run: Run) -> None:
    server.respond = fail_first(2, fault(429, "slow down", {"retry-after": "7"}))
    run()
    assert run.pauses == [7.0, 7.0]
    assert run.out.exists()


def test_a_rate_limit_may_name_a_date(server: Server, run: Run) -> None:
    server.respond = fail_first(1, fault(429, "slow down", {"retry-after": formatdate(time.time() + 20, usegmt=True)}))
    run()
    assert len(run.pauses) == 1
    assert 15 < run.pauses[0] <= 20


@pytest.mark.parametrize("failure", [fault(429), fault(500), fault(503, headers={"retry-after": "soon"})])
def test_without_a_named_wait_the_waits_grow(server: Server, run: Run, failure: Reply) -> None:
    server.respond = fail_first(4, failure)
    run()
    assert len(run.pauses) == 4
    for number, pause in enumerate(run.pauses):
        assert 0.75 * 2**number <= pause <= 2**number


def test_an_answer_that_breaks_off_in_the_middle_is_asked_for_again(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat(good(asked), cut=asked.number < 2)
    outcome = run()
    assert len(run.pauses) == 2
    assert outcome.usage.answers == 3


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat(good(asked), delay_s=2.0 if asked.number == 0 else 0.0)
    run(timeout_s=0.3)
    assert len(run.pauses) == 1
    assert run.out.exists()


def test_an_answer_that_drips_in_is_not_waited_for_beyond_the_time_out(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat(good(asked), drip_s=0.05)
    started = time.monotonic()
    with pytest.raises(SeptError, match=r"127\.0\.0\.1:\d+: no complete answer in 0\.3 s; gave up after 2 tries"):
        run(timeout_s=0.3, retries=1)
    # An answer would take more than ten seconds to come in whole.
    assert time.monotonic() - started < 5


def test_an_answer_without_an_end_is_not_read_to_the_end(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.neighbors.client.MAX_ANSWER_BYTES", 10_000)
    server.respond = lambda asked: Reply(" " * 1_000_000)
    with pytest.raises(SeptError, match="the answer has no end; gave up after 1 tries"):
        run(retries=0)


def test_why_a_request_is_sent_again_is_told_once_for_each_reason(server: Server, run: Run) -> None:
    told: list[str] = []
    server.respond = lambda asked: chat(good(asked)) if asked.number % 3 == 2 else fault(429 + 74 * (asked.number % 3))
    run(notice=told.append)
    host = server.url.removeprefix("http://").removesuffix("/v1")
    assert told == [f"{host}: 429 no; trying again", f"{host}: 503 no; trying again"]


def test_a_server_that_stays_broken_is_given_up_after_the_retries_in_one_line(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat(good(asked)) if asked.classname == "dog bark" else fault(502, "bad\ngateway")
    with pytest.raises(SeptError) as caught:
        run(retries=2)
    assert re.fullmatch(
        r"127\.0\.0\.1:\d+: 502 .*bad gateway.*; gave up after 3 tries; answers so far are kept: .*", str(caught.value)
    )
    assert not run.out.exists()
    assert server.classes == {"dog bark": 1, "rain": 3}
    server.respond = lambda asked: chat(good(asked))
    run()
    assert server.classes == {"dog bark": 1, "rain": 4, "sea waves": 1}


def test_a_server_that_is_not_there_is_named(run: Run) -> None:
    with pytest.raises(SeptError, match=r"127\.0\.0\.1:9: Connection error.*; gave up after 2 tries"):
        run(base_url="http://127.0.0.1:9/v1", retries=1)


@pytest.mark.parametrize(
    ("failure", "complaint"),
    [
        (fault(401, "bad key"), "the server refuses the key: 401 .*check OPENAI_API_KEY"),
        (fault(404, "no model"), "not found: 404 .*check --model and --base-url"),
        (fault(429, "pay first", code="insufficient_quota"), "429 .*pay first; add credit; answers so far are kept"),
        (fault(429, "later", {"retry-after": "3600"}), "asks to come back in 3600 s.*; answers so far are kept"),
    ],
)
def test_what_waiting_does_not_mend_is_reported_at_once(
    server: Server, run: Run, failure: Reply, complaint: str
) -> None:
    server.respond = lambda asked: failure
    with pytest.raises(SeptError, match=complaint):
        run()
    assert len(server.asked) == 1
    assert run.pauses == []


GARBAGE = [
    chat("I'm sorry, I can't help with that."),
    chat('{"terms": ["rain a", "rai'),
    chat("{}"),
    chat('{"terms": "rain"}'),
    chat("[1, 2, 3]"),
    chat(None),
    Reply("<html>hello</html>", headers={"content-type": "text/html"}),
    Reply("not json"),
    Reply({"choices": []}),
    Reply({"choices": None}),
    Reply([1]),
    Reply({"choices": [{"message": {"content": [{"type": "text"}]}}]}),
    chat("[" * 5000),
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_counted_and_the_class_asked_again(server: Server, run: Run, garbage: Reply) -> None:
    server.respond = fail_first(1, garbage)
    outcome = run()
    assert outcome.unusable == 1
    assert server.classes == {"dog bark": 2, "rain": 1, "sea waves": 1}


def test_a_model_that_gives_only_garbage_writes_nothing_after_the_rounds(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat("no") if asked.classname == "rain" else chat(good(asked))
    with pytest.raises(SeptError, match=r"class 'rain': 3 of 3 .* missing after all rounds; 2 answers held no terms"):
        run(rounds=2)
    assert not run.out.exists()
    assert server.classes["rain"] == 2
