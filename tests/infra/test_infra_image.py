"""infra/Dockerfile, its .dockerignore and the lock files: complete, pinned, not root.

``test_infra_image_build.py`` builds it for real.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
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


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("USER 1000:1000\n", "", "runs as root"),
        ("USER 1000:1000\n", "USER root\n", "runs as root"),
        ("USER 1000:1000\n", "USER sept\n", "runs as root, or as a name"),
        ("--uid 1000 sept", "--uid 1001 sept", "nobody makes the user 1000"),
        ("python:3.11-slim-bookworm", "python:latest", "the base is no slim image"),
        ("FROM $BASE", "FROM python:3.11-slim-bookworm", "as an argument"),
        ('ENTRYPOINT ["tini", "--"]\n', "", "no init is process 1"),
        ("recommends tini wget", "recommends wget", "no init is process 1"),
        ("ARG DEVICE=cpu\n", "", "DEVICE is no argument"),
        (" cuda) pip", " gpu) pip", "nothing is installed for DEVICE=cuda"),
        (
            "cpu-pypi) pip install",
            'cpu-pypi) pip install --index-url "$TORCH_INDEX"',
            "DEVICE=cpu-pypi needs another index",
        ),
        ("--only-binary :all: ", "", "tools that nothing pins"),
        ("exit 2", "true", "another DEVICE is not refused"),
        ("COPY pipeline pipeline", "COPY pipelines pipeline", "COPY of what is not there: pipelines"),
        ("COPY pipeline pipeline\n", "", "the package's pipeline is not copied"),
        ("LICENSE ./", "LICENSE .gitignore ./", "COPY of what .dockerignore leaves out: .gitignore"),
        ("COPY infra/requirements.lock ./\n", "", "installs from a lock that is not copied: requirements.lock"),
        ("--no-deps --only-binary :all:", "--only-binary :all:", "resolves anew"),
        ("--require-hashes -r requirements.lock", "-r requirements.lock", "hashes are not asked for"),
        ("CMD [", "COMMAND [", "no such instruction: COMMAND"),
    ],
)
def test_a_broken_recipe_is_found(before: str, after: str, fault: str) -> None:
    assert before in DOCKERFILE
    assert fault in "\n".join(dockerfile_faults(DOCKERFILE.replace(before, after), IGNORED, ROOT))


def test_a_broken_dockerignore_is_found() -> None:
    assert dockerfile_faults(DOCKERFILE, IGNORED.replace("\n*\n", "\n"), ROOT) == [
        "results or history get into the context"
    ]


def test_the_lock_files_pin_everything_that_pyproject_asks_for() -> None:
    assert lock_faults(PROJECT, LOCKS["requirements"], LOCKS["torch-cpu"], LOCKS["torch-cuda"]) == []


@pytest.mark.parametrize(
    ("lock", "before", "after", "fault"),
    [
        ("requirements", r"\nray==[0-9.]+ ", "\nray==1.0 ", "requirements: ray 1.0 is not"),
        ("requirements", r"\npsycopg2-binary==", "\nother==", "requirements: psycopg2-binary is missing"),
        ("requirements", r"\nhatchling==", "\nother==", "requirements: hatchling is missing"),
        ("requirements", r"\nsix==", "\nsix>=", "requirements: pins nothing: six>="),
        ("requirements", r"(\nsix==[0-9.]+) (?:\\\n\s+--hash=\S+ ?)+", r"\1", "requirements: no hash of six"),
        ("torch-cpu", r"\ntorch==[0-9.]+", "\ntorch==2.12.0", "torch differs between"),
        ("torch-cuda", r"\ntorch==[0-9.]+", "\ntorch==3.0.0", "torch-cuda: torch 3.0.0 is not"),
    ],
)
def test_a_broken_lock_is_found(lock: str, before: str, after: str, fault: str) -> None:
    changed, count = re.subn(before, after, LOCKS[lock], count=1)
    assert count == 1
    locks = LOCKS | {lock: changed}
    assert fault in "\n".join(lock_faults(PROJECT, locks["requirements"], locks["torch-cpu"], locks["torch-cuda"]))


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
