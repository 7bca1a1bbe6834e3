"""``sept best``, ``export`` and ``predict`` as a person types them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from finished import CLASSES, METHODS, SWEEP, mini, write_tone

from pipeline.prompts import fetch_prompt, write_prompt
from sept_core.prediction import Predictor
from sept_core.prompt import Prompt

Ran = tuple[int, str, str]
ESC10 = Path(__file__).parents[4] / "shared" / "audio" / "esc10"


def test_best_shows_each_studys_trial_and_what_to_type(sept: Callable[..., Ran], finished_sweep: Path) -> None:
    code, out, _ = sept("best", SWEEP, "--root", finished_sweep)
    assert code == 0
    for method in METHODS:
        assert f"\nESC10.{method} " in out
    assert f"sept export {SWEEP} ESC10." in out
    code, out, _ = sept("best", SWEEP, "--root", finished_sweep, "--study", "dept", "--json")
    (shown,) = json.loads(out)
    assert (code, shown["method"], shown["params"]) == (0, "dept", {"lr": 0.05, "n_ctx": 2})
    assert set(shown["estimate"]) == {"val", "base", "new", "h", "all"}
    # Of one trial nothing was chosen: its own figures are the estimate.
    assert shown["own_accuracy"] == shown["estimate"]
    assert "own_accuracy_is" not in shown


@pytest.mark.parametrize("method", ["coop", "tip-adapter", "treff"])
def test_export_then_predict(method: str, sept: Callable[..., Ran], finished_sweep: Path, tmp_path: Path) -> None:
    code, out, _ = sept("export", SWEEP, method, "--root", finished_sweep, "--to", "mine")
    assert code == 0
    assert ("MB of parameters, among them the features of its training clips" in out) == (method != "coop")
    assert "Measured again: equal to the sweep's record" in out
    clip = write_tone(tmp_path / "tone.wav")
    code, out, _ = sept("predict", clip, "--prompt", "mine", "--classes", ", ".join(CLASSES), "--json")
    assert code == 0
    (shown,) = json.loads(out)
    ranking = [(one["class"], one["probability"]) for one in shown["ranking"]]
    predictor = Predictor(fetch_prompt("mine"), mini())
    expected = predictor.probabilities(predictor.embed([clip]), CLASSES)[0].tolist()
    assert dict(ranking) == dict(zip(CLASSES, expected, strict=True))
    assert ranking == sorted(ranking, key=lambda one: -one[1])
    assert sum(probability for _, probability in ranking) == pytest.approx(1)


def test_a_prompt_of_method_version_2_is_read_predicted_with_and_served_as_it_was_trained(
    sept: Callable[..., Ran], prompt_folder: Path, tmp_path: Path
) -> None:
    from mlflow.pyfunc import PythonModelContext
    from pandas import DataFrame

    from pipeline.prompts.mlflow_model import PromptModel

    prompt = fetch_prompt(str(prompt_folder))
    # What version 2 wrote: no options of a prompt's wording, which had no full stop, and nothing of the procedure.
    card = {name: value for name, value in prompt.card.items() if name not in ("procedure", "caution")}
    card["hyper"] = {name: prompt.card["hyper"][name] for name in ("logit_scale", "lr", "n_ctx")}
    write_prompt("old", Prompt(card, prompt.params))
    clip = write_tone(tmp_path / "tone.wav")
    bare = prompt.card | {"hyper": prompt.card["hyper"] | {"prompt_end": "none"}}
    expected, now = (
        dict(zip(CLASSES, one.probabilities(one.embed([clip]), CLASSES)[0].tolist(), strict=True))
        for one in (Predictor(Prompt(of, prompt.params), mini()) for of in (bare, prompt.card))
    )
    assert expected != now
    code, out, _ = sept("predict", clip, "--prompt", "old", "--classes", ", ".join(CLASSES), "--json")
    assert code == 0
    assert {one["class"]: one["probability"] for one in json.loads(out)[0]["ranking"]} == expected
    model = PromptModel()
    model.load_context(PythonModelContext({"prompt": "old"}, {}))
    rows = model.predict(None, DataFrame({"audio": [clip.read_bytes()]}), {"classes": CLASSES})
    assert dict(zip(rows["class"], rows["probability"], strict=True)) == expected


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_folder_becomes_a_table_and_bad_clips_are_listed(
    suffix: str, sept: Callable[..., Ran], prompt_folder: Path, tmp_path: Path
) -> None:
    for number in range(5):
        write_tone(tmp_path / "clips" / f"{'ab'[number % 2]}" / f"{number}.wav", 200 * (number + 1))
    (tmp_path / "clips" / "broken.wav").write_bytes(b"RIFF but no more")
    (tmp_path / "clips" / "notes.txt").write_text("no audio")
    Path("names.txt").write_text("dog bark\n\nsiren, far away\n")
    command = ["predict", "clips", "--prompt", prompt_folder, "--classes-file", "names.txt", "--batch-size", "2"]
    code, _, err = sept(*command, "--out", f"out.{suffix}")
    assert code == 2
    assert err.startswith("1 of 6 clips cannot be used:\n  clips/broken.wav: cannot be decoded as audio")
    if suffix == "csv":
        with open("out.csv", newline="") as file:
            read = [tuple(row.values()) for row in csv.DictReader(file)]
        rows = [(clip, int(rank), name, float(probability)) for clip, rank, name, probability in read]
    else:
        rows = [tuple(row.values()) for row in pq.read_table("out.parquet").to_pylist()]
    assert [(row[0], row[1]) for row in rows] == [
        (f"clips/{name}.wav", rank) for name in ("a/0", "a/2", "a/4", "b/1", "b/3") for rank in (1, 2)
    ]
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert {first[2], second[2]} == {"dog bark", "siren, far away"}
        assert first[3] >= second[3]
        assert first[3] + second[3] == pytest.approx(1)
    assert sept(*command, "--out", f"out.{suffix}", "--skip-bad")[0] == 0
    assert sept("predict", "clips/broken.wav", "--prompt", prompt_folder, "--skip-bad")[0] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "names.txt", f"out.{suffix}"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.wav"], "nothing.wav: no such file or folder"),
        (["empty"], "empty: no audio in this folder"),
        (["tone.wav", "--classes", "dog bark"], "--classes: fewer than two class names"),
        (["tone.wav", "--classes", "a,b", "--classes-file", "x"], "class names are given twice"),
        (["tone.wav", "--classes-file", "nowhere.txt"], "nowhere.txt: cannot be read"),
        (["tone.wav", "--classes", "rain,\uff52ain"], "'rain' and '\uff52ain': the same tokens for the text tower"),
        (["tone.wav", "--classes", "rain,<pad> rain"], "contains <pad>, a special token of the text tower"),
        (
            ["tone.wav", "--out", "table.xlsx"],
            "table.xlsx: unknown file type; give a name that ends in .csv or .parquet",
        ),
        (["tone.wav", "--out", "no/table.csv"], "there is no folder no"),
        (["tone.wav", "--prompt", "models:/dogs/1"], "sept-runs/mlflow.db: no MLflow database"),
        (["tone.wav", "--prompt", "mlflow-artifacts:/1/prompt"], "sept-runs/mlflow.db: no MLflow database"),
        (["tone.wav", "--prompt", "nowhere"], "nowhere: no prompt there"),
        (
            ["tone.wav", "--classes", "a, " + "very " * 99 + "long"],
            "has 201 tokens, the text tower of mini takes 77",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line_and_leaves_nothing(
    arguments: list[str], said: str, sept: Callable[..., Ran], prompt_folder: Path, tmp_path: Path
) -> None:
    write_tone(tmp_path / "tone.wav")
    (tmp_path / "empty").mkdir()
    given = [] if "--prompt" in arguments else ["--prompt", prompt_folder]
    code, _, err = sept("predict", *arguments, *given)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "tone.wav"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_is_not_replaced_by_one_without_a_row(
    suffix: str, sept: Callable[..., Ran], prompt_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF but no more")
    command = ("predict", "broken.wav", "--prompt", prompt_folder, "--out", f"out.{suffix}", "--skip-bad")
    code, out, err = sept(*command)
    assert (code, out, f"out.{suffix} is not written\n" in err) == (2, "", True)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.wav"]
    Path(f"out.{suffix}").write_text("good")
    code, out, err = sept(*command)
    assert (code, out, f"out.{suffix} is not written: the existing file stays\n" in err) == (2, "", True)
    assert Path(f"out.{suffix}").read_text() == "good"
    assert len(list(tmp_path.iterdir())) == 2


def test_of_a_folder_everything_is_ranked_or_named(
    sept: Callable[..., Ran], prompt_folder: Path, tmp_path: Path
) -> None:
    samples = soundfile.read(write_tone(tmp_path / "tone.wav"))[0]
    folder = tmp_path / "clips"
    (folder / "deep").mkdir(parents=True)
    kinds = {"WAV": "a.WAV", "FLAC": "b.Flac", "OGG": "deep/c.oga", "AIFF": "RAIN.AIF", "MP3": "e.mp3", "W64": "f.w64"}
    for kind, name in kinds.items():
        soundfile.write(folder / name, samples, 8000, format=kind)
    soundfile.write(folder / "rain.opus", samples, 8000, format="OGG", subtype="OPUS")
    (folder / "broken.m4a").write_bytes(b"no movie")
    for name in ("notes.txt", "deep/labels.csv", "clip", "film.mkv"):
        (folder / name).write_bytes(b"not audio by its name")
    for name in (".DS_Store", "._a.wav"):
        (folder / name).write_bytes(b"of the system")
    command = ["predict", "clips", "--prompt", prompt_folder]
    code, out, err = sept(*command, "--json")
    shown = json.loads(out)
    ranked = {one["clip"].removeprefix("clips/") for one in shown if one["ranking"]}
    named = {one["clip"].removeprefix("clips/"): one["fault"] for one in shown if not one["ranking"]}
    there = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert ranked == {*kinds.values(), "rain.opus"}
    assert ranked | set(named) == there - {".DS_Store", "._a.wav"}
    assert "its content is text" in named["broken.m4a"]
    assert code == 2
    assert "Left out, because the name is not that of an audio file (4):\n  clips/clip\n" in err
    (folder / "broken.m4a").unlink()
    code, _, err = sept(*command)
    assert code == 0
    assert all(f"  clips/{name}\n" in err for name in ("notes.txt", "deep/labels.csv", "clip", "film.mkv"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_prompt_that_is_not_finite_ranks_nothing(
    value: float, sept: Callable[..., Ran], prompt_folder: Path, tmp_path: Path
) -> None:
    prompt = fetch_prompt(str(prompt_folder))
    name, tensor = next(iter(prompt.params.items()))
    spoiled = tensor.clone()
    spoiled[0].view(-1)[0] = value
    write_prompt(str(tmp_path / "spoiled"), Prompt(prompt.card, {**prompt.params, name: spoiled}))
    clip = write_tone(tmp_path / "tone.wav")
    code, out, err = sept("predict", clip, "--prompt", "spoiled", "--json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"spoiled: the prompt is damaged (prompt.safetensors has values that are not finite, in {name})" in err
    # Finite values can be too large all the same.
    write_prompt(str(tmp_path / "huge"), Prompt(prompt.card, {**prompt.params, name: torch.full_like(tensor, 3e38)}))
    code, out, err = sept("predict", clip, "--prompt", "huge", "--json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "probabilities that are not finite" in err


def test_a_prompt_of_other_weights_is_refused(sept: Callable[..., Ran], prompt_folder: Path, tmp_path: Path) -> None:
    prompt = fetch_prompt(str(prompt_folder))
    other = {**prompt.card, "encoder": {"name": "mini", "fingerprint": "0123456789abcdef"}}
    write_prompt(str(tmp_path / "other"), Prompt(other, prompt.params))
    code, _, err = sept("predict", write_tone(tmp_path / "tone.wav"), "--prompt", "other")
    assert code == 2
    assert f"fingerprint 0123456789abcdef, and these weights are mini of fingerprint {mini().fingerprint}" in err


def test_predicting_needs_neither_ray_nor_mlflow(prompt_folder: Path, tmp_path: Path) -> None:
    clip = write_tone(tmp_path / "tone.wav")
    program = (
        "import sys\nfrom pipeline.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print([name for name in ('ray', 'mlflow', 'optuna', 'boto3') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program, "predict", str(clip), "--prompt", str(prompt_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.audio
@pytest.mark.skipif(not ESC10.is_dir(), reason="ESC-10's audio is not beside the project")
def test_a_real_dog_is_told_from_classes_that_no_training_saw(sept: Callable[..., Ran], prompt_folder: Path) -> None:
    # Fold 2, which neither mini nor one of the prompt's replicas was trained on; "siren" is no class of ESC-10 at all.
    clips = sorted((ESC10 / "001 - Dog bark").glob("2-*.ogg"))
    code, out, _ = sept("predict", *clips, "--prompt", prompt_folder, "--classes", ", ".join(CLASSES), "--json")
    assert code == 0
    firsts = [one["ranking"][0]["class"] for one in json.loads(out)]
    assert firsts.count("dog bark") >= 0.8 * len(firsts)
