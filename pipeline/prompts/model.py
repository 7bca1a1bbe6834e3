"""A prompt as an MLflow model: its code, files and requirements, so that it runs where this package is not installed.

The model consists of source files (MLflow's "models from code") without a pickle. It includes `sept_core`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO, StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import sept_core
from pipeline.text import one_line
from pipeline.tracking.client import TrackingTarget, as_default, mlflow_client, prepare, quiet
from pipeline.tracking.failures import failure
from pipeline.tracking.labels import selection_mark
from sept_core.errors import InputError, SeptError

if TYPE_CHECKING:
    from sept_core.prompt import Prompt

__all__ = ["check_registry", "log_model", "run_of", "save_model"]

_SERVED = Path(__file__).with_name("mlflow_model.py")
_NAME = "prompt"
_METADATA = ("study", "method", "encoder", "dataset", "trial", "selection", "chosen_by")
_PACKAGES = ("av", "mlflow", "numpy", "pandas", "pydantic", "safetensors", "soundfile", "tokenizers", "torch")
_PACKAGES_OF = {
    "mini": ("torchaudio",),
    "msclap-2022": ("torchaudio", "transformers", "msclap", "huggingface_hub"),
    "msclap-2023": ("torchaudio", "transformers", "msclap", "huggingface_hub"),
    "laion-clap": ("torchaudio", "transformers", "huggingface_hub"),
    "pengi": ("torchaudio", "transformers", "msclap", "huggingface_hub"),
}


def save_model(prompt: Prompt, folder: Path) -> None:
    """Write the model into a folder, which must not exist or be empty; it is written completely or not at all.

    Raises:
        SeptError: MLflow cannot write it.
    """
    quiet()
    import mlflow.pyfunc

    folder = folder.expanduser().resolve()
    with _explained(_not_written), _parts(prompt) as parts:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # In the same parent folder, so that it can be moved in one step.
        with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as hidden:
            made = Path(hidden) / "model"
            mlflow.pyfunc.save_model(str(made), **parts)
            made.replace(folder)


def check_registry(target: TrackingTarget, name: str) -> None:
    """Check, before a prompt is made, that MLflow can be reached and can register a model under this name.

    Raises:
        InputError: The name cannot be used.
        SeptError: MLflow cannot be reached, or refuses the request.
    """
    if not name.strip() or set("/:") & set(name):
        raise InputError(f"'{name}' cannot name a model in MLflow", where="--register", fix="leave out '/' and ':'")
    quiet()
    with _explained(lambda error: failure(target, error, "the model")):
        prepare(target)
        mlflow_client(target).search_registered_models(max_results=1)


def log_model(prompt: Prompt, target: TrackingTarget, register: str | None) -> tuple[str, str | None]:
    """Log the model in a run of its own in the experiment of the sweep, and register it if a name is given.

    Returns:
        The address of the model in MLflow, and its registered version.

    Raises:
        SeptError: MLflow cannot be reached, or refuses the model.
    """
    quiet()
    import mlflow
    import mlflow.pyfunc

    sweep = str(prompt.card["sweep"])
    with _explained(lambda error: failure(target, error, "the model")):
        prepare(target)
        client = mlflow_client(target)
        experiment = client.get_experiment_by_name(sweep)
        if experiment is None:
            location = f"{target.artifacts}/{sweep}" if target.artifacts else None
            experiment = client.get_experiment(client.create_experiment(sweep, artifact_location=location))
        # Not in the run of the trial, which may be replaced by a new one from the store at any time.
        run: dict[str, Any] = {"experiment_id": experiment.experiment_id} | run_of(prompt.card)
        # MLflow also prints on the standard error what is returned here.
        with as_default(target.uri), _parts(prompt) as parts, redirect_stderr(StringIO()), mlflow.start_run(**run):
            logged = mlflow.pyfunc.log_model(
                name=_NAME, registered_model_name=register, await_registration_for=60, **parts
            )
            mlflow.log_metrics(_metrics(prompt.card))
    number = logged.registered_model_version
    return str(logged.model_uri), None if number is None else str(number)


def _metrics(card: Mapping[str, Any]) -> dict[str, float]:
    """The test metrics of the prompt itself; under another name if it was chosen by test clips."""
    part = "test_seen_in_choosing" if card.get("caution") else "test"
    return {f"{part}/{name}": value for name, value in card["test"].items()}


def run_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """Name and tags of the run of a prompt with this card; the name marks what was chosen on test clips."""
    study, selection = str(card["study"]), str(card["selection"])
    tags = {
        "sept.role": "export",
        "sept.sweep": str(card["sweep"]),
        "sept.study": study,
        "sept.signature": str(card["trial"]["signature"]),
        "sept.selection": selection,
    }
    return {"run_name": f"{study} prompt{selection_mark(selection)}", "tags": tags}


@contextmanager
def _parts(prompt: Prompt) -> Iterator[dict[str, Any]]:
    """The parts of the MLflow model."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "audio")]),
        outputs=Schema(
            [
                ColSpec(DataType.long, "clip"),
                ColSpec(DataType.long, "rank"),
                ColSpec(DataType.string, "class"),
                ColSpec(DataType.double, "probability"),
            ]
        ),
        params=ParamSchema(
            [
                ParamSpec("classes", DataType.string, list(prompt.classes), shape=(-1,)),
                ParamSpec("top", DataType.long, 0),
            ]
        ),
    )
    with TemporaryDirectory(prefix="sept-prompt-") as name:
        folder = Path(name) / _NAME
        folder.mkdir()
        for file, data in prompt.files().items():
            (folder / file).write_bytes(data)
        yield {
            "python_model": str(_SERVED),
            "artifacts": {_NAME: str(folder)},
            "code_paths": [str(Path(sept_core.__file__).parent)],
            "signature": signature,
            "input_example": (_example(), {"classes": list(prompt.classes), "top": 3}),
            "pip_requirements": _requirements(str(prompt.card["encoder"]["name"])),
            "metadata": {name: prompt.card[name] for name in _METADATA},
        }


def _example() -> Any:
    """One clip: a second of a 440 Hz tone as WAV."""
    import math

    import numpy as np
    import pandas as pd
    import soundfile

    stream = BytesIO()
    tone = 0.1 * np.sin(2 * math.pi * 440 * np.arange(8000) / 8000)
    soundfile.write(stream, tone, 8000, format="WAV", subtype="PCM_16")
    return pd.DataFrame({"audio": [stream.getvalue()]})


def _requirements(encoder: str) -> list[str]:
    """The packages that the model imports, in the installed versions."""
    found = []
    for package in (*_PACKAGES, *_PACKAGES_OF.get(encoder, ())):
        try:
            # Without the suffix of a local build, which no package index has.
            found.append(f"{package}=={version(package).partition('+')[0]}")
        except PackageNotFoundError:
            found.append(package)
    return found


def _not_written(error: Exception) -> SeptError:
    return SeptError(f"the model cannot be written: {one_line(error)}")


@contextmanager
def _explained(how: Callable[[Exception], SeptError]) -> Iterator[None]:
    try:
        yield
    except SeptError:
        raise
    except Exception as error:
        raise how(error) from error
