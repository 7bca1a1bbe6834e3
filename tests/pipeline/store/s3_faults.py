"""An HTTP proxy that stands before the test server and does to it what networks and busy servers do."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from s3_server import CREDENTIALS

# Before: the server never hears of the request. After: it does what was asked, and the answer is lost.
FAULTS = ("busy", "busy-after", "reset", "reset-after", "cut", "empty", "garbled", "slow")

BUSY = b"<Error><Code>InternalError</Code><Message>Please try again.</Message></Error>"

Choose = Callable[[str, str, int], str]
"""(method, path, how many requests of this method and path came before) -> a fault, or "" for none."""


def seeded(share: float, seed: int) -> Choose:
    """Faults in this share of the requests: the same for the same request, whatever runs beside it.

    The second part of a path names the test's own folder, at random, and decides nothing.
    """

    def choose(method: str, path: str, count: int) -> str:
        bucket, _, key = path.lstrip("/").partition("/")
        chance = random.Random(f"{seed} {method} {bucket} {key.partition('/')[2]} {count}")
        return chance.choice(FAULTS) if chance.random() < share else ""

    return choose


@dataclass
class Proxy:
    """A running proxy; what is put into it holds from the next request on.

    Attributes:
        address: Where it listens.
        choose: Decides on faults.
        delay_s: Added to every request.
        hang_s: How long the fault ``hang`` keeps back an answer, and ``late`` the request itself; then it is a reset.
        answer: Sent instead of asking the server, as (status, S3 error code).
        dropped: Names of headers that are not passed on, in lower case; requests are then signed anew.
        refused: Names of headers, in lower case; a request that has one is answered as if its condition did not hold.
        faults: How many of each kind there were.
        headers: Headers of the last request.
    """

    address: str
    choose: Choose = field(default=lambda method, path, count: "")
    delay_s: float = 0.0
    hang_s: float = 0.0
    answer: tuple[int, str] | None = None
    dropped: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    faults: Counter[str] = field(default_factory=Counter)
    headers: dict[str, str] = field(default_factory=dict)
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def decide(self, method: str, path: str) -> str:
        """The fault of the next request of this kind."""
        with self.turn:
            fault = self.choose(method, path, self.seen[method, path])
            self.seen[method, path] += 1
            self.faults[fault] += 1
            return fault


@contextmanager
def proxying(endpoint: str) -> Iterator[Proxy]:
    """A proxy before a server; without faults until told otherwise."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.proxy = Proxy(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    server.target = urlsplit(endpoint).netloc  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.proxy  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms

    def log_message(self, *_: Any) -> None: ...

    def _serve(self) -> None:
        proxy: Proxy = self.server.proxy  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        proxy.headers = {name.lower(): value for name, value in self.headers.items()}
        time.sleep(proxy.delay_s)
        fault = proxy.decide(self.command, self.path)
        if proxy.answer is not None:
            status, code = proxy.answer
            return self._send(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
        if proxy.refused & proxy.headers.keys():
            return self._send(412, b"<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>")
        if fault == "busy":
            return self._send(503, BUSY)
        if fault == "reset":
            return self._reset()
        if fault == "late":
            time.sleep(proxy.hang_s)
        status, headers, data = self._ask(proxy, body)
        if fault == "hang":
            time.sleep(proxy.hang_s)
        if fault == "busy-after":
            return self._send(503, BUSY)
        if fault in ("reset-after", "hang", "late"):
            return self._reset()
        return self._pass_on(fault, status, headers, data)

    do_GET = do_PUT = do_HEAD = do_DELETE = _serve  # noqa: N815 (the base class asks for these names)
    do_POST = do_PATCH = _serve  # noqa: N815 (MLflow's)

    def _ask(self, proxy: Proxy, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.target, timeout=60)  # type: ignore[attr-defined]
        left_out = proxy.dropped | {"expect", "connection", "content-length"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
        if proxy.dropped:
            headers = self._signed_anew(headers, body)
        try:
            connection.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _signed_anew(self, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """The client's signature covers the headers that are left out, and a server that checks it would refuse."""
        stale = ("host", "authorization", "x-amz-date", "x-amz-content-sha256")
        kept = {name: value for name, value in headers.items() if name.lower() not in stale}
        url = f"http://{self.server.target}{self.path}"  # type: ignore[attr-defined]
        request = AWSRequest(self.command, url, kept, body)
        keys = Credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
        S3SigV4Auth(keys, "s3", CREDENTIALS["AWS_REGION"]).add_auth(request)
        return dict(request.headers.items())

    def _pass_on(self, fault: str, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(data)))
        self.send_header("Content-Length", length)
        self.end_headers()
        if fault == "slow":
            for at in range(0, len(data), len(data) // 4 + 1):
                time.sleep(0.05)
                self.wfile.write(data[at : at + len(data) // 4 + 1])
        elif fault == "garbled" and data and status in (200, 206) and "?" not in self.path:
            # An object: lists carry no digest, and leave garbling to the network's own checksums.
            middle = len(data) // 2
            self.wfile.write(data[:middle] + bytes([data[middle] ^ 0x41]) + data[middle + 1 :])
        elif fault in ("cut", "empty"):
            self.wfile.write(data[: len(data) // 2] if fault == "cut" else b"")
            self.close_connection = True
        else:
            self.wfile.write(data)

    def _send(self, status: int, data: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
