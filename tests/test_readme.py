"""What README and docs say holds: their code runs, their commands, keys and files exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from pipeline.cli.app import app
from pipeline.spec import parse_sweep
from pipeline.spec.models import Dimension, EncoderFiles, MethodResources, Pruner, Resources, Sampler, Training
from pipeline.spec.sweep import SweepSpec

ROOT = Path(__file__).parent.parent


def in_nav(entry: Any) -> Iterator[str]:
    """The pages of the site in the reader's order."""
    if isinstance(entry, str):
        yield entry
    for inner in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
        yield from in_nav(inner)


SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README} | {
    f"docs/{name}": (ROOT / "docs" / name).read_text(encoding="utf-8") for name in in_nav(SITE["nav"])
}

# Any import of these now raises, as where they are not installed.
WITHOUT_ORCHESTRATION = """
import sys
for name in ("boto3", "mlflow", "openai", "optuna", "pipeline", "ray", "search_spaces"):
    sys.modules[name] = None
"""


def test_training_in_a_notebook_runs_without_the_orchestration_and_takes_ten_lines(tmp_path):
    [code] = re.findall(r"```python\n(.*?)```", PAGES["docs/notebook.md"], re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_ORCHESTRATION + code], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
    assert "coop+sept" in code
    assert len([line for line in code.splitlines() if line and not line.startswith("from ")]) <= 10


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 200


def test_the_readmes_sweep_can_be_loaded():
    [text] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert [study.method for study in parse_sweep(text, "README.md").studies()] == ["zero-shot", "coop", "coop+sept"]


# Keys whose value is a mapping, and the keys within it.
WITHIN = {
    "encoder": (EncoderFiles,),
    "training": (Training,),
    "sampler": (Sampler,),
    "pruner": (Pruner,),
    "resources": (Resources, MethodResources),
    "spaces": (Dimension,),
}


def test_the_readmes_table_names_every_key_of_a_sweep():
    rows = [line.split("|") for line in README.splitlines() if re.match(r"\| `[a-z_]+`.*\|$", line)]
    named = {key: "|".join(row) for row in rows for key in re.findall(r"`([a-z_]+)`", row[1])}
    # Only sept ablate writes an ablation.
    assert named.keys() == SweepSpec.model_fields.keys() - {"ablation"}
    for key, models in WITHIN.items():
        inner = {name for model in models for name in model.model_fields}
        assert {name for name in inner if f"`{name}`" not in named[key]} == set(), f"{key} has more keys"


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page):
    for line in sorted(set(re.findall(r"\bsept ((?:[a-z]+ ?)+)", PAGES[page]))):
        command: click.Command = typer.main.get_command(app)
        for word in line.split():
            if not hasattr(command, "commands"):
                break  # what follows a command is its argument
            found = command.get_command(click.Context(command), word)
            assert found is not None, f"{page} names 'sept {line.strip()}', and there is no '{word}'"
            command = found


def commands() -> list[list[str]]:
    """Every whole command in the pages' blocks as words, in their order, each once, without its comment."""
    lines = re.findall(r"^    (?:.*&& )?sept (.+)$", "\n".join(PAGES.values()), re.MULTILINE)
    found = dict.fromkeys(tuple(shlex.split(re.split(r"\s+#|\s+&| & ", line)[0])) for line in lines)
    return [list(words) for words in found]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_can_be_given_as_they_stand(words):
    command: click.Command = typer.main.get_command(app)
    context = click.Context(command)
    # Typer may bring a click of its own, whose groups are not of click's class.
    while hasattr(command, "commands"):
        found = command.get_command(context, words[0])
        assert found is not None
        command, words = found, words[1:]
    # Raises for an option that is not there, a value that cannot be, an argument that is missing.
    command.make_context(command.name, [*words], parent=context)


TEXTS = PAGES | {name: (ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "infra/decisions.md")}


@pytest.mark.parametrize("text", TEXTS)
def test_files_that_a_text_names_exist(text):
    links = re.findall(r"\]\(((?!https?:)[^)#]+)", TEXTS[text])
    named = re.findall(r"`((?:docs|infra|pipeline|search_spaces|sept_core|tests)/[\w./-]*)`", TEXTS[text])
    paths = [(ROOT / text).parent / link for link in links] + [ROOT / path for path in named]
    assert [str(path) for path in paths if not path.exists()] == []


def test_every_page_is_in_the_sites_navigation():
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} == PAGES.keys() - {"README.md"}


def test_messages_that_troubleshooting_explains_are_those_of_the_product() -> None:
    sources = [file.read_text() for package in ("pipeline", "sept_core") for file in (ROOT / package).rglob("*.py")]
    written = " ".join(re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources)).split())
    rows = [
        row.split("|")[1] for row in (ROOT / "docs/troubleshooting.md").read_text().splitlines() if row[:3] == "| `"
    ]
    assert len(rows) > 8
    for message in (message for row in rows for message in re.findall("`([^`]+)`", row)):
        pieces = re.split(r"'x'|127\.0\.0\.1:9000|ESC50|\bmini\b|msclap-2023|N on HOST|;|\.\.\.", message)
        lost = [
            piece for piece in (piece.strip(" ;:'()") for piece in pieces) if len(piece) > 7 and piece not in written
        ]
        assert not lost, message
