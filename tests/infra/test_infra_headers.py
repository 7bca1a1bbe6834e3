"""Every file under infra/ says how it is used, with commands that exist, and is read by a check."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch
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
CHECKS = [path.read_text() for path in HERE.glob("*.py") if path.name != Path(__file__).name]


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


def paths_in(code: str) -> set[str]:
    """Last parts of the paths that code makes (``INFRA / "name"``) and patterns that it lists (``.glob("*.tf")``)."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        last = node.right if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) else None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "glob":
            [last] = node.args
        if isinstance(last, ast.Constant):
            found.add(str(last.value))
    return found


READ = {path for code in CHECKS for path in paths_in(code)}


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_read_by_a_check(name: str) -> None:
    if not name.startswith(("decisions.md", "images/")):
        assert any(fnmatch(Path(name).name, path) for path in READ), f"no check reads {name}"


def test_a_file_that_is_only_spoken_of_is_not_read() -> None:
    assert paths_in('"""infra/ray-aws.yaml"""\nfault = "compose"  # slurm.sbatch\nassert "lock.py" in fault') == set()
    assert paths_in('(INFRA / "lock.py").read_text(), sorted(MODULE.glob("*.tf"))') == {"lock.py", "*.tf"}
