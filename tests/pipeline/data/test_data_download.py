"""Downloads, through the real client of the hub, from a server on this machine that speaks its protocol."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest

from pipeline.data.download import DownloadError, download
from sept_core.errors import InputError

COMMIT = "a" * 40
LARGE = 1000


@dataclass
class Hub:
    """The files of one data set, and what goes wrong with them."""

    repository: str
    files: dict[str, bytes]
    truncate_once: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    falsify: set[str] = field(default_factory=set)
    down: bool = False
    served: list[tuple[str, str]] = field(default_factory=list)
    endpoint: str = ""

    def listing(self) -> dict[str, object]:
        siblings = []
        for path, content in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": blob}
            if len(content) > LARGE:
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
            siblings.append(entry)
        return {"id": self.repository, "sha": COMMIT, "siblings": siblings}

    def etag(self, path: str) -> str:
        return hashlib.sha256(self.files[path]).hexdigest()


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def log_message(self, *arguments: object) -> None:
            del arguments

        def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if hub.down:
                self.answer(503)
            elif path.startswith(f"/api/datasets/{hub.repository}"):
                revision = path.rpartition("/")[2]
                if revision in ("main", COMMIT):
                    self.answer(200, json.dumps(hub.listing()).encode(), Content_Type="application/json")
                else:
                    self.answer(404, X_Error_Code="RevisionNotFound")
            elif path.startswith(f"/datasets/{hub.repository}/resolve/{COMMIT}/"):
                self.file(path.split(f"{COMMIT}/", 1)[1])
            else:
                self.answer(404, X_Error_Code="RepoNotFound")

        def file(self, name: str) -> None:
            content = hub.files[name]
            headers = {"ETag": f'"{hub.etag(name)}"', "X_Repo_Commit": COMMIT, "Accept_Ranges": "bytes"}
            if self.command == "HEAD":
                self.send_response(200)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key.replace("_", "-"), value)
                self.end_headers()
                return
            if name in hub.gone:
                self.answer(410)
                return
            hub.served.append((name, self.headers.get("Range", "")))
            start = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
            body = content[start:]
            if name in hub.falsify:
                body = bytes(len(body))
            if name in hub.truncate_once:
                hub.truncate_once.remove(name)
                hub.gone.add(name)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
                return
            if start:
                headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206 if start else 200, body, **headers)

    return Handler


@pytest.fixture
def hub() -> Iterator[Hub]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("SESA/audios/siren_001.wav", b"s" * 5000)
        archive.writestr("SESA/train.csv", b"path,classname\n")
    files = {"README.md": b"# SESA\n", "test.csv": b"path,classname\n" * 200, "SESA.zip": packed.getvalue()}
    hub = Hub("MahiA/SESA", files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_copy_arrives_whole_with_its_archive_unpacked(hub: Hub, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    summary = download("sesa", tmp_path, progress=lambda *at: calls.append(at), endpoint=hub.endpoint)
    assert {name: (tmp_path / name).read_bytes() for name in hub.files} == hub.files
    assert (tmp_path / "SESA" / "audios" / "siren_001.wav").read_bytes() == b"s" * 5000
    size = sum(map(len, hub.files.values()))
    assert (summary.dataset, summary.revision, summary.files, summary.size) == ("SESA", COMMIT, 3, size)
    assert (summary.unpacked, summary.made) == (2, True)
    assert calls[-1] == (size, size)
    assert calls == sorted(calls)


def test_what_is_there_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    first = download("SESA", tmp_path, endpoint=hub.endpoint)
    hub.served.clear()
    again = download("SESA", tmp_path, endpoint=hub.endpoint)
    assert (again.made, again.unpacked, again.revision) == (False, first.unpacked, first.revision)
    assert hub.served == []


def test_only_what_is_missing_or_damaged_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    download("SESA", tmp_path, endpoint=hub.endpoint)
    (tmp_path / "README.md").unlink()
    damaged = (tmp_path / "test.csv").read_bytes()
    (tmp_path / "test.csv").write_bytes(damaged[:-1] + b"x")
    hub.served.clear()
    assert download("SESA", tmp_path, endpoint=hub.endpoint).made
    assert {name: (tmp_path / name).read_bytes() for name in hub.files} == hub.files
    assert {name for name, _ in hub.served} == {"README.md", "test.csv"}


def test_an_interrupted_download_is_told_in_one_line_and_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    # The client writes blocks of 10 MiB: one is on the disk when the connection ends after 12 MiB.
    hub.files["big.wav"] = bytes(range(256)) * (24 << 12)
    hub.truncate_once.add("big.wav")
    with pytest.raises(DownloadError) as caught:
        download("SESA", tmp_path, endpoint=hub.endpoint)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "big.wav").exists()
    hub.gone.clear()
    hub.served.clear()
    download("SESA", tmp_path, endpoint=hub.endpoint)
    assert {name: (tmp_path / name).read_bytes() for name in hub.files} == hub.files
    assert dict(hub.served)["big.wav"] == f"bytes={10 << 20}-"


def test_a_file_that_is_not_what_the_hub_states_is_refused_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.falsify.add("test.csv")
    with pytest.raises(DownloadError, match=r"test\.csv does not have the digest that the hub states, twice in a row"):
        download("SESA", tmp_path, endpoint=hub.endpoint)
    assert not (tmp_path / "test.csv").exists()
    hub.falsify.clear()
    assert download("SESA", tmp_path, endpoint=hub.endpoint).made


def test_a_small_file_is_compared_with_its_git_blob_id(hub: Hub, tmp_path: Path) -> None:
    hub.falsify.add("README.md")
    with pytest.raises(DownloadError, match=r"README\.md does not have the digest"):
        download("SESA", tmp_path, endpoint=hub.endpoint)


def test_a_listing_that_leaves_the_folder_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.files["../escaped.wav"] = b"x"
    with pytest.raises(DownloadError, match="lists a file outside its folder: '../escaped.wav'"):
        download("SESA", tmp_path / "out", endpoint=hub.endpoint)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_revision_an_unknown_copy_and_a_hub_that_is_down_are_told(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="MahiA/SESA has no revision 'v9'; give a branch"):
        download("SESA", tmp_path, "v9", endpoint=hub.endpoint)
    with pytest.raises(InputError, match="MahiA/ESC50 is not on the hub, or you have no access to it"):
        download("ESC50", tmp_path, endpoint=hub.endpoint)
    hub.down = True
    with pytest.raises(DownloadError, match="MahiA/SESA cannot be downloaded from .*; the same command continues"):
        download("SESA", tmp_path, endpoint=hub.endpoint)
    complaint = (
        "MahiA/SESA cannot be downloaded from http://127.0.0.1:9: Connection refused; the same command continues"
    )
    with pytest.raises(DownloadError, match=complaint):
        download("SESA", tmp_path, endpoint="http://127.0.0.1:9")


def test_a_dataset_that_is_not_palms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="FSDD is not among PALM's copies"):
        download("fsdd", tmp_path)


def test_a_full_disk_is_told_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.data.download.shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(InputError, match=r"needs 0\.0 GB, and 0\.0 GB are free; choose another disk"):
        download("SESA", tmp_path / "out", endpoint=hub.endpoint)
    assert hub.served == []
