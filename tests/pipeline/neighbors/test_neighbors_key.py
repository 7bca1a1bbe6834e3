"""The key goes to the server and nowhere else."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest
from chat_server import KEY, Reply, Run, Server, chat, fault, good

from sept_core.errors import InputError, SeptError


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


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"error": {"message": f"key {KEY}", "metadata": {"raw": KEY}}}),
        Reply(f"<html>{KEY}</html>"),
        chat(None, message={"refusal": KEY}),
        Reply([f"key {KEY}"], 500),
        Reply("", 307, {"location": f"/{KEY}/chat/completions"}),
        fault(429, KEY, {"retry-after": KEY, "x-should-retry": "false"}),
    ],
)
def test_a_key_in_a_reply_of_any_kind_is_in_no_exception_and_no_log(
    server: Server, run: Run, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    server.respond = lambda asked: reply
    # The HTTP library's own DEBUG lines repeat a reply's headers; nothing here switches them on.
    level = logging.INFO if KEY in str(reply.headers) else logging.DEBUG
    with caplog.at_level(level), pytest.raises(SeptError) as caught:
        run(retries=0)
    assert "***" in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value)) + caplog.text
    assert caught.value.__context__ is None


def test_a_key_that_is_only_a_placeholder_damages_no_term(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a")
    assert run().neighbors.by_class["rain"] == ("rain aa", "rain ab", "rain ac")


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


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hush@h/v1",
        "http://hush@h/v1",
        "http://h/v1?key=hush",
        "http://h/v1?hush",
        "http://h/v1?api-version=1&api-key=hush",
        "http://h/v1?api-version=hush hush",
        "http://h/v1?api-version=1&api-version=2",
        "http://h/v1#hush",
        "ftp://h",
        "nonsense",
        "http://[1",
        "http://a b/v1",
        "http://a..b/v1",
        "http://a:99999/v1",
        "",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_secrets(run: Run, url: str) -> None:
    with pytest.raises(InputError, match="--base-url") as caught:
        run(base_url=url)
    assert "hush" not in "".join(traceback.format_exception(caught.value))
