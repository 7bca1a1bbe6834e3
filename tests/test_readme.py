"""The README says what holds: its code runs, its commands and files exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

from pipeline.cli.app import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
# Any import of these now raises, as where they are not installed.
WITHOUT_ORCHESTRATION = """
import sys
for name in ("boto3", "mlflow", "openai", "optuna", "pipeline", "ray", "search_spaces"):
    sys.modules[name] = None
"""


@pytest.mark.parametrize("code", SNIPPETS, ids=range(len(SNIPPETS)))
def test_python_in_the_readme_runs_without_the_orchestration_being_installed(code, tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_ORCHESTRATION + code], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() or "print" not in code


def test_training_in_a_notebook_takes_ten_lines():
    code = SNIPPETS[0]
    assert "coop+sept" in code
    assert len([line for line in code.splitlines() if line and not line.startswith("from ")]) <= 10


@pytest.mark.parametrize("line", sorted(set(re.findall(r"\bsept ((?:[a-z]+ ?)+)", README))))
def test_commands_in_the_readme_exist(line):
    command: click.Command = typer.main.get_command(app)
    for word in line.split():
        if not hasattr(command, "commands"):
            break  # what follows a command is its argument
        found = command.get_command(click.Context(command), word)
        assert found is not None, f"the README names 'sept {line.strip()}', and there is no '{word}'"
        command = found


def commands() -> list[list[str]]:
    """Every whole command in the README's blocks as words, in its order, each once, without its comment."""
    lines = re.findall(r"^    (?:.*&& )?sept (.+)$", README, re.MULTILINE)
    found = dict.fromkeys(tuple(shlex.split(re.split(r"\s+#|\s+&| & ", line)[0])) for line in lines)
    return [list(words) for words in found]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_in_the_readme_can_be_given_as_they_stand(words):
    command: click.Command = typer.main.get_command(app)
    context = click.Context(command)
    # Typer may bring a click of its own, whose groups are not of click's class.
    while hasattr(command, "commands"):
        found = command.get_command(context, words[0])
        assert found is not None
        command, words = found, words[1:]
    # Raises for an option that is not there, a value that cannot be, an argument that is missing.
    command.make_context(command.name, [*words], parent=context)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(((?!https?:)[^)#]+)", README))))
def test_files_that_the_readme_links_exist(link):
    assert (ROOT / link).exists()
