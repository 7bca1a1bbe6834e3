"""Downloads PALM's copies of the benchmark's data sets from the Hugging Face hub.

download("ESC50", Path("audio/esc50"))

Every file is compared with the digest that the hub states, archives are unpacked in place, and a receipt in the folder
names the commit. After an interruption the same call resumes the download.

Why not `huggingface_hub.snapshot_download`, which calls the same `hf_hub_download` for each file: it counts files
instead of bytes, compares sizes instead of digests, and after Ctrl-C Python waits for its thread pool, that is for
gigabytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from pipeline.data.unpack import is_safe, unpack
from sept_core.checked_json import parse_json
from sept_core.datasets import get_dataset
from sept_core.errors import InputError, SeptError
from sept_core.text import Progress

__all__ = ["DownloadError", "DownloadSummary", "download"]

_OWNER = "MahiA"
_RECEIPT = ".sept-download.json"
_THREADS = 8
_POLL_S = 0.5


class DownloadError(SeptError):
    """The hub cannot be reached, or a file is not what it states; the same call resumes later."""


@dataclass(frozen=True)
class DownloadSummary:
    """What ``download`` did.

    Attributes:
        dataset: Canonical name.
        revision: The commit of the files.
        files: Number of files on the hub.
        size: Their size in bytes.
        unpacked: Number of files from archives.
        where: The folder.
        made: False if everything was there already.
    """

    dataset: str
    revision: str
    files: int
    size: int
    unpacked: int
    where: str
    made: bool


@dataclass(frozen=True)
class _Remote:
    """A file on the hub: its path, its size, and its SHA-256 (large files) or Git blob id (small ones)."""

    path: str
    size: int
    sha256: str
    blob_id: str

    def is_at(self, file: Path) -> bool:
        """Whether a local file has this content."""
        if not file.is_file() or file.stat().st_size != self.size:
            return False
        digest = hashlib.sha256() if self.sha256 else hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest() == (self.sha256 or self.blob_id)


def download(
    dataset: str,
    out: Path,
    revision: str = "main",
    progress: Progress | None = None,
    *,
    endpoint: str | None = None,
) -> DownloadSummary:
    """Download PALM's copy of a data set (``MahiA/<name>``) and unpack its archives.

    Args:
        dataset: Name of one of the benchmark's eleven.
        out: Folder for it, created if necessary. ``read_layout`` can read it.
        revision: Branch, tag or commit of the copy.
        progress: Called with (bytes downloaded, bytes in all).
        endpoint: Address of the hub; None for ``HF_ENDPOINT`` or the public hub.

    Raises:
        InputError: There is no such copy or revision, not enough room, or an archive cannot be trusted.
        DownloadError: The hub cannot be reached, or a file does not have the digest that it states.
    """
    info = get_dataset(dataset)
    if info.extra:
        raise InputError(f"{info.name} is not among PALM's copies", fix="get it from its authors")
    repository = f"{_OWNER}/{info.name}"
    with _hub_errors(repository, revision, endpoint):
        commit, files = _listed(repository, revision, endpoint)
    size = sum(file.size for file in files)
    receipt = {"repository": repository, "revision": commit, "files": len(files), "bytes": size}

    def summary(unpacked: int, made: bool) -> DownloadSummary:
        return DownloadSummary(info.name, commit, len(files), size, unpacked, str(out), made)

    known = _receipt(out)
    if {**known, "unpacked": 0} == {**receipt, "unpacked": 0} and all(
        (out / file.path).is_file() and (out / file.path).stat().st_size == file.size for file in files
    ):
        return summary(int(known["unpacked"]), made=False)
    _check_room(out, files)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _hub_errors(repository, revision, endpoint):
            _fetch_all(repository, commit, files, out, progress, endpoint)
        unpacked = sum(unpack(out / file.path, out) for file in files if file.path.lower().endswith(".zip"))
        _write_receipt(out, {**receipt, "unpacked": unpacked})
    except OSError as error:
        raise DownloadError(f"{error.filename or out}: {error.strerror or error}") from error
    return summary(unpacked, made=True)


def _listed(repository: str, revision: str, endpoint: str | None) -> tuple[str, list[_Remote]]:
    """The commit that a revision stands for, and its files."""
    from huggingface_hub import HfApi

    found = HfApi(endpoint=endpoint).dataset_info(repository, revision=revision, files_metadata=True)
    files = []
    for sibling in found.siblings or ():
        if not is_safe(sibling.rfilename):
            raise DownloadError(f"{repository} lists a file outside its folder: '{sibling.rfilename}'")
        lfs = sibling.lfs
        files.append(_Remote(sibling.rfilename, sibling.size or 0, lfs.sha256 if lfs else "", sibling.blob_id or ""))
    if not files or not found.sha:
        raise DownloadError(f"{repository} lists no files at '{revision}'")
    return found.sha, files


def _fetch_all(
    repository: str, commit: str, files: list[_Remote], out: Path, progress: Progress | None, endpoint: str | None
) -> None:
    total = sum(file.size for file in files)
    done = 0
    waiting: SimpleQueue[_Remote] = SimpleQueue()
    ended: SimpleQueue[tuple[_Remote, BaseException | None]] = SimpleQueue()
    stop = Event()
    for file in files:
        waiting.put(file)

    def work() -> None:
        while not stop.is_set():
            try:
                file = waiting.get_nowait()
            except Empty:
                return
            failure: BaseException | None = None
            try:
                _fetch(repository, commit, file, out, endpoint)
            except BaseException as error:  # raised again by the thread that waits
                failure = error
            ended.put((file, failure))

    # Daemons rather than a pool: Ctrl-C would wait for a pool's threads, that is for gigabytes.
    for _ in range(min(_THREADS, len(files))):
        Thread(target=work, daemon=True).start()
    left = len(files)
    try:
        while left:
            with suppress(Empty):
                file, failure = ended.get(timeout=_POLL_S)
                if failure is not None:
                    raise failure
                left -= 1
                done += file.size
            if progress is not None:
                progress(min(total, done + _partial(out)), total)
    finally:
        stop.set()


def _fetch(repository: str, commit: str, file: _Remote, out: Path, endpoint: str | None) -> None:
    """Download and verify one file; if it is not what the hub states, download it once more from the beginning."""
    from huggingface_hub import hf_hub_download

    target = out / file.path
    if file.is_at(target):
        return
    for force in (False, True):
        hf_hub_download(
            repository,
            file.path,
            repo_type="dataset",
            revision=commit,
            local_dir=out,
            endpoint=endpoint,
            force_download=force,
        )
        if file.is_at(target):
            return
    target.unlink(missing_ok=True)
    raise DownloadError(f"{repository}: {file.path} does not have the digest that the hub states, twice in a row")


def _partial(out: Path) -> int:
    """Bytes of unfinished files, which the hub's client keeps in a folder of its own until they are complete."""
    size = 0
    for file in (out / ".cache" / "huggingface" / "download").rglob("*.incomplete"):
        try:
            size += file.stat().st_size
        except FileNotFoundError:  # it has just been completed
            continue
    return size


