"""``sept init``: a sweep with every key, which runs as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from pipeline import load_spec
from pipeline.spec.models import Dimension, EncoderFiles, MethodResources, Pruner, Resources, Sampler, Training
from pipeline.spec.sweep import SweepSpec

Sept = Callable[..., tuple[int, str, str]]


def uncommented(text: str) -> str:
    """Every key as if it were set."""
    return re.sub(r"^(\s*)# (?=[a-z_]+:)", r"\1", text, flags=re.MULTILINE)


def test_it_writes_a_sweep_that_can_be_planned(sept: Sept, tmp_path: Path) -> None:
    code, out, _ = sept("init", "mine")
    assert code == 0
    assert "sept sweep launch mine.yaml" in out
    spec = load_spec(tmp_path / "mine.yaml")
    assert spec.name == "mine"
    code, out, err = sept("sweep", "plan", "mine.yaml")
    assert code == 0, err
    assert "6 studies" in out


@pytest.mark.parametrize(
    "model", [SweepSpec, EncoderFiles, Training, Sampler, Pruner, Resources, MethodResources, Dimension]
)
def test_every_key_is_in_it(model: type[BaseModel], sept: Sept, tmp_path: Path) -> None:
    sept("init")
    text = uncommented((tmp_path / "sweep.yaml").read_text())
    # Only sept ablate writes an ablation.
    keys = model.model_fields.keys() - {"ablation"}
    assert [key for key in keys if not re.search(rf"(^\s*|[{{ ]){key}:", text, re.MULTILINE)] == []


def test_what_is_commented_out_is_the_default_or_valid(sept: Sept, tmp_path: Path) -> None:
    sept("init")
    text = (tmp_path / "sweep.yaml").read_text()
    keys = re.findall(r"^# ([a-z_]+:.*)$", text, re.MULTILINE)
    assert len(keys) > 8
    for line in keys:
        key = line.partition(":")[0]
        # One at a time, in place of what stands there; the two of cross-dataset go together.
        if key in ("sources", "targets", "neighbors"):
            continue
        changed = re.sub(rf"^{key}:.*$", "", text, flags=re.MULTILINE).replace(f"# {line}", line)
        (tmp_path / "changed.yaml").write_text(changed)
        load_spec(tmp_path / "changed.yaml")


@pytest.mark.parametrize(
    ("file", "says"),
    [("there.yaml", "there.yaml: is there already"), ("no/such.yaml", "cannot be written"), ("a b.yaml", "name")],
)
def test_what_cannot_be_written_is_one_line(sept: Sept, tmp_path: Path, file: str, says: str) -> None:
    (tmp_path / "there.yaml").write_text("kept")
    code, _, err = sept("init", file)
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert (tmp_path / "there.yaml").read_text() == "kept"
    assert not (tmp_path / "a b.yaml").exists()
