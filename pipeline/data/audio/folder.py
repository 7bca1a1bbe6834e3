"""Audio in a local folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.data.audio.source import AudioSource, check_size, is_hidden
from pipeline.data.unpack import is_safe
from sept_core.errors import InputError

__all__ = ["FolderAudio"]


class FolderAudio(AudioSource):
    """A local folder; see ``open_audio``."""

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
            raise InputError(what, where=self.uri, fix="give a folder, a .zip archive, or one of them in s3://")
