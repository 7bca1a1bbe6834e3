"""Removes from an environment what only a GPU needs of PyPI's torch:

    python infra/cpu_only.py        # infra/Dockerfile does it for DEVICE=cpu-pypi

PyPI has torch for Linux with CUDA only, and it cannot be imported without its CUDA libraries: it is linked to them. But
a process without a GPU opens only some. What a training step has opened stays. All other files of the nvidia packages
go, and so does Triton, which compiles for GPUs. The torch of this environment can use no GPU afterwards.
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
    """Remove Triton, and what was not opened of the nvidia packages, from the folder ``site``. Returns their bytes."""
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
    sys.stdout.write(f"{freed / 1e9:.1f} GB that only a GPU needs are gone\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
