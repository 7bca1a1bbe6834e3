"""A real server on this machine that speaks the protocol, and a run of `generate` against it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.neighbors import Outcome, generate
from sept_core.datasets import DatasetInfo

KEY = "sk-test-0123456789abcdef"
YARD = DatasetInfo("Yard", "events", ("dog_bark", "rain", "sea waves"), "This is {}.", ("test",), "fixed")
NAMES = ["dog bark", "rain", "sea waves"]


@dataclass
class Reply:
    """What the server sends back.

    ``cut`` closes the connection in the middle, ``delay_s`` waits first.
    """

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
    path: str = ""
    at: float = 0.0


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
                    asked = Asked(found[1], int(found[2]), number, body, headers, self.path, time.monotonic())
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
                text = reply.body if isinstance(reply.body, str | bytes) else json.dumps(reply.body)
                data = text if isinstance(text, bytes) else text.encode()
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

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://").removesuffix("/v1")

    @property
    def waits(self) -> list[float]:
        """Seconds between one request and the next."""
        return [after.at - before.at for before, after in pairwise(self.asked)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def letters(number: int) -> str:
    return chr(97 + number // 26) + chr(97 + number % 26)


def good(asked: Asked, start: int = 0) -> list[str]:
    return [f"{asked.classname} {letters(start + number)}" for number in range(asked.count)]


def chat(terms: object, usage: Any = (100, 50), finish: str = "stop", message: Any = None, **other: Any) -> Reply:
    """A reply with these terms or this text; ``message`` adds to the model's message."""
    content = terms if isinstance(terms, str) or terms is None else json.dumps({"terms": terms})
    body: dict[str, Any] = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": content, **(message or {})},
            }
        ],
    }
    if usage:
        sent, received = usage
        body["usage"] = {"prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received}
    return Reply(body, **other)


def fault(status: int, message: str = "no", headers: dict[str, str] | None = None, **error: Any) -> Reply:
    return Reply({"error": {"message": message, "type": "t", **error}}, status, headers or {})


def fail_first(times: int, failure: Reply) -> Callable[[Asked], Reply]:
    return lambda asked: failure if asked.number < times else chat(good(asked))


@dataclass
class Run:
    """Runs `generate` against the server."""

    server: Server
    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "yard.json"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def __call__(self, n: int = 3, model: str = "m", retries: int = 5, **other: Any) -> Outcome:
        settings: dict[str, Any] = {
            "info": YARD,
            "out": self.out,
            "cache_dir": self.cache,
            "base_url": self.server.url,
            "concurrency": 1,
            "timeout_s": 20.0,
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipeline.neighbors.client.RETRIES", retries)
            return generate(**(settings | other), model=model, n=n)
