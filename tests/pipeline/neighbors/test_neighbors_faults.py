"""Servers that are busy, broken, slow or not there: what is sent again, after which wait, and what is said."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from chat_server import NAMES, Asked, Reply, Run, Server, chat, fail_first, fault, good

from sept_core.errors import InputError, SeptError

NOW = {"retry-after": "0.01"}


def test_the_wait_that_a_rate_limit_asks_for_is_kept(server: Server, run: Run) -> None:
    server.respond = fail_first(2, fault(429, "slow down", {"retry-after": "0.7"}))
    run()
    assert all(0.7 <= wait < 1.5 for wait in server.waits[:2])
    assert run.out.exists()


def test_a_rate_limit_may_name_a_date(server: Server, run: Run) -> None:
    server.respond = fail_first(1, fault(429, "slow down", {"retry-after": formatdate(time.time() + 3, usegmt=True)}))
    run()
    assert 1 < server.waits[0] < 4


@pytest.mark.parametrize("failure", [fault(429), fault(500), fault(503, headers={"retry-after": "soon"})])
def test_without_a_named_wait_the_waits_grow(server: Server, run: Run, failure: Reply) -> None:
    server.respond = fail_first(2, failure)
    run()
    for number, wait in enumerate(server.waits[:2]):
        assert 0.37 * 2**number <= wait < 0.5 * 2**number + 0.5


def test_an_answer_that_breaks_off_in_the_middle_is_asked_for_again(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat(good(asked), cut=asked.number < 2)
    outcome = run()
    assert outcome.usage.answers == 3
    assert server.classes == {"dog bark": 3, "rain": 1, "sea waves": 1}


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat(good(asked), delay_s=2.0 if asked.number == 0 else 0.0)
    run(timeout_s=0.3)
    assert len(server.asked) == len(NAMES) + 1
    assert run.out.exists()


def test_a_server_that_never_answers_in_time_is_asked_twice_and_no_more(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat(good(asked), delay_s=2.0)
    with pytest.raises(SeptError, match=r"no answer in 0\.3 s, twice; raise --timeout .*answers so far are kept"):
        run(timeout_s=0.3)
    assert len(server.asked) == 2


def test_why_a_request_is_sent_again_is_told_once_for_each_reason(server: Server, run: Run) -> None:
    told: list[str] = []
    server.respond = lambda asked: (
        chat(good(asked)) if asked.number % 3 == 2 else fault(429 + 74 * (asked.number % 3), headers=NOW)
    )
    run(notice=told.append)
    assert told == [f"{server.host}: 429 no; trying again", f"{server.host}: 503 no; trying again"]


def test_a_server_that_stays_broken_is_given_up_after_the_retries_in_one_line(server: Server, run: Run) -> None:
    broken = fault(502, "bad\ngateway", NOW)
    server.respond = lambda asked: chat(good(asked)) if asked.classname == "dog bark" else broken
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
    with pytest.raises(SeptError, match=r"127\.0\.0\.1:9: Connection error.*; gave up after 2 tries; check --base-url"):
        run(base_url="http://127.0.0.1:9/v1", retries=1)


@pytest.mark.parametrize(
    ("failure", "complaint"),
    [
        (fault(401, "bad key"), "the server refuses the key: 401 bad key; check OPENAI_API_KEY"),
        (fault(402, "no money"), "402 no money; add credit; answers so far are kept"),
        (fault(403, "not yours"), "refuses the key: 403 not yours; check what the key in OPENAI_API_KEY may use"),
        (fault(404, "no model"), "not found: 404 no model; check --model and --base-url"),
        (fault(429, "pay first", code="insufficient_quota"), "429 pay first; add credit; answers so far are kept"),
        (Reply({"error": {"message": "pay", "type": "insufficient_quota"}}, 429), "429 pay; add credit"),
        (Reply([{"error": {"message": "pay", "code": "insufficient_quota"}}], 429), "429 pay; add credit"),
        (
            fault(429, "later", {"retry-after": "3600"}),
            "asks to come back in 3600 s: 429 later; answers so far are",
        ),
        (fault(429, "later", {"retry-after-ms": "121000"}), "asks to come back in 121000 ms: 429 later"),
        (fault(503, "later", {"retry-after": "121"}), "asks to come back in 121 s: 503 later"),
        (
            fault(503, "later", {"retry-after": formatdate(time.time() + 9999, usegmt=True)}),
            "asks to come back at .* GMT: 503 later",
        ),
        (fault(501, "no chat here"), "501 no chat here"),
        (fault(400, "no such thing"), "400 no such thing"),
    ],
)
def test_what_waiting_does_not_mend_is_reported_at_once(
    server: Server, run: Run, failure: Reply, complaint: str
) -> None:
    server.respond = lambda asked: failure
    with pytest.raises(SeptError, match=complaint):
        run()
    assert len(server.asked) == 1


def test_somebody_without_a_key_is_told_to_set_one(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.respond = lambda asked: fault(401, "who are you")
    with pytest.raises(InputError, match="the server needs a key: 401 who are you; set OPENAI_API_KEY to it"):
        run()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_server_that_sends_on_to_another_gets_no_key_there_and_the_address_is_named(
    server: Server, run: Run, status: int
) -> None:
    server.respond = lambda asked: Reply("", status, {"location": "https://other.example/api/chat/completions?k=1"})
    with pytest.raises(InputError, match="redirects requests to .*give --base-url https://other.example/api$"):
        run()
    assert len(server.asked) == 1
    server.respond = lambda asked: Reply("", status, {"location": "/login"})
    with pytest.raises(InputError, match=rf"redirects requests to http://{server.host}/login .*check --base-url"):
        run()


@pytest.mark.parametrize("location", [{}, {"location": "/v1/chat/completions"}])
def test_somebody_is_not_sent_to_the_address_that_was_given(server: Server, run: Run, location: dict[str, str]) -> None:
    server.respond = lambda asked: Reply("", 302, location)
    with pytest.raises(InputError, match="302 Found.*; check --base-url$"):
        run()


def test_an_address_without_its_last_part_gets_the_hint(server: Server, run: Run) -> None:
    server.respond = lambda asked: Reply("404 page not found", 404)
    with pytest.raises(InputError, match="not found: 404 page not found; .*--base-url, which commonly ends in /v1"):
        run(base_url=server.url.removesuffix("/v1"))


def test_ctrl_c_during_a_wait_that_the_server_asked_for_ends_the_wait(server: Server, run: Run) -> None:
    arrived = threading.Event()

    def respond(asked: Asked) -> Reply:
        arrived.set()
        return fault(429, "slow down", {"retry-after": "100"})

    server.respond = respond
    arguments = ["sesa", "--n", "2", "--base-url", server.url, "--root", str(run.folder)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from pipeline.cli import main; main()", "neighbors", *arguments],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "429 slow down; trying again in 100 s" in line:
                break
        assert arrived.is_set()
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        process.wait(30)
    finally:
        process.kill()
    assert process.returncode == 75
    assert "the same command continues from there" in said
