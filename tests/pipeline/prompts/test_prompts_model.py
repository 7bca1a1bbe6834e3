"""A prompt as a model in MLflow: it needs nothing but what it brings, and answers over HTTP."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from finished import CLASSES, mini, write_tone
from mlflow_server import free_port, until

from pipeline.prompts import fetch_prompt
from pipeline.prompts.model import log_model, run_of, save_model
from pipeline.tracking import TrackingTarget, mlflow_client
from sept_core.errors import InputError, SeptError
from sept_core.prediction import Predictor


def environment() -> dict[str, str]:
    """That of an activated environment (MLflow starts its server by name) which knows nothing of this project."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return kept | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def model(prompt_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(fetch_prompt(str(prompt_folder)), folder)
    return folder


@pytest.fixture(scope="module")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of ``mlflow models serve`` on the model, started far from the project's own folder."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        until(answers)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)


def ask(address: str, clips: list[bytes], **params: object) -> tuple[int, Any]:
    """Status and answer of a request."""
    audio = [[base64.b64encode(clip).decode()] for clip in clips]
    body = {"dataframe_split": {"columns": ["audio"], "data": audio}} | ({"params": params} if params else {})
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status), json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_it_answers_over_http_with_the_predictors_ranking(served: str, prompt_folder: Path, tmp_path: Path) -> None:
    clips = [write_tone(tmp_path / f"{hertz}.wav", hertz).read_bytes() for hertz in (200, 900)]
    status, answer = ask(served, clips, classes=CLASSES)
    assert status == 200
    predictor = Predictor(fetch_prompt(str(prompt_folder)), mini())
    expected = predictor.probabilities(predictor.embed(clips), CLASSES).tolist()
    rows = answer["predictions"]
    assert [(row["clip"], row["rank"]) for row in rows] == [(clip, rank) for clip in (0, 1) for rank in (1, 2, 3)]
    for row in rows:
        assert row["probability"] == pytest.approx(expected[row["clip"]][CLASSES.index(row["class"])], abs=1e-5)
    for clip, (rank1, rank2, rank3) in enumerate((rows[:3], rows[3:])):
        assert rank1["probability"] >= rank2["probability"] >= rank3["probability"], clip
    # Unless others are named: the classes of its dataset.
    status, answer = ask(served, clips[:1], top=2)
    assert (status, len(answer["predictions"])) == (200, 2)
    assert {row["class"] for row in answer["predictions"]} <= set(fetch_prompt(str(prompt_folder)).classes)


def test_what_is_wrong_with_a_request_is_answered_as_the_callers_fault(served: str, tmp_path: Path) -> None:
    tone = write_tone(tmp_path / "tone.wav").read_bytes()
    for clips, params, said in (
        ([tone, b"no audio"], {}, "clip 1: a clip in memory: cannot be decoded as audio"),
        ([tone], {"classes": ["rain"]}, "fewer than two class names"),
    ):
        status, answer = ask(served, clips, **params)
        assert status == 400
        assert said in answer["message"]


def test_it_is_code_and_files_with_signature_and_example_and_brings_its_own_code(model: Path, tmp_path: Path) -> None:
    program = (
        "import json, sys\nimport mlflow.pyfunc\nmodel = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "ranked = model.predict(model.input_example, params={'classes': ['a tone', 'rain']})\n"
        "import sept_core\n"
        "print(json.dumps([sept_core.__file__, [n for n in ('ray', 'pipeline') if n in sys.modules], "
        "list(ranked.columns), str(model.metadata.signature.inputs), list(ranked['class'].sort_values())]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(model)], cwd=tmp_path, env=environment(), capture_output=True, check=True
    )
    file, others, columns, inputs, names = json.loads(done.stdout.splitlines()[-1])
    assert Path(file).is_relative_to(model / "code")
    assert others == []
    assert columns == ["clip", "rank", "class", "probability"]
    assert "binary" in inputs
    assert names == ["a tone", "rain"]
    assert not [path for path in model.rglob("*") if path.suffix in (".pkl", ".pickle")]
    needed = (model / "requirements.txt").read_text()
    assert "torch==" in needed
    assert "ray" not in needed


def test_a_model_that_could_not_be_made_to_its_end_leaves_nothing(
    prompt_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import mlflow.pyfunc

    def cut_off(path: str, **_: object) -> None:
        Path(path).mkdir()
        (Path(path) / "MLmodel").write_text("flavors:")
        raise OSError("No space left on device")

    monkeypatch.setattr(mlflow.pyfunc, "save_model", cut_off)
    with pytest.raises(SeptError, match="the model cannot be written: No space left on device"):
        save_model(fetch_prompt(str(prompt_folder)), tmp_path / "new" / "model")
    assert not list((tmp_path / "new").iterdir())


def test_the_run_of_a_prompt_that_was_chosen_on_test_clips_says_so(prompt_folder: Path) -> None:
    marked = run_of(fetch_prompt(str(prompt_folder)).card | {"selection": "paper"})
    assert marked["run_name"] == "ESC10.mini.base-to-new.coop prompt [chosen on test clips]"
    assert marked["tags"]["sept.selection"] == "paper"


def test_a_registered_prompt_is_found_again(
    make_target: Callable[[str], TrackingTarget], prompt_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Nothing must fall back on MLflow's own place, which would be made here.
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    prompt, target = fetch_prompt(str(prompt_folder)), make_target("root")
    address, version = log_model(prompt, target, "dogs")
    assert version == "1"
    client = mlflow_client(target)
    experiment = client.get_experiment_by_name("done")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["sept.role"] == "export"
    assert run.data.tags["sept.selection"] == "heldout"
    assert "test" not in run.info.run_name
    assert run.data.metrics["test/h"] == prompt.card["test"]["h"]
    assert run.info.status == "FINISHED"
    for uri in ("models:/dogs/1", f"runs:/{run.info.run_id}/prompt", address):
        assert fetch_prompt(uri, target.uri).files() == prompt.files()
    with pytest.raises(InputError, match=r"models:/cats/1: MLflow has no such model"):
        fetch_prompt("models:/cats/1", target.uri)
    assert not list(Path.cwd().iterdir())
