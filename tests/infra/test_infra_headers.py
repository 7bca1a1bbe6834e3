"""Every file under infra/ says how it is used, with commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_check import command_faults

HERE = Path(__file__).parent
INFRA = HERE.parents[1] / "infra"
# Texts, pictures, what other files there read, and the package that trains `mini`.
OF_OTHERS = (
    "mini/",
    "decisions.md",
    "images/",
    "s3-policy.json",
    "s3-lifecycle.json",
    ".lock",
    "Dockerfile.dockerignore",
)
FILES = sorted(
    str(path.relative_to(INFRA))
    for path in INFRA.rglob("*")
    if path.is_file() and not {".terraform", "__pycache__"} & set(path.parts) and "tfstate" not in path.name
)
USED = [name for name in FILES if not name.startswith(OF_OTHERS) and not name.endswith(OF_OTHERS)]


def header(name: str) -> str:
    """A file's first comment or docstring, without its marks."""
    text = (INFRA / name).read_text()
    if name.endswith(".py"):
        return text.split('"""')[1]
    lines = text.removeprefix("#!/usr/bin/env bash\n").splitlines()
    first = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(line.lstrip("#")[1:] for line in lines[:first])


@pytest.mark.parametrize("name", USED)
def test_the_header_gives_the_commands(name: str) -> None:
    said = header(name)
    place = "infra/terraform" if name.startswith("terraform/") else f"infra/{name}"
    assert place in said, f"{name} does not say how it is used"
    # Indented lines are commands. What another command answers is a bucket, wherever it stands.
    said = re.sub(r'"\$\([^)]*\)"', "s3://bucket/prefix", said).replace(" ...", "")
    for line in re.findall(r"^ {2,}(sept .*)", said, re.MULTILINE):
        assert command_faults(line) == [], f"{name}: {line}"
