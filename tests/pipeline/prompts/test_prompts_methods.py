"""Methods whose parameters are no context, or that change logits, are exported, ranked with, and looked at like any."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from finished import CLASSES, METHODS, SPEC, SWEEP, add_trial, write_tone

from pipeline.prompts.measure_space import measure_missing
from pipeline.reports import collect
from pipeline.store import TrialStore, open_files
from sept_core.methods import hyper_parameters, split_method

OTHERS = ("subt", "subt+sept", "lasp+sept", "prograd", "coop+zebra", "coop+zebra+sept")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("others")
    store = TrialStore(open_files(root))
    store.write_spec(SWEEP, SPEC.replace(", ".join(METHODS), ", ".join(OTHERS)))
    for method in OTHERS:
        known = hyper_parameters(*split_method(method))
        add_trial(store, method, 0, {name: value for name, value in (("n_ctx", 2), ("lr", 0.05)) if name in known})
    return root


@pytest.mark.parametrize("method", OTHERS)
def test_export_then_predict(
    sept: Callable[..., tuple[int, str, str]], root: Path, tmp_path: Path, method: str
) -> None:
    code, out, err = sept("export", SWEEP, f"ESC10.{method}", "--root", root, "--to", "mine")
    assert (code, err) == (0, "")
    assert "Measured again: equal to the sweep's record" in out
    clip = write_tone(tmp_path / "tone.wav")
    code, out, _ = sept("predict", clip, "--prompt", "mine", "--classes", ", ".join(CLASSES), "--json")
    assert code == 0
    (shown,) = json.loads(out)
    assert {one["class"] for one in shown["ranking"]} == set(CLASSES)
    assert sum(one["probability"] for one in shown["ranking"]) == pytest.approx(1)


def test_their_prompt_spaces_are_measured(root: Path) -> None:
    store = TrialStore(open_files(root))
    measured = measure_missing(store, str(root), SWEEP, collect(store, SWEEP))
    assert (measured.refused, measured.left) == ({}, ())
    assert measured.measured > 0
