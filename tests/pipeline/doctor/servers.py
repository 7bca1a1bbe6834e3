"""Small servers that misbehave in one way each."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], Answer]) -> Iterator[str]:
    """Address of an HTTP server that answers so, whatever the method."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            self.sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = answer(self)
            self.send_response_only(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _any  # noqa: N815 (the library's names)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class CarelessBucket:
    """As much of S3 as the store uses, without any conditions.

    Attributes:
        objects: What was put.
        ahead_s: How far its clock is ahead.
    """

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.ahead_s = ahead_s

    def __call__(self, request: BaseHTTPRequestHandler) -> Answer:
        import time

        headers = {"Date": formatdate(time.time() + self.ahead_s, usegmt=True)}
        path, _, query = request.path.partition("?")
        key = path.lstrip("/").partition("/")[2]
        if request.command == "PUT":
            data = request.sent  # type: ignore[attr-defined]
            kept = {name: value for name, value in request.headers.items() if name.lower().startswith("x-amz-meta-")}
            self.objects[key] = data, kept
            return 200, headers | {"ETag": f'"{md5(data).hexdigest()}"'}, b""
        if request.command == "DELETE":
            self.objects.pop(key, None)
            return 204, headers, b""
        if "list-type" in query:
            keys = "".join(f"<Contents><Key>{one}</Key><Size>1</Size><ETag>e</ETag></Contents>" for one in self.objects)
            body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>"
            return 200, headers | {"Content-Type": "application/xml"}, body.encode()
        if not key:
            return 200, headers, b""
        if key not in self.objects:
            return 404, headers, b"<Error><Code>NoSuchKey</Code></Error>" if request.command == "GET" else b""
        data, kept = self.objects[key]
        return 200, headers | kept | {"ETag": f'"{md5(data).hexdigest()}"'}, data


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield int(listening.getsockname()[1])


def dead_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
