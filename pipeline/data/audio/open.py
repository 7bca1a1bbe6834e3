"""Opens audio: a folder, a zip archive, a prefix in a bucket, or a zip archive in a bucket.

source = open_audio("s3://bucket/esc10.zip")
with source.tree() as folder:  # laid out like the source, with empty files in place of the clips
    manifest = read_layout("ESC10", folder, digests=source.digests_in(folder))
data = source.read("101 - Dog/1-30226-A.ogg")
"""

from __future__ import annotations

from pathlib import Path

from pipeline.data.audio.folder import FolderAudio
from pipeline.data.audio.source import AudioSource
from pipeline.data.audio.zip import ZipAudio
from sept_core.errors import InputError

__all__ = ["open_audio"]


def open_audio(uri: str | Path | AudioSource) -> AudioSource:
    """The source at an address; nothing is read yet.

    Args:
        uri: A folder, a ``.zip`` file, ``s3://bucket/prefix`` or ``s3://bucket/file.zip``; or a source, which is
            returned as it is.

    Raises:
        InputError: It begins with ``s3://`` but is not an S3 address.
    """
    if isinstance(uri, AudioSource):
        return uri
    address = str(uri)
    if address.startswith("s3:"):
        from pipeline.data.audio.bucket import BucketAudio  # loads boto3

        if not address.lower().endswith(".zip"):
            return BucketAudio(address)
    elif "://" in address:
        raise InputError(
            f"'{address}' is not a place to read audio from", fix="give a folder, a .zip archive, or s3://..."
        )
    else:
        address = str(Path(address).expanduser().absolute())
    if address.lower().endswith(".zip") and not Path(address).is_dir():
        return ZipAudio(address)
    return FolderAudio(address)
