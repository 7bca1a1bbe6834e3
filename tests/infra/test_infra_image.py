"""infra/Dockerfile, its .dockerignore and the lock files: complete, pinned, not root.

``test_infra_image_build.py`` builds it for real.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from image_check import dockerfile_faults, lock_faults, read_lock

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
DOCKERFILE = (INFRA / "Dockerfile").read_text()
IGNORED = (INFRA / "Dockerfile.dockerignore").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()
LOCKS = {
    "requirements": (INFRA / "requirements.lock").read_text(),
    "torch-cpu": (INFRA / "torch-cpu.lock").read_text(),
    "torch-cuda": (INFRA / "torch-cuda.lock").read_text(),
}


def test_the_recipe_is_sound() -> None:
    assert dockerfile_faults(DOCKERFILE, IGNORED, ROOT) == []


def test_the_lock_files_pin_everything_that_pyproject_asks_for() -> None:
    assert lock_faults(PROJECT, LOCKS["requirements"], LOCKS["torch-cpu"], LOCKS["torch-cuda"]) == []


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_what_a_cpu_opens_of_the_gpu_packages_is_kept(tmp_path: Path) -> None:
    kept = ["nvidia/cu13/lib/libcublas.so.13", "nvidia/cu13/__init__.py", "torch/lib/libtorch_cuda.so"]
    gone = ["nvidia/cudnn/lib/libcudnn_ops.so.9", "nvidia/cu13/include/cuda.h", "triton/_C/libtriton.so"]
    for name in kept + gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(10))
    freed = loaded(INFRA / "cpu_only.py").trim(tmp_path, {str(tmp_path / kept[0])})
    assert {path for path in kept + gone if (tmp_path / path).exists()} == set(kept)
    assert freed == 30
    assert not (tmp_path / "triton").exists()


def test_refreshing_sorts_what_was_resolved_into_the_three_files() -> None:
    lock = loaded(INFRA / "lock.py")
    hashed = " \\\n    --hash=sha256:" + "0" * 64
    resolved = "\n".join(
        f"{pin}{hashed}" for pin in ("nvidia-nccl-cu13==2.1", "rich==13.0", "torch==2.12", "torchaudio==2.11")
    )
    made = lock.split(resolved + "\n")
    assert {name: sorted(read_lock(text)[0]) for name, text in made.items()} == {
        "requirements.lock": ["rich"],
        "torch-cuda.lock": ["nvidia-nccl-cu13", "torch", "torchaudio"],
        "torch-cpu.lock": ["torch", "torchaudio"],
    }
    assert not any(hashes for _, hashes in read_lock(made["torch-cpu.lock"])[0].values())
    assert all(hashes for _, hashes in read_lock(made["torch-cuda.lock"])[0].values())
