"""The key goes to the server and nowhere else."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest
from chat_server import KEY, Run, Server, chat, fault, good

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
