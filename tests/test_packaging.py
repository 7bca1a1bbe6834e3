"""What holds for the packages as a whole."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import pipeline
import search_spaces
import sept_core

ROOT = Path(__file__).parent.parent
FORBIDDEN_IN_CORE = {"ray", "mlflow", "optuna", "boto3", "pipeline", "search_spaces"}
PACKAGES = {"pipeline", "search_spaces", "sept_core"}


def modules():
    for package in (sept_core, pipeline, search_spaces):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                yield module.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_every_module_imports_and_says_what_it_is_for(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), f"{name}.__all__ names {exported}"


def imported(path: Path) -> set[str]:
    """The packages that a module imports anywhere in its text."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", sorted((ROOT / "sept_core").rglob("*.py")), ids=lambda path: path.name)
def test_the_core_knows_nothing_of_the_orchestration(path):
    assert not imported(path) & FORBIDDEN_IN_CORE


def test_the_wheel_has_the_three_packages_and_they_need_nothing_else_of_the_repository():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert {*build["targets"]["wheel"]["packages"]} == PACKAGES
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        assert not imported(path) & {"infra", "tests"}, path


def test_no_tracked_file_is_too_large_for_a_repository():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    sizes = {path: (ROOT / path).stat().st_size for path in listed.stdout.splitlines() if (ROOT / path).is_file()}
    assert max(sizes.values()) < 10_000_000