def _check_room(out: Path, files: list[_Remote]) -> None:
    """Refuse a disk without enough room; archives need twice their size."""
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    wanted = sum(
        (0 if (out / file.path).is_file() else file.size) + (file.size if file.path.lower().endswith(".zip") else 0)
        for file in files
    )
    free = shutil.disk_usage(existing).free
    if wanted > free:
        raise InputError(
            f"needs {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free", where=str(out), fix="choose another disk"
        )


def _receipt(out: Path) -> dict[str, Any]:
    try:
        found = parse_json((out / _RECEIPT).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("unpacked"), int) else {}


def _write_receipt(out: Path, content: dict[str, Any]) -> None:
    # Not tempfile.mkstemp: its mode 0600 would lock out others who share the folder.
    hidden = out / f"{_RECEIPT}.{secrets.token_hex(4)}"
    hidden.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    os.replace(hidden, out / _RECEIPT)


@contextmanager
def _hub_errors(repository: str, revision: str, endpoint: str | None) -> Iterator[None]:
    """Within this context, the hub client's exceptions become ours, and its progress bars, one per file, are off."""
    from huggingface_hub import constants, errors
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    hub = endpoint or constants.ENDPOINT
    quiet = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"{repository} has no revision '{revision}'", fix="give a branch, a tag or a commit"
        ) from error
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        raise InputError(
            f"{repository} is not on the hub, or you have no access to it",
            fix="check HF_ENDPOINT, or log in: hf auth login",
        ) from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise _unreachable(repository, hub, error) from error
    except OSError as error:
        # The client's connection errors are OSErrors without a file; one with a file comes from the disk.
        if error.filename:
            raise
        raise _unreachable(repository, hub, error) from error
    finally:
        if not quiet:
            enable_progress_bars()


def _unreachable(repository: str, hub: str, error: Exception) -> DownloadError:
    inner: BaseException = error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    # The operating system's message is the readable one; libraries wrap it in several layers.
    message = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(error)
    line = (message.strip().splitlines() or [type(error).__name__])[0][:200]
    return DownloadError(
        f"{repository} cannot be downloaded from {hub}: {line}; the same command continues where this stopped"
    )
