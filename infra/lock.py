"""Updates the lock files for infra/Dockerfile from pyproject.toml:

    python infra/lock.py        # writes requirements.lock, torch-cpu.lock and torch-cuda.lock in infra/

It uses uv's resolver, in a separate virtual environment, for CPython 3.11 on x86-64 Linux. Everything is pinned by
version and by the hashes of all its files, except torch and torchaudio for CPUs: their wheels on PyTorch's own index
differ from PyPI's of the same versions, and are pinned by version (torch-cpu.lock). The index is uv's own setting
(UV_DEFAULT_INDEX).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = "3.11"
EXTRA = "cluster"
# Torch and the GPU packages that its wheels on PyPI require.
GPU = re.compile(r"torch|torchaudio|triton|nvidia-.*|cuda-.*")
TORCH = ("torch", "torchaudio")
HEADER = "# Made by infra/lock.py; do not edit. {}\n"


def resolve(project: Path) -> str:
    """Every package that the project needs, pinned and hashed."""
    with tempfile.TemporaryDirectory(prefix="sept-lock-") as made:
        folder = Path(made)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
        # The build requirements of the package are installed from the lock, too.
        build = folder / "build.in"
        build.write_text("\n".join(tomllib.loads(project.read_text(encoding="utf-8"))["build-system"]["requires"]))
        options = ("--generate-hashes", "--no-header", "--no-annotate", "--quiet", "--output-file", folder / "all.txt")
        platform = ("--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28", "--extra", EXTRA)
        command = [python.with_name("uv"), "pip", "compile", project, build, *platform, *options]
        subprocess.run(command, check=True)
        return (folder / "all.txt").read_text(encoding="utf-8")


def split(resolved: str) -> dict[str, str]:
    """The lock files by name: all but torch, torch with its packages for GPUs, and torch without."""
    blocks = re.findall(r"^\S.*(?:\n\s+.*)*", resolved, re.MULTILINE)
    pins = {re.split(r"[=\[;@ ]", block)[0]: block for block in blocks if not block.startswith("#")}
    plain = [pin for name, pin in pins.items() if not GPU.fullmatch(name)]
    gpu = [pin for name, pin in pins.items() if GPU.fullmatch(name)]
    cpu = [pins[name].split(" \\")[0] for name in TORCH]
    return {
        "requirements.lock": _file("All but torch.", plain),
        "torch-cuda.lock": _file("Torch as PyPI has it, with CUDA.", gpu),
        "torch-cpu.lock": _file("Torch without CUDA, from PyTorch's own index: by version only.", cpu),
    }


def _file(says: str, pins: list[str]) -> str:
    return HEADER.format(says) + "\n".join(pins) + "\n"


def main() -> int:
    """Write them all, once everything has been resolved."""
    made = split(resolve(HERE.parent / "pyproject.toml"))
    for name, text in made.items():
        fresh = HERE / f"{name}.new"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(HERE / name)
        packages = len(re.findall(r"^\w", text, re.MULTILINE))
        sys.stdout.write(f"{name}: {packages} packages\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
