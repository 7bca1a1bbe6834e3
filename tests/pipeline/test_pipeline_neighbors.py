"""Neighbours from a language model, against a real local server: good, busy, broken, lying and slow ones."""

from __future__ import annotations

import json
import logging
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli.neighbors import neighbors as command
from pipeline.neighbors import Outcome, Prices, Usage, cache, estimate, generate
from pipeline.neighbors.client import ChatClient
from pipeline.neighbors.prompt import messages
from pipeline.neighbors.terms import MAX_READ, read_terms, sort_out
from sept_core.datasets import DATASETS, DatasetInfo, prompt_name
from sept_core.errors import InputError, SeptError
from sept_core.semantic import load_neighbors

KEY = "sk-test-0123456789abcdef"
YARD = DatasetInfo("Yard", "events", ("dog_bark", "rain", "sea waves"), "This is {}.", ("test",), "fixed")
NAMES = ["dog bark", "rain", "sea waves"]


@dataclass
class Reply:
    """What the server sends back; ``cut`` closes the connection in the middle, ``delay_s`` waits first."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    delay_s: float = 0.0


@dataclass(frozen=True)
class Asked:
    """A request as the server saw it."""

    classname: str
    count: int
    number: int
    body: dict[str, Any]
    headers: dict[str, str]


class Server:
    """An OpenAI-compatible server on this machine; ``respond`` is the test's."""

    def __init__(self) -> None:
        self.respond: Callable[[Asked], Reply] = lambda asked: chat(good(asked))
        self.asked: list[Asked] = []
        self.peak = 0
        self._now = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with outer._lock:
                    outer._now += 1
                    outer.peak = max(outer.peak, outer._now)
                    found = re.search(r"For the class '(.+?)' give (\d+) ", body["messages"][1]["content"])
                    assert found
                    number = len(outer.asked)
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    asked = Asked(found[1], int(found[2]), number, body, headers)
                    outer.asked.append(asked)
                try:
                    self.answer(outer.respond(asked))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with outer._lock:
                        outer._now -= 1

            def answer(self, reply: Reply) -> None:
                time.sleep(reply.delay_s)
                text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
                data = text.encode()
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if reply.cut else data)
                self.close_connection = reply.cut

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def classes(self) -> Counter[str]:
        return Counter(asked.classname for asked in self.asked)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def letters(number: int) -> str:
    return chr(97 + number // 26) + chr(97 + number % 26)


def good(asked: Asked, start: int = 0) -> list[str]:
    return [f"{asked.classname} {letters(start + number)}" for number in range(asked.count)]


def chat(terms: object, usage: Any = (100, 50), **other: Any) -> Reply:
    content = terms if isinstance(terms, str) or terms is None else json.dumps({"terms": terms})
    body: dict[str, Any] = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
    }
    if usage:
        sent, received = usage
        body["usage"] = {"prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received}
    return Reply(body, **other)


def fault(status: int, message: str = "no", headers: dict[str, str] | None = None, **error: Any) -> Reply:
    return Reply({"error": {"message": message, "type": "t", **error}}, status, headers or {})


def fail_first(times: int, failure: Reply) -> Callable[[Asked], Reply]:
    return lambda asked: failure if asked.number < times else chat(good(asked))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    one = Server()
    yield one
    one.close()


@dataclass
class Run:
    """Runs `generate` against the server, with its waits written down instead of waited for."""

    server: Server
    folder: Path
    pauses: list[float] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.folder / "yard.json"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def __call__(self, n: int = 3, model: str = "m", **other: Any) -> Outcome:
        settings: dict[str, Any] = {
            "info": YARD,
            "out": self.out,
            "cache_dir": self.cache,
            "base_url": self.server.url,
            "concurrency": 1,
            "timeout_s": 20.0,
            "pause": self.pauses.append,
        }
        return generate(**(settings | other), model=model, n=n)


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Run:
    return Run(server, tmp_path)


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


def test_a_server_that_stays_broken_is_given_up_after_the_retries_in_one_line(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat(good(asked)) if asked.classname == "dog bark" else fault(502, "bad\ngateway")
    with pytest.raises(SeptError) as caught:
        run(retries=2)
    assert re.fullmatch(r"127\.0\.0\.1:\d+: 502 .*bad gateway.*; gave up after 3 tries", str(caught.value))
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
        (fault(429, "pay first", code="insufficient_quota"), "429 .*pay first"),
        (fault(429, "later", {"retry-after": "3600"}), "asks to come back in 3600 s"),
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


def test_names_of_other_classes_are_dropped_with_the_reason_and_others_asked_for(server: Server, run: Run) -> None:
    def respond(asked: Asked) -> Reply:
        if asked.classname == "rain" and "You gave these terms before" not in asked.body["messages"][1]["content"]:
            return chat(["drizzle", "a dog barking in drizzle", "rainy sea-waves"])
        return chat(good(asked))

    server.respond = respond
    outcome = run()
    assert [str(line) for line in outcome.dropped] == [
        "rain: 'a dog barking in drizzle' holds the name of the class 'dog bark'",
        "rain: 'rainy sea-waves' holds the name of the class 'sea waves'",
    ]
    assert outcome.neighbors.by_class["rain"] == ("drizzle", "rain aa", "rain ab")
    assert (
        "others: drizzle, a dog barking in drizzle, rainy sea-waves."
        in (server.asked[-1].body["messages"][1]["content"])
    )
    assert load_neighbors("Yard", run.out) == outcome.neighbors


def test_a_term_offered_for_two_classes_serves_neither() -> None:
    offered = {"dog bark": ["woof", "noise"], "rain": ["noise", "drizzle"], "sea waves": ["surf", "tide"]}
    state = sort_out(YARD, offered, 2)
    assert state.by_class == {"dog bark": ("woof",), "rain": ("drizzle",), "sea waves": ("surf", "tide")}
    assert state.missing == {"dog bark": 1, "rain": 1}
    assert [str(line) for line in state.dropped] == [
        "dog bark: 'noise' was also offered for 'rain'",
        "rain: 'noise' was also offered for 'dog bark'",
    ]


@pytest.mark.parametrize(
    ("term", "reason"),
    [
        ("rain", "is the name of the class itself"),
        ("drizzle", "is there twice"),
        ("", "is empty"),
        (" . ", "is empty"),
        ("w" * 61, "has 61 characters, more than 60"),
        ("one two three four five six", "has 6 words, more than 5"),
        ("pluie légère", "is not written in plain English letters"),
        ("\N{CJK UNIFIED IDEOGRAPH-96E8}", "is not written in plain English letters"),
        ("100 mm an hour", "is not written in plain English letters"),
        ("drizzle; fog", "is not written in plain English letters"),
        ("dogs bark", "holds the name of the class 'dog bark'"),
    ],
)
def test_each_rule_drops_the_term_that_breaks_it(term: str, reason: str) -> None:
    state = sort_out(YARD, {"rain": ["drizzle", term]}, 2)
    assert state.by_class["rain"] == ("drizzle",)
    assert [line.reason for line in state.dropped] == [reason]


def test_case_quotes_and_spaces_around_a_term_are_put_right() -> None:
    state = sort_out(YARD, {"rain": [' "Heavy_ Drizzle." ', "monsoon\N{RIGHT SINGLE QUOTATION MARK}s end"]}, 2)
    assert state.by_class["rain"] == ("heavy drizzle", "monsoon's end")
    assert state.dropped == ()


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ('{"terms": ["a", "b"]}', ["a", "b"]),
        ('["a"]', ["a"]),
        ('Sure [see below]: {"terms": ["a"]} Bye {x}', ["a"]),
        ('```json\n{"terms": ["a", 3, null]}\n```', ["a"]),
        ('As {"terms": ["...", "..."]}: ["x"], so {"terms": ["a"]}', ["a"]),
        ('{"result": {"terms": ["a"]}}', ["a"]),
        ("", None),
        ('{"terms": []}', None),
    ],
)
def test_terms_are_found_where_an_answer_has_them(text: str, terms: list[str] | None) -> None:
    assert read_terms(text) == terms


