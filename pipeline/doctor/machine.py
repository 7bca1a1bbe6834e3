"""Checks this machine: Python, packages, audio libraries, GPUs, free disk space."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.doctor.checks import Check
from pipeline.doctor.requirements import install, stated
from pipeline.store import is_remote, local_folder
from pipeline.store.cache import FOLDERS, cache_folder, cache_limit
from pipeline.text import one_line

__all__ = ["check_disk", "check_software"]

PYTHON = (3, 11), (3, 13)
FULL_BYTES, TIGHT_BYTES = 1e9, 5e9
"""Free bytes below which results or cached copies will soon not fit (red), or may not fit (yellow)."""

_SHOWN = ("torch", "ray", "mlflow", "optuna", "pyarrow")


def check_software() -> Sequence[Check]:
    """Check Python, packages, audio libraries and GPUs."""
    return [_python(), _packages(), _audio(), _gpus()]


def check_disk(root: str) -> Sequence[Check]:
    """Check the free space for results and for the machine's cache."""
    limit = cache_limit()
    cache = cache_folder()
    used = sum(_size(cache / name) for name in FOLDERS)
    said = f"{used / 1e9:.1f} GB of at most {limit / 1e9:.0f} GB used, "
    checks = [_room("cache folder", cache, "name another folder: export SEPT_CACHE=FOLDER", said)]
    if not is_remote(root):
        checks.append(_room("disk of the results", local_folder(root), "free some space, or give another --root", ""))
    return checks


def _size(folder: Path) -> int:
    """Bytes in a folder; files may disappear meanwhile, since a running sweep trims the cache."""
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            with suppress(OSError):
                total += os.stat(os.path.join(place, file)).st_size
    return total


def _python() -> Check:
    found = platform.python_version()
    if PYTHON[0] <= sys.version_info[:2] < PYTHON[1]:
        return Check("Python", "green", f"{found} ({sys.executable})")
    return Check("Python", "red", f"{found} ({sys.executable})", "use Python 3.11 or 3.12: python3.12 -m venv .venv")


def _packages() -> Check:
    try:
        needed = stated()
    except PackageNotFoundError:
        return Check("packages", "yellow", "sept-sweep itself is not installed", "pip install -e .")
    wrong, wanted = [], []
    for requirement in needed:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
        else:
            if requirement.specifier.contains(found, prereleases=True):
                continue
            wrong.append(f"{requirement.name} is {found}, {requirement.specifier} is needed")
        wanted.append(f"'{requirement}'")
    if wrong:
        return Check("packages", "red", one_line("; ".join(wrong)), f"pip install {' '.join(wanted)}")
    shown = ", ".join(f"{name} {version(name)}" for name in _SHOWN)
    return Check("packages", "green", f"all as sept-sweep {version('sept-sweep')} needs them ({shown})")


def _audio() -> Check:
    try:
        import av
        import soundfile
        import torchaudio
    except (ImportError, OSError, RuntimeError) as error:
        return Check("audio libraries", "red", one_line(error), install("torch", "torchaudio", "soundfile", "av"))
    found = f"av {av.__version__}, soundfile {soundfile.__version__}, torchaudio {torchaudio.__version__}"
    return Check("audio libraries", "green", found)


def _gpus() -> Check:
    import torch

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Check("this machine", "green", f"{len(names)} GPUs ({', '.join(dict.fromkeys(names))}), {cpus} CPUs")
    if shutil.which("nvidia-smi"):
        fix = "install a torch that supports the driver: nvidia-smi shows its version"
        return Check("this machine", "yellow", f"nvidia-smi is installed, but torch sees no GPU; {cpus} CPUs", fix)
    return Check("this machine", "green", f"no GPU, {cpus} CPUs: trials run on the CPU")


def _room(name: str, folder: Path, fix: str, used: str) -> Check:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    said = f"{used}{free / 1e9:.1f} GB free in {folder}"
    if not os.access(there, os.W_OK | os.X_OK):
        return Check(name, "red", f"{folder} cannot be written", fix)
    if free < FULL_BYTES:
        return Check(name, "red", said, fix)
    return Check(name, "yellow" if free < TIGHT_BYTES else "green", said, fix if free < TIGHT_BYTES else "")
