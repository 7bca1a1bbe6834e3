"""What is wrong with a container image's recipe and its lock files, as lines; no engine is needed for any of it."""

from __future__ import annotations

import fnmatch
import re
import shlex
import tomllib
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

__all__ = ["dockerfile_faults", "lock_faults", "read_lock"]

KNOWN = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "WORKDIR"}
TARGET = default_environment() | {"python_version": "3.11", "sys_platform": "linux", "platform_system": "Linux"}


def instructions(text: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions, continued lines put together."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = []
    for line in filter(str.strip, joined.splitlines()):
        word, _, rest = line.strip().partition(" ")
        found.append((word.upper(), rest.strip()))
    return found


def dockerfile_faults(text: str, ignored: str, root: Path) -> list[str]:
    """Of a Dockerfile whose context is ``root`` without what ``ignored``, a .dockerignore, leaves out."""
    steps = instructions(text)
    faults = [f"no such instruction: {word}" for word, _ in steps if word not in KNOWN]
    # By number: a cluster that asks for runAsNonRoot cannot tell from a name.
    user = re.fullmatch(r"(\d+):\1", next((rest for word, rest in reversed(steps) if word == "USER"), "0:0"))
    if user is None or user[1] == "0":
        faults.append("runs as root, or as a name")
    elif f"useradd --create-home --uid {user[1]} " not in text:
        faults.append(f"nobody makes the user {user[1]}")
    base = next((rest for word, rest in steps if word == "ARG" and rest.startswith("BASE=")), "")
    if ("FROM", "$BASE") not in steps or not re.fullmatch(r"BASE=python:3\.11(\.\d+)?-slim-\w+", base):
        faults.append("the base is no slim image of CPython 3.11 on a named Debian, as an argument")
    if ("ENTRYPOINT", '["tini", "--"]') not in steps or "recommends tini " not in text:
        faults.append("no init is process 1")
    if ("ARG", "DEVICE=cpu") not in steps:
        faults.append("DEVICE is no argument with a default")
    runs = " ; ".join(rest for word, rest in steps if word == "RUN")
    for device in ("cpu", "cpu-pypi", "cuda"):
        installed = re.search(rf" {device}\) pip([^;]*)", runs)
        if installed is None:
            faults.append(f"nothing is installed for DEVICE={device}")
        elif device != "cpu" and "--index-url" in installed[1]:
            faults.append(f"DEVICE={device} needs another index than PyPI")
    if "*) echo" not in runs or "exit 2" not in runs:
        faults.append("another DEVICE is not refused")
    for installed in re.findall(r"pip install ([^;&]*)", runs):
        if "--no-deps" not in installed:
            faults.append(f"resolves anew: pip install {installed.strip()}")
        if "torch-cpu.lock" not in installed and "-r" in installed and "--require-hashes" not in installed:
            faults.append(f"hashes are not asked for: pip install {installed.strip()}")
        if "requirements.lock" in installed and "--only-binary :all:" not in installed:
            faults.append(f"builds packages with tools that nothing pins: pip install {installed.strip()}")
    copied = [path for word, rest in steps if word == "COPY" for path in shlex.split(rest)[:-1]]
    for path in copied:
        if not (root / path).exists():
            faults.append(f"COPY of what is not there: {path}")
        elif left_out(path, ignored):
            faults.append(f"COPY of what .dockerignore leaves out: {path}")
    for lock in re.findall(r"-r (\S+)", runs):
        if f"infra/{lock}" not in copied:
            faults.append(f"installs from a lock that is not copied: {lock}")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "pyproject.toml", "README.md"]
    faults += [f"the package's {path} is not copied" for path in wanted if path not in copied]
    if not left_out("sept-runs/trials", ignored) or not left_out(".git/config", ignored):
        faults.append("results or history get into the context")
    return faults


def left_out(path: str, ignored: str) -> bool:
    """Whether a .dockerignore leaves a path out: its last line that matches it, or a folder above it, says so."""
    parts = path.split("/")
    heads = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    out = False
    for line in filter(None, (line.strip() for line in ignored.splitlines())):
        if not line.startswith("#") and any(fnmatch.fnmatch(head, line.lstrip("!")) for head in heads):
            out = not line.startswith("!")
    return out


def read_lock(text: str) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Versions and counts of hashes by package, and the lines that pin nothing."""
    pins: dict[str, tuple[str, int]] = {}
    loose = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pinned = re.match(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+]+)(?:\s|$|;)", line)
        if pinned is None:
            loose.append(line.split("--hash")[0].strip())
        else:
            pins[canonicalize_name(pinned[1])] = (pinned[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", line)))
    return pins, loose


def lock_faults(project: str, plain: str, cpu: str, cuda: str) -> list[str]:
    """Of lock files, against the pyproject.toml that they were made of."""
    faults = []
    pins: dict[str, dict[str, tuple[str, int]]] = {}
    for name, text in (("requirements", plain), ("torch-cpu", cpu), ("torch-cuda", cuda)):
        pins[name], loose = read_lock(text)
        faults += [f"{name}: pins nothing: {line}" for line in loose]
        if name != "torch-cpu":
            faults += [f"{name}: no hash of {package}" for package, (_, hashes) in pins[name].items() if not hashes]
    table = tomllib.loads(project)
    wanted = table["project"]["dependencies"] + table["project"]["optional-dependencies"]["cluster"]
    for line in wanted + table["build-system"]["requires"]:
        requirement = Requirement(line)
        package = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate(TARGET):
            continue
        places = ("torch-cpu", "torch-cuda") if package in ("torch", "torchaudio") else ("requirements",)
        for place in places:
            if package not in pins[place]:
                faults.append(f"{place}: {package} is missing")
            elif not requirement.specifier.contains(Version(pins[place][package][0])):
                faults.append(f"{place}: {package} {pins[place][package][0]} is not {requirement.specifier}")
    for package in ("torch", "torchaudio"):
        if pins["torch-cpu"].get(package, ("",))[0] != pins["torch-cuda"].get(package, ("",))[0]:
            faults.append(f"{package} differs between torch-cpu and torch-cuda")
    return faults