def test_an_endless_answer_is_read_to_a_bound() -> None:
    assert read_terms(json.dumps({"terms": ["a"] * 10_000})) == ["a"] * MAX_READ


def everything_written(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_a_key_that_the_server_echoes_is_in_no_exception_and_no_log(
    server: Server, run: Run, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.respond = lambda asked: fault(status, f"key {asked.headers['authorization']} is wrong", param=KEY)
    with caplog.at_level(logging.DEBUG), pytest.raises(SeptError) as caught:
        run(retries=1)
    assert "***" in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY not in shown + repr(caught.value) + caplog.text
    # Nor could a debugger that walks the chain reach the client's exception with its request.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_key_that_the_model_echoes_is_in_no_file_and_no_report(
    server: Server, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    server.respond = lambda asked: chat([KEY, f"{asked.classname} {KEY}", *good(asked)])
    with caplog.at_level(logging.DEBUG):
        outcome = run()
    assert len(outcome.dropped) == 6
    assert KEY not in everything_written(run.folder) + repr(outcome) + caplog.text


@pytest.mark.parametrize("key", ["sk-\N{EURO SIGN}secret", "sk-secret\r\nx: y", "sk secret"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match="OPENAI_API_KEY has characters that no key has") as caught:
        run()
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert server.asked == []


def test_without_a_key_only_a_server_of_ones_own_is_asked(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="OPENAI_API_KEY is not set"):
        run(base_url=None)
    run()
    assert run.out.exists()


@pytest.mark.parametrize("url", ["http://me:hush@h/v1", "http://h/v1?key=hush", "ftp://h", "nonsense", "http://[1"])
def test_an_address_that_cannot_be_used_is_refused_without_its_secrets(run: Run, url: str) -> None:
    with pytest.raises(InputError, match="--base-url") as caught:
        run(base_url=url)
    assert "hush" not in "".join(traceback.format_exception(caught.value))


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
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
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


@pytest.mark.parametrize("name", DATASETS)
def test_every_registered_dataset_can_be_asked_for_and_its_packaged_lists_would_pass(name: str) -> None:
    info = DATASETS[name]
    request = messages(info, prompt_name(info.classnames[0]), 24)[1]["content"]
    assert all(f" {prompt_name(classname)}" in request for classname in info.classnames)
    packaged = load_neighbors(name).by_class
    state = sort_out(info, packaged, 20)
    assert (state.by_class, state.missing, state.dropped) == (packaged, {}, ())


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


def invoke(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [*arguments])


def test_the_command_shows_the_cost_before_and_after_what_was_dropped_and_the_file(
    server: Server, tmp_path: Path
) -> None:
    server.respond = lambda asked: chat(["a siren far off", *good(asked)])
    arguments = ["sesa", "--model", "m", "--n", "2", "--base-url", server.url, "--root", str(tmp_path)]
    result = invoke(*arguments, "--price-in", "1", "--price-out", "10")
    assert result.exit_code == 0, result.output
    assert re.search(r"4 requests, about \d+ tokens sent and \d+ received: cost 0\.\d+", result.output)
    assert "Consumed 400 tokens sent and 200 received: cost 0.0024" in result.output
    assert "casual: 'a siren far off' holds the name of the class 'siren'" in result.output
    assert load_neighbors("SESA", tmp_path / "neighbors" / "sesa.json").origin["model"] == "m"


def test_the_command_can_show_only_the_estimate_and_says_when_the_cost_is_unknown(
    server: Server, tmp_path: Path
) -> None:
    result = invoke("sesa", "--base-url", server.url, "--root", str(tmp_path), "--estimate")
    assert result.exit_code == 0
    assert "cost unknown" in result.output
    assert server.asked == []


def test_the_command_tells_machines_everything_as_json(server: Server, tmp_path: Path) -> None:
    result = invoke("sesa", "--n", "2", "--base-url", server.url, "--root", str(tmp_path), "--json")
    told = json.loads(result.stdout)
    assert told["usage"] == {"answers": 4, "input_tokens": 400, "output_tokens": 200, "uncounted": 0}
    assert told["cost"] is None


def test_the_command_tells_what_was_consumed_even_where_it_fails(server: Server, tmp_path: Path) -> None:
    server.respond = lambda asked: chat(good(asked)) if asked.number == 0 else fault(401, f"{KEY} is wrong")
    arguments = ["--n", "2", "--base-url", server.url, "--root", str(tmp_path), "--concurrency", "1"]
    result = invoke("sesa", *arguments)
    assert isinstance(result.exception, InputError)
    assert "Consumed 100 tokens sent and 50 received" in result.output
    assert KEY not in result.output + "".join(traceback.format_exception(result.exception))


def test_an_interrupted_command_says_how_it_goes_on_and_ends_with_the_code_for_that(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.neighbors.generate", interrupted)
    result = invoke("sesa", "--base-url", server.url, "--root", str(tmp_path))
    assert result.exit_code == 75
    assert "the same command goes on from there" in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sesa", "--price-in", "1"], "give both --price-in and --price-out"),
        (["sessa"], "did you mean 'SESA'"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    result = invoke(*arguments, "--root", str(tmp_path))
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)
