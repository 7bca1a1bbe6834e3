"""Removes the parts of PyPI's torch that only a GPU needs from an environment:

    python infra/cpu_only.py        # infra/Dockerfile does it for DEVICE=cpu-pypi

PyPI has torch for Linux only with CUDA, and it cannot be imported without the CUDA libraries that it is linked to. But
a process without a GPU opens only some of them. Files that a training step opens are kept. All other files of the
nvidia packages are deleted, and so is Triton, which compiles for GPUs. Afterwards the torch of this environment cannot
use a GPU.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

STEP = """
import torch, torchaudio
layer = torch.nn.Linear(8, 8)
torch.linalg.svdvals(torchaudio.functional.resample(layer(torch.randn(8, 8)), 4, 2)).sum().backward()
assert not torch.cuda.is_available()
print(torch.__file__)
print(open("/proc/self/maps").read())
"""


def trim(site: Path, opened: set[str]) -> int:
    """Remove Triton and the files of the nvidia packages that were not opened from the folder ``site``. Returns their
    size."""
    triton = site / "triton"
    unused = [path for path in triton.rglob("*") if path.is_file()]
    unused += [
        path
        for path in (site / "nvidia").rglob("*")
        if path.is_file() and path.suffix != ".py" and str(path.resolve()) not in opened
    ]
    freed = sum(path.lstat().st_size for path in unused)
    for path in unused:
        path.unlink()
    shutil.rmtree(triton, ignore_errors=True)
    return freed


def main() -> int:
    """Train a step, remove what it did not open, and train it again."""
    seen = subprocess.run([sys.executable, "-c", STEP], check=True, stdout=subprocess.PIPE, text=True).stdout
    first, *maps = seen.splitlines()
    freed = trim(Path(first).parents[1], {line.split()[-1] for line in maps if "/" in line})
    subprocess.run([sys.executable, "-c", STEP], check=True, stdout=subprocess.DEVNULL)
    sys.stdout.write(f"{freed / 1e9:.1f} GB that only a GPU needs were removed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
