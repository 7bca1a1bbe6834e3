"""The contract of every audio source; `pipeline.data.audio.open` chooses the kind by the address.

A source consists of its address alone: it can be sent to another process, and is opened there.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from sept_core.errors import InputError
from sept_core.text import Progress

__all__ = ["AudioSource", "check_size", "is_hidden"]

logger = logging.getLogger(__name__)

_TABLES = frozenset({".csv", ".json", ".md", ".txt"})
_TABLE_BYTES = 500_000_000  # NSynth lists its notes in about 200 MB
_THREADS = 8


class AudioSource(ABC):
    """A place with audio files, each identified by its path below it, with ``/`` between folders.

    Attributes:
        uri: Its address: a path or ``s3://...``.
        threads: How many files to read at a time.
    """

    threads = _THREADS

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.uri,))

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The content of a file; may be called by several threads at once.

        Raises:
            InputError: There is no such file, it cannot be read, or it is larger than 2 GB.
            StoreError: The bucket cannot be reached or read.
        """

    @abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """Path and size in bytes of every file, except hidden ones.

        Raises:
            InputError: There is nothing at this address, or a name in it is not valid for a file here.
            StoreError: The bucket cannot be reached or read.
        """

    @contextmanager
    def tree(self) -> Iterator[Path]:
        """Within this context, a folder laid out like the source; do not change it.

        A local folder is returned itself. Otherwise tables and texts (csv, json, md, txt) of up to 500 MB are complete,
        larger ones are left out, and all other files, clips included, are empty. An ``InputError`` raised inside that
        names the folder names the source instead.

        Raises:
            InputError, StoreError: As `sizes` and `read` do.
            OSError: There is no room for the folder.
        """
        with tempfile.TemporaryDirectory(prefix="sept-audio-") as name:
            folder = Path(name)
            try:
                self._lay_out(folder)
                yield folder
            except InputError as error:
                what, where, fix = (text.replace(name, self.uri) for text in (error.what, error.where, error.fix))
                raise InputError(what, where=where, fix=fix) from error

    def check(self) -> None:
        """Check that there is something at this address.

        Raises:
            InputError, StoreError: As `sizes` does.
        """
        self.sizes()

    def digests(self, paths: Sequence[str], progress: Progress | None = None) -> dict[str, str]:
        """sha256 of the content of each file, in hexadecimal digits.

        Raises:
            InputError, StoreError: As `read` does, for the first that fails.
        """
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="digest")
        try:
            found = {}
            for path, digest in zip(paths, pool.map(self._digest, paths), strict=True):
                found[path] = digest
                if progress is not None:
                    progress(len(found), len(paths))
            return found
        finally:
            pool.shutdown(cancel_futures=True)

    def digests_in(self, folder: Path, progress: Progress | None = None) -> Callable[[Sequence[Path]], list[str]]:
        """`digests` for files of a folder from `tree`, as ``read_layout`` takes it."""

        def digests(files: Sequence[Path]) -> list[str]:
            paths = [file.relative_to(folder).as_posix() for file in files]
            found = self.digests(list(dict.fromkeys(paths)), progress)
            return [found[path] for path in paths]

        return digests

    def _digest(self, path: str) -> str:
        return hashlib.sha256(self.read(path)).hexdigest()

    def _lay_out(self, folder: Path) -> None:
        tables = []
        for path, size in self.sizes().items():
            if PurePosixPath(path).suffix.lower() in _TABLES:
                if size > _TABLE_BYTES:
                    logger.warning("%s: %s is skipped because it has %.0f MB", self.uri, path, size / 1e6)
                    continue
                tables.append(path)
            try:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).touch(exist_ok=False)
            except (FileExistsError, NotADirectoryError) as error:
                raise InputError(f"'{path}' conflicts with another name in it", where=self.uri) from error
            except OSError as error:
                if error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
                    raise
                short = f"{path[:60]}..."
                raise InputError(
                    f"'{short}' cannot be a file's name here ({error.strerror})", where=self.uri
                ) from error
        with ThreadPoolExecutor(self.threads, thread_name_prefix="tables") as pool:
            for path, data in zip(tables, pool.map(self.read, tables), strict=True):
                (folder / path).write_bytes(data)

    def _missing(self, path: str) -> InputError:
        return InputError(f"no file '{path}'", where=self.uri, fix="check the address, and that all clips are there")


def is_hidden(path: str) -> bool:
    """Whether the operating system adds such a file by itself (``.DS_Store``, ``__MACOSX/...``)."""
    return any(part.startswith((".", "__MACOSX")) for part in path.split("/"))


def check_size(size: int, path: str, uri: str) -> None:
    """Refuse a file that is too large to be a clip.

    Raises:
        InputError: It is larger than 2 GB.
    """
    from sept_core.audio.waveform import MAX_BYTES  # loads torch

    if size > MAX_BYTES:
        raise InputError(
            f"'{path}' has {size / 1e9:.1f} GB, more than the {MAX_BYTES / 1e9:g} GB that a file may have", where=uri
        )
