"""Presets: the settings of a published code, under what the sweep says itself."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.spec import SweepSpec, parse_sweep, preset_lines, spec_differences
from pipeline.spec.presets import presets
from sept_core.errors import InputError
from sept_core.methods import hyper_parameters

REPORTS = "training: {report_every: 10}\n"


def sweep(methods: str, rest: str, overrides: dict[str, Any] | None = None) -> SweepSpec:
    head = f"name: x\nencoder: mini\ndatasets: [ESC10]\nmethods: [{methods}]\ntrials: 2\n"
    return parse_sweep(head + rest, "x.yaml", overrides)


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_preset_fixes_values_that_its_baselines_declare_and_a_sweep_with_it_alone_has_its_training(name: str) -> None:
    preset = presets()[name]
    assert preset.source.count("/") == 1
    for baseline in preset.baselines:
        spec = sweep(f"{baseline}, {baseline}+sept", f"presets: {{{baseline}: {name}}}\n{REPORTS}")
        plain, with_sept = spec.studies()
        assert plain.trials == 1
        assert plain.constants == {key: dimension.fixed for key, dimension in preset.space.items()}
        assert plain.constants.items() <= with_sept.constants.items()
        assert set(plain.constants) <= set(hyper_parameters(baseline, False))
        assert (spec.training.epochs, spec.training.batch_size) == (preset.training.epochs, preset.training.batch_size)
        assert list(preset_lines(spec)) == [f"Preset of {baseline}: {name} ({preset.source})"]
        assert parse_sweep(spec.text(), "spec.yaml") == spec


def test_what_the_sweep_says_itself_goes_before_its_preset_and_is_named() -> None:
    rest = "presets: {kgcoop: kgcoop-paper}\ntraining: {report_every: 10, epochs: 30}\n"
    own = {"spaces.kgcoop": {"context_init": {"fixed": "this is a sound of"}, "lr": {"low": 0.01, "high": 0.1}}}
    spec = sweep("coop, kgcoop", rest, own)
    coop, kgcoop = spec.studies()
    assert set(coop.searched) == {"lr", "n_ctx"}
    assert set(kgcoop.searched) == {"lr"}
    assert kgcoop.constants["context_init"] == "this is a sound of"
    assert kgcoop.constants["kg_weight"] == 8.0
    assert (spec.training.epochs, spec.training.batch_size) == (30, 128)
    changed = "changed by this sweep: context_init, lr, epochs 30 (preset: 100)"
    assert list(preset_lines(spec)) == [f"Preset of kgcoop: kgcoop-paper (htyao89/KgCoOp); {changed}"]


def test_presets_are_compared_between_launches_as_what_they_give() -> None:
    preset = sweep("coop", f"presets: {{coop: coop-paper}}\n{REPORTS}")
    spelled_out = parse_sweep(preset.text().replace("presets:\n  coop: coop-paper\n", ""), "x.yaml")
    assert not spelled_out.presets
    assert spec_differences(preset, spelled_out) == []
    assert spec_differences(preset, sweep("coop", f"presets: {{coop: palm}}\n{REPORTS}"))


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (
            "presets: {coop: coop-papr}\n" + REPORTS,
            "presets.coop: unknown preset 'coop-papr'; did you mean 'coop-p",
        ),
        (
            "presets: {coop: kgcoop-paper}\n" + REPORTS,
            "presets.coop: preset 'kgcoop-paper' is for kgcoop; for coop: ",
        ),
        ("presets: {kgcoop: kgcoop-paper}\n" + REPORTS, "presets.kgcoop: no method of this sweep uses 'kgcoop'"),
        ("presets: coop-paper\n" + REPORTS, "presets: 'coop-paper': not a mapping of keys to values"),
        ("presets: {coop: [palm]}\n" + REPORTS, "presets.coop: .*valid string"),
        (
            "presets: {coop: coop-paper, dept: dept-paper}\ntraining: {report_every: 10, batch_size: 8}\n",
            "training.epochs: the presets do not agree: coop-paper has 200, dept-paper has 10; choose one",
        ),
        (
            f"spaces: {{coop: {{context_init: {{fixed: a photo of a}}}}}}\n{REPORTS[:-2]}, epochs: 20}}\n",
            "spaces.coop.n_ctx: n_ctx is searched, and the context starts from the words 'a photo of a'",
        ),
        (
            f"spaces: {{coop: {{n_ctx: {{choices: [0, 4]}}}}}}\n{REPORTS[:-2]}, epochs: 20}}\n",
            "spaces.coop.n_ctx: a random context of no tokens",
        ),
        (
            f"spaces: {{coop: {{warmup_epochs: {{choices: [0, 20]}}}}}}\n{REPORTS[:-2]}, epochs: 20}}\n",
            "spaces.coop.warmup_epochs: all 20 epochs would be warm-up",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line_with_its_place(rest: str, said: str) -> None:
    with pytest.raises(InputError, match=f"x.yaml: {said}") as caught:
        sweep("coop, dept", rest)
    assert "\n" not in str(caught.value)
