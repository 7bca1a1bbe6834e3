"""Proxies in the environment: servers on this machine are asked past them, and one that does not work is named."""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from store.s3_faults import proxying

from pipeline.cli.bypass_proxy import ask_loopback_directly
from pipeline.store import StoreError, open_files
from pipeline.store.s3 import S3Files
from pipeline.store.s3_client import Connection, make_client

Sept = Callable[..., tuple[int, str, str]]
NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
SECRET = "hidden-word"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No proxy at the start, and none left behind."""
    for name in (*NAMES, *map(str.upper, NAMES)):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    for name in (*NAMES, *map(str.upper, NAMES)):
        os.environ.pop(name, None)


@pytest.fixture
def dead_proxy() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://me:{SECRET}@127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_a_bucket_on_this_machine_is_read_past_a_proxy(
    sept: Sept, s3_root: str, monkeypatch: pytest.MonkeyPatch, dead_proxy: str, name: str
) -> None:
    # A connection of its own, made with the proxy set.
    monkeypatch.setenv("AWS_REGION", f"eu-{name.lower().replace('_', '-')}-1")
    monkeypatch.setenv(name, dead_proxy)
    code, out, err = sept("data", "list", "--root", s3_root)
    assert (code, err) == (0, "")
    assert "ESC50" in out


def test_so_are_mlflow_and_all_else_that_python_asks(monkeypatch: pytest.MonkeyPatch, dead_proxy: str) -> None:
    import requests

    monkeypatch.setenv("HTTP_PROXY", dead_proxy)
    monkeypatch.setenv("NO_PROXY", "intranet, localhost")
    with proxying("http://127.0.0.1:9") as server:
        server.answer = (200, "here")
        ask_loopback_directly()
        assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "intranet,localhost,127.0.0.1,::1"
        # MLflow's client asks by requests, `sept ui` by urllib.
        assert b"here" in requests.get(f"{server.address}/health", timeout=5).content
        with urllib.request.urlopen(f"{server.address}/health", timeout=5) as answer:
            assert b"here" in answer.read()
    # What is outside goes by the proxy as before.
    assert requests.utils.get_environ_proxies("http://mlflow.example.com")["http"] == dead_proxy


def test_nothing_is_set_where_no_proxy_is(monkeypatch: pytest.MonkeyPatch) -> None:
    ask_loopback_directly()
    assert "NO_PROXY" not in os.environ
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "*")
    ask_loopback_directly()
    assert os.environ["NO_PROXY"] == "*"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_work_is_named_and_its_password_is_not(
    s3_root: str, monkeypatch: pytest.MonkeyPatch, dead_proxy: str, scheme: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{scheme}://s3.example.com:9000")
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", dead_proxy)
    files = S3Files(Connection(make_client(attempts=1), 0.0), "bucket")
    with pytest.raises(StoreError) as refusal:
        files.read("a")
    assert "the proxy in front of s3.example.com:9000 cannot be reached" in str(refusal.value)
    assert "check HTTPS_PROXY and HTTP_PROXY, or add the host to NO_PROXY" in str(refusal.value)
    assert SECRET not in str(refusal.value)


def test_a_proxy_that_asks_for_a_password_is_told_as_that(
    s3_root: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxying(s3_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.example.com:9000")
        monkeypatch.setenv("HTTP_PROXY", proxy.address)
        proxy.answer = (407, "407")
        with pytest.raises(StoreError, match="a proxy asks for a user and a password; check HTTPS_PROXY and"):
            open_files(s3_root).read("a")
