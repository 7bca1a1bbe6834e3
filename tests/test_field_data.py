"""Data sets as their authors ship them, with their real names, folds and digests, go all the way to a trained trial."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from field_data import MAKERS, METADATA, make

from pipeline.cli import main
from pipeline.search.inputs import load_inputs
from pipeline.search.sizing import middle, trial_config
from pipeline.spec import load_sweep
from sept_core.datasets import DATASETS, check_manifest, get_dataset, read_layout
from sept_core.trial import TrialRun

Sept = Callable[..., str]

pytestmark = pytest.mark.skipif(not METADATA.is_dir(), reason="no folder with real metadata beside the project")

CROSSING = {
    "esc50": "4 recordings are in both training and test of the published split (131943 and 134049 in folds 2 and 3, "
    "209698 and 234879 in folds 4 and 5), with 9 of ",
    "urbansound8k": "5 recordings are in both training and test of the published split (106905 in folds 1 and 8, "
    "132016 and 176638 in folds 1 and 4, 180937 in folds 1 and 9, 77751 in folds 2 and 7), with 152 of ",
}
LABELS = (
    "3 sounds have more than one label (1006_TIE_HAP_XX = 1006_TIE_NEU_XX, 1013_WSI_DIS_XX = 1013_WSI_SAD_XX, "
    "1017_IWW_ANG_XX = 1017_IWW_FEA_XX): their 6 clips are left out of training and test"
)
CLIPS = {"esc50": 2000, "esc50-actions": 400, "urbansound8k": 8732, "crema-d": 7442, "ravdess": 1440}
REPEATED = (
    "1 sound more than once in a class: 03-01-03-01-02-01-07 = 03-01-03-01-02-02-07; one copy may be trained on while "
    "another is held out"
)
WARNINGS = {
    "esc50": (CROSSING["esc50"],),
    "urbansound8k": (CROSSING["urbansound8k"],),
    "crema-d": (LABELS,),
    "ravdess": (REPEATED,),
}
LONG = ("crema-d", "esc50", "ravdess", "urbansound8k")


@pytest.fixture
def sept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sept:
    """Runs a command that must succeed; what it says."""
    for name in ("SEPT_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        said = capsys.readouterr()
        assert end.value.code == 0, f"sept {' '.join(arguments)}: {said.out}{said.err}"
        return said.out

    return run


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a data set, made once."""
    made: dict[str, Path] = {}

    def folder(dataset: str) -> Path:
        if dataset not in made:
            made[dataset] = tmp_path_factory.mktemp("field") / dataset
            make(dataset, made[dataset])
        return made[dataset]

    return folder


@pytest.mark.parametrize("dataset", sorted(MAKERS))
def test_no_published_split_is_refused_and_what_is_wrong_with_it_is_named(
    dataset: str, folders: Callable[[str], Path]
) -> None:
    info = get_dataset(dataset)
    manifest = read_layout(dataset, folders(dataset))
    findings = check_manifest(manifest, None, info)
    assert len(manifest.clips) == CLIPS[dataset]
    assert findings.errors == ()
    wanted = WARNINGS.get(dataset, ())
    assert len(findings.warnings) == len(wanted)
    assert all(line.startswith(start) for line, start in zip(findings.warnings, wanted, strict=True))
    if dataset in CROSSING:
        assert f" of {CLIPS[dataset]} test clips; crossing: drop in the sweep's YAML" in findings.warnings[0]


def test_crema_d_is_read_from_its_wav_files_and_that_is_said(folders: Callable[[str], Path]) -> None:
    manifest = read_layout("CREMA-D", folders("crema-d"))
    assert all(clip.path.startswith("AudioWAV/") for clip in manifest.clips)
    assert manifest.notes == ("AudioMP3/ is not read: AudioWAV/ has the same 7442 clips",)


def test_ravdess_speech_alone_is_no_warning_but_a_sound_that_it_has_twice_is(
    folders: Callable[[str], Path],
) -> None:
    findings = check_manifest(read_layout("RAVDESS", folders("ravdess")), None, DATASETS["RAVDESS"])
    assert findings.warnings == (REPEATED,)
    assert findings.notes == ("1440 clips (speech); RAVDESS is published with 1440 (speech) or 2452 (speech and song)",)


@pytest.mark.slow
@pytest.mark.parametrize(
    "dataset", [pytest.param(name, marks=pytest.mark.long if name in LONG else ()) for name in sorted(MAKERS)]
)
def test_a_published_data_set_goes_all_the_way_to_a_trained_trial_on_every_fold(
    dataset: str, folders: Callable[[str], Path], sept: Sept, tmp_path: Path
) -> None:
    audio, info = str(folders(dataset)), get_dataset(dataset)
    warnings = WARNINGS.get(dataset, ())
    for said in (
        sept("data", "prepare", dataset, "--audio", audio, "--root", "runs"),
        sept("data", "check", dataset, "--audio", audio, "--root", "runs"),
        sept("embed", dataset, "--audio", audio, "--root", "runs", "--encoder", "mini"),
    ):
        assert all(f"warning: {line}" in said for line in warnings)
    sweep = {
        "name": "field",
        "encoder": "mini",
        "datasets": [info.name],
        "methods": ["coop+sept"],
        "trials": 1,
        "shots": 4,
        "training": {"epochs": 1, "report_every": 1, "batch_size": 16},
        "spaces": {"coop": {"n_ctx": {"fixed": 2}}, "sept": {"n_neighbors": {"fixed": 1}}},
    }
    (tmp_path / "field.yaml").write_text(yaml.safe_dump(sweep), encoding="utf-8")
    said = sept("sweep", "plan", "field.yaml", "--root", "runs", "--calibrate", "0")
    assert all(f"{info.name}: {line}" in said for line in warnings)
    assert "Missing" not in said
    assert "would refuse" not in said

    spec = load_sweep("field.yaml")
    (study,) = spec.studies()
    inputs = load_inputs(str(tmp_path / "runs"), study.inputs)
    for crossing in ("keep", "drop") if dataset in CROSSING else ("keep",):
        config = trial_config(spec.model_copy(update={"crossing": crossing}), study, inputs, middle(study))
        # Only what the encoder has heard is no test fold.
        assert set(info.folds) - set(config.folds) <= set(inputs.encoder.pretraining.folds.get(info.name, ()))
        run = TrialRun(config, inputs)
        while not run.finished:
            run.advance()
        result = run.result()
        assert len(result.replicas) == len(config.folds)
        told = ("label", "published split", "more than once")
        about = [line for line in result.warnings if any(word in line for word in told)]
        assert len(about) == len(warnings)
        assert all(line.startswith(f"{info.name}: {start}") for line, start in zip(about, warnings, strict=True))
    said = sept("data", "check", "--store", info.name, "--root", "runs", "--json")
    (checked,) = json.loads(said)
    assert checked["errors"] == []
