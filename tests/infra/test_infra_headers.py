"""Every file under infra/ says how it is used, with commands that exist, and has a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_check import command_faults

HERE = Path(__file__).parent
INFRA = HERE.parents[1] / "infra"
# Texts, pictures, and what other files there read.
OF_OTHERS = ("decisions.md", "images/", "s3-policy.json", "s3-lifecycle.json", ".lock", "Dockerfile.dockerignore")
FILES = sorted(
    str(path.relative_to(INFRA))
    for path in INFRA.rglob("*")
    if path.is_file() and not {".terraform", "__pycache__"} & set(path.parts) and "tfstate" not in path.name
)
USED = [name for name in FILES if not name.startswith(OF_OTHERS) and not name.endswith(OF_OTHERS)]
TESTS = "".join(path.read_text() for path in HERE.glob("*.py") if path.name != Path(__file__).name)


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


def test_a_command_that_does_not_exist_is_found() -> None:
    assert command_faults("sept sweep submit full --address http://127.0.0.1:8265 --root s3://b/p  # says") == []
    assert command_faults("sept sweep submit full --adress http://127.0.0.1:8265")
    assert command_faults("sept sweep sumbit full") == ["no command sumbit"]


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_checked_by_a_test(name: str) -> None:
    if not name.startswith(("decisions.md", "images/")):
        what = "*.tf" if name.endswith(".tf") else Path(name).name
        what = "s3-*.json" if name.startswith("s3-") else what
        assert what in TESTS or f"{Path(name).stem}" in re.findall(r'"([\w-]+)"', TESTS), f"no test reads {name}"
