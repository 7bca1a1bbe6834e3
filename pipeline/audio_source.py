"""Where audio lies: a folder, a zip archive, a prefix in a bucket, or a zip archive in a bucket.

    source = open_audio("s3://bucket/esc10.zip")
    with source.tree() as folder:  # laid out like the source, with empty files in place of the clips
        manifest = read_layout("ESC10", folder, digests=source.digests_in(folder))
    data = source.read("101 - Dog/1-30226-A.ogg")

A source is nothing but its address: it can be sent to another process, and is opened there.
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

from pipeline.unpack import is_safe
from sept_core.errors import InputError

__all__ = ["AudioSource", "Progress", "check_size", "is_hidden", "open_audio"]

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (clips read, clips in all) after each clip."""

_TABLES = frozenset({".csv", ".json", ".md", ".txt"})
_TABLE_BYTES = 500_000_000  # NSynth lists its notes in some 200 MB
_THREADS = 8


class AudioSource(ABC):
    """A place with audio files, each known by its path below it, with ``/`` between folders.

    Attributes:
        uri: Its address: a path or ``s3://...``.
        threads: Files that are worth being read at a time.
    """

    threads = _THREADS

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (open_audio, (self.uri,))

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The content of a file; may be called by several threads at once.

        Raises:
            InputError: There is no such file, it cannot be read, or it is larger than 2 GB.
            StoreError: The bucket cannot be reached or read.
        """

    @abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """Path and bytes of every file, hidden ones left out.

        Raises:
            InputError: There is nothing at this address, or a name in it cannot be a file's here.
            StoreError: The bucket cannot be reached or read.
        """

    @contextmanager
    def tree(self) -> Iterator[Path]:
        """A folder laid out like the source, for as long as the context lasts; not to be changed.

        A local folder is given itself. Otherwise tables and texts (csv, json, md, txt) of up to 500 MB are real, larger
        ones are left out, and all other files, the clips among them, are empty. An ``InputError`` from inside that
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
                what, where, mend = (text.replace(name, self.uri) for text in (error.what, error.where, error.mend))
                raise InputError(what, where=where, mend=mend) from error

    def check(self) -> None:
        """See that there is something at this address.

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
        """`digests` for files of a folder that `tree` gave: what ``read_layout`` takes as ``digests``."""

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
                    logger.warning("%s: %s is left out, since it has %.0f MB", self.uri, path, size / 1e6)
                    continue
                tables.append(path)
            try:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).touch(exist_ok=False)
            except (FileExistsError, NotADirectoryError) as error:
                raise InputError(f"'{path}' cannot stand beside another name in it", where=self.uri) from error
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
        return InputError(f"no file '{path}'", where=self.uri, mend="check the address, and that all clips are there")


class _Folder(AudioSource):
    """A local folder."""

    def read(self, path: str) -> bytes:
        """See ``AudioSource.read``."""
        file = Path(self.uri) / path
        if not is_safe(path) or not file.is_file():
            raise self._missing(path)
        try:
            check_size(file.stat().st_size, path, self.uri)
            return file.read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror or error})", where=str(file)) from error

    def sizes(self) -> Mapping[str, int]:
        """See ``AudioSource.sizes``."""
        self.check()
        files = (file for file in sorted(Path(self.uri).rglob("*")) if file.is_file())
        found = ((file.relative_to(self.uri).as_posix(), file.stat().st_size) for file in files)
        return {path: size for path, size in found if not is_hidden(path)}

    @contextmanager
    def tree(self) -> Iterator[Path]:
        """See ``AudioSource.tree``."""
        self.check()
        yield Path(self.uri)

    def _digest(self, path: str) -> str:
        file = Path(self.uri) / path
        if not is_safe(path) or not file.is_file():
            raise self._missing(path)
        try:
            with file.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror or error})", where=str(file)) from error

    def check(self) -> None:
        """See ``AudioSource.check``."""
        root = Path(self.uri)
        if not root.is_dir():
            what = "is neither a folder nor a .zip archive" if root.exists() else "folder does not exist"
            raise InputError(what, where=self.uri, mend="give a folder, a .zip archive, or one of them in s3://")


def open_audio(uri: str | Path | AudioSource) -> AudioSource:
    """The source at an address; nothing is read before something is asked of it.

    Args:
        uri: A folder, a ``.zip`` file, ``s3://bucket/prefix`` or ``s3://bucket/file.zip``; or a source, which is given
            back as it is.

    Raises:
        InputError: It begins with ``s3://`` and is no address in S3.
    """
    if isinstance(uri, AudioSource):
        return uri
    address = str(uri)
    if address.startswith("s3:"):
        from pipeline.audio_remote import BucketAudio

        if not address.lower().endswith(".zip"):
            return BucketAudio(address)
    elif "://" in address:
        raise InputError(
            f"'{address}' is no place that audio is read from", mend="give a folder, a .zip archive, or s3://..."
        )
    else:
        address = str(Path(address).expanduser().absolute())
    if address.lower().endswith(".zip") and not Path(address).is_dir():
        from pipeline.audio_zip import ZipAudio

        return ZipAudio(address)
    return _Folder(address)


def is_hidden(path: str) -> bool:
    """Whether a path is of the kind that systems add by themselves (``.DS_Store``, ``__MACOSX/...``)."""
    return any(part.startswith((".", "__MACOSX")) for part in path.split("/"))


def check_size(size: int, path: str, uri: str) -> None:
    """Refuse what no clip can be as large as.

    Raises:
        InputError: It is larger than 2 GB.
    """
    from sept_core.audio import MAX_BYTES  # loads torch

    if size > MAX_BYTES:
        raise InputError(
            f"'{path}' has {size / 1e9:.1f} GB, more than the {MAX_BYTES / 1e9:g} GB that a file may have", where=uri
        )
