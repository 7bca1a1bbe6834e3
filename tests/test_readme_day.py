"""The commands of README and docs typed in their order, in one folder, as a person would, with a smaller sweep."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from test_readme import ROOT, commands

from pipeline.cli import main

AUDIO = ROOT.parent / "shared" / "audio"

# What cannot be typed here: it needs a cluster, a bucket or a screen. Where it is run instead, under other names.
ELSEWHERE = {
    "embed esc50 vocalsound --audio s3://bucket/audio --store s3://bucket/sept --encoder msclap-2023 --address auto": (
        "tests/pipeline/embed/test_embed_places.py"
    ),
    "sweep launch full --root s3://bucket/sept --address auto --mlflow http://mlflow:5000": (
        "tests/chaos/test_chaos_s3.py"
    ),
    "sweep submit full --address http://HEAD:8265 --root s3://bucket/sept --mlflow http://mlflow:5000": (
        "tests/pipeline/cluster/test_cluster_jobs.py"
    ),
    "doctor --spec my.yaml --root s3://bucket/sept --address auto --mlflow http://mlflow:5000": (
        "tests/pipeline/doctor/test_doctor_checks.py"
    ),
    "data init birds --csv birds.csv --audio recordings": "tests/pipeline/data/test_data_starter_files.py",
    "embed birds --audio recordings --encoder mini": "tests/pipeline/data/test_data_starter_files.py",
    "neighbors birds --from birds.neighbors.yaml": "tests/pipeline/data/test_data_starter_files.py",
    "sweep plan birds.yaml": "tests/pipeline/data/test_data_starter_files.py",
    "sweep launch birds.yaml": "tests/pipeline/data/test_data_starter_files.py",
    "report birds": "tests/pipeline/data/test_data_starter_files.py",
    "report quickstart --open": "tests/pipeline/cli/test_cli_results.py",
    "ablate quickstart ESC10.coop+sept": "tests/pipeline/cli/test_cli_ablate.py",
    "ui": "tests/pipeline/cli/test_cli_ui.py",
}
TYPED = {
    "best",
    "compare",
    "doctor",
    "embed",
    "export",
    "init",
    "predict",
    "quickstart",
    "report",
    "rerun",
    "robust",
    "show",
    "sweep launch",
    "sweep list",
    "sweep plan",
    "sweep status",
    "sweep stop",
    "trials",
}
"""The commands that are run here, whatever options the texts give them."""
AFTER_EMBED = {"robust"}
"""These use what `sept embed` has made of the audio."""
NEEDS_AUDIO = {"ESC-10-master": "esc10", "free-spoken-digit-dataset": "fsdd"}


def smaller() -> str:
    """The sweep that ships, with less of everything that takes time."""
    content = yaml.safe_load((ROOT / "search_spaces/sweeps/quickstart.yaml").read_text(encoding="utf-8"))
    less = {"datasets": ["ESC10"], "trials": 2, "seeds": [0], "folds": {"ESC10": [2, 3]}}
    return yaml.safe_dump(content | less | {"training": {"epochs": 2, "report_every": 2, "batch_size": 16}})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a person has at hand: a checkout's YAML, the audio, some clips and names of their own."""
    sweeps = tmp_path / "search_spaces" / "sweeps"
    sweeps.mkdir(parents=True)
    (sweeps / "quickstart.yaml").write_text(smaller(), encoding="utf-8")
    # `sept quickstart` and names of sweeps mean what ships.
    monkeypatch.setattr("pipeline.spec.load._SWEEPS", sweeps)
    for name, own in NEEDS_AUDIO.items():
        if (AUDIO / own).is_dir():
            (tmp_path / name).symlink_to(AUDIO / own)
    (tmp_path / "recordings").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, (3, 16000)).astype("float32")
    for clip, samples in zip(("clip.wav", "recordings/one.wav", "recordings/two.flac"), noise, strict=True):
        soundfile.write(tmp_path / clip, samples, 16000)
    (tmp_path / "names.txt").write_text("rain\nsiren\na class that no training saw\n", encoding="utf-8")
    for name in ("SEPT_ROOT", "MLFLOW_TRACKING_URI", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command_of(line: str) -> str:
    """Such as ``report`` and ``sweep launch``."""
    words = line.split()
    return " ".join(words[: 2 if words[0] == "sweep" else 1])


@pytest.mark.slow
def test_a_day_as_readme_and_docs_have_it(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    typed = []
    every = all((folder / name).exists() for name in NEEDS_AUDIO)
    for words in commands():
        line = " ".join(words)
        if words[0] in AFTER_EMBED and not every:
            continue
        if line in ELSEWHERE or any(name in words and not (folder / name).exists() for name in NEEDS_AUDIO):
            continue
        if "SIGNATURE" in words:
            best = folder / "sept-runs/sweeps/quickstart/report/results.json"
            signature = json.loads(best.read_text(encoding="utf-8"))["rows"][-1]["choices"][0]["signature"]
            words = [signature if word == "SIGNATURE" else word for word in words]
        with pytest.raises(SystemExit) as end:
            main(words)
        said = capfd.readouterr()
        assert end.value.code == 0, f"sept {line}: {said.out}{said.err}"
        typed.append(line)
        if words[0] == "rerun":
            assert "The same to the last digit" in said.out
        if words[0] == "predict" and "--classes" in words:
            assert "my new class" in said.out
    assert {command_of(line) for line in typed} == TYPED - (set() if every else {"embed", *AFTER_EMBED})
    page = (folder / "sept-runs/sweeps/quickstart/report/report.html").read_text(encoding="utf-8")
    assert "CoOp + SEPT" in page
    assert (folder / "sept-runs/sweeps/quickstart/report/table.tex").exists()
    assert (folder / "ranked.parquet").exists()
    assert (folder / "my-model" / "MLmodel").exists()
    shutil.rmtree(folder / "sept-runs")


def test_what_the_day_leaves_out_is_in_the_texts_and_has_its_test() -> None:
    spelled = {" ".join(words) for words in commands()}
    for line, test in ELSEWHERE.items():
        assert line in spelled
        assert (ROOT / test).exists()
