"""Files of pretrained encoders: finding, checking and loading them.

A place is a local path, ``hub:OWNER/NAME`` (downloaded, because the user asked for it), or any other address with a
scheme (``s3://bucket/folder``), which the caller's ``fetch`` copies to a local path. If none is given, only earlier
downloads on this machine are used: no loader uses the network unasked.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sept_core.errors import InputError

__all__ = ["Fetch", "ModelFiles", "Place", "fingerprint", "load_exactly", "locate", "read_state", "reason"]

Place = str | Path
Fetch = Callable[[str], Path]

HUB = "hub:"
# Buffers that a module derives from its sizes; releases of transformers differ in whether they are saved.
_CONSTANTS = re.compile(r"(\.attn\.(masked_)?bias|position_ids|token_type_ids|relative_position_index)$")


@dataclass(frozen=True)
class ModelFiles:
    """Where the files of an encoder come from.

    Attributes:
        weights: File or folder, ``hub:OWNER/NAME`` or an address for ``fetch``; None for an earlier download.
        text_model: Folder of the tokenizer (and the text model's ``config.json``), in the same form; None for the one
            next to the weights or an earlier download.
        fetch: Copies an address such as ``s3://bucket/folder`` to a local file or folder.
    """

    weights: Place | None = None
    text_model: Place | None = None
    fetch: Fetch | None = None

    @property
    def from_hub(self) -> bool:
        """Whether the weights were given by hub name."""
        return isinstance(self.weights, str) and self.weights.startswith(HUB)


def reason(error: BaseException) -> str:
    """The message of ``error`` in one line of at most 200 characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def locate(
    given: Place | None,
    *,
    what: str,
    option: str,
    repo: str,
    patterns: Sequence[str],
    fetch: Fetch | None,
    download: str = "",
) -> Path:
    """The local file or folder of ``given``, downloaded or fetched if necessary.

    Args:
        given: See ``ModelFiles``.
        what: What is looked for, for messages: ``the weights of msclap-2023``.
        option: Name of the option that gives it, for messages: ``weights``.
        repo: Hub repository that it is published in; ``""`` if it is published elsewhere.
        patterns: File names to download from a hub repository.
        fetch: See ``ModelFiles``.
        download: How to download it, for messages; by default by the name of the hub repository.

    Raises:
        InputError: Nothing is there, the download failed, or the address cannot be fetched.
    """
    download = download or f"download them once with {option}='{HUB}{repo}'"
    if given is None:
        folder = _snapshot(repo, patterns, offline=True) if repo else None
        if folder is None:
            raise InputError(
                f"{what} are not on this machine",
                fix=f"give a local path as {option}, or {download}",
            )
        return folder
    if isinstance(given, str) and given.startswith(HUB):
        downloaded = _snapshot(given.removeprefix(HUB), patterns, offline=False)
        assert downloaded is not None
        return downloaded
    if isinstance(given, str) and "://" in given:
        if fetch is None:
            raise InputError(f"{what} cannot be fetched from here", where=given, fix="copy them to a local folder")
        path = fetch(given)
    else:
        path = Path(given).expanduser()
    if not path.exists():
        raise InputError(
            f"{what} are not there",
            where=str(given),
            fix=f"check the path, or {download}",
        )
    return path


def _snapshot(repo: str, patterns: Sequence[str], *, offline: bool) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, allow_patterns=list(patterns), local_files_only=offline))
    except (OSError, ValueError) as error:  # network and HTTP errors are OSErrors here, malformed names ValueErrors
        if offline:
            return None
        raise InputError(
            f"cannot be downloaded ({reason(error)})", where=f"{HUB}{repo}", fix="check the name and the network"
        ) from error


def read_state(path: Path, fix: str) -> dict[str, Tensor]:
    """Tensors by name of a ``.safetensors`` file or of one saved by torch (read without running code from it).

    A torch file contains the tensors themselves or, like msclap's, has them under ``model``. If all names start with
    ``module.``, as torch's data-parallel training saves them, they are returned without it.

    Raises:
        InputError: The file is damaged, or contains anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Memory-mapped if the format allows, so that a tower reads only its own part of the file.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged file fails in many ways
        raise InputError(f"the weights cannot be read ({reason(error)})", where=str(path), fix=fix) from error
    if isinstance(content, dict):
        content = content.get("model", content)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError("the file does not contain the weights of a model", where=str(path), fix=fix)
    if all(key.startswith("module.") for key in content):
        return {key.removeprefix("module."): value for key, value in content.items()}
    return content


def load_exactly(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *, name: str, path: Path) -> None:
    """Load the tensors of ``state`` under ``prefix`` into ``module``, then freeze it in ``eval()``.

    All parameters and buffers must be there with the right shapes, and nothing else, except buffers that follow from
    the sizes alone.

    Raises:
        InputError: They are not those of this architecture.
    """
    own = module.state_dict()
    part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    missing = [key for key in own if key not in part and not _CONSTANTS.search(key)]
    unexpected = [key for key in part if key not in own and not _CONSTANTS.search(key)]
    misshapen = [key for key in own if key in part and own[key].shape != part[key].shape]
    faults = [
        f"{len(keys)} {fault}, such as {prefix}{keys[0]}"
        for fault, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if keys
    ]
    if faults:
        raise InputError(
            f"these are not the weights of {name} ({'; '.join(faults)})",
            where=str(path),
            fix="give the file that belongs to this encoder, or the config.json that belongs to the file",
        )
    module.load_state_dict({key: value for key, value in part.items() if key in own}, strict=False)
    module.float().eval().requires_grad_(False)


def fingerprint(files: Mapping[str, Path], preprocessing: str) -> str:
    """16 hex digits over the bytes of ``files`` (by role, whatever they are called) and over ``preprocessing``."""
    digest = hashlib.sha256(f"{preprocessing}\n".encode())
    for role in sorted(files):
        # The length separates the end of one file from the start of the next.
        digest.update(f"{role}:{files[role].stat().st_size}\n".encode())
        with files[role].open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()[:16]
