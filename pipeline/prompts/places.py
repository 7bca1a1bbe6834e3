"""Where prompts lie: a folder, a bucket, or MLflow (a run's model, or one in its registry)."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.store import Files, is_remote, open_files
from sept_core.errors import InputError, SeptError
from sept_core.prompt import CARD, PARAMETERS, DamagedPromptError, Prompt, load_prompt, read_prompt

__all__ = ["MLFLOW_PLACES", "MODEL_FOLDER", "fetch_prompt", "write_prompt"]

MODEL_FOLDER = "artifacts/prompt"
"""Where a model of MLflow's keeps the two files of its prompt."""

MLFLOW_PLACES = ("models:/", "runs:/", "mlflow-artifacts:/")
"""How the address of what MLflow keeps begins."""


def fetch_prompt(uri: str, tracking_uri: str | None = None) -> Prompt:
    """The prompt at an address.

    Args:
        uri: A folder that ``sept export`` wrote, or a model of MLflow's in one; ``s3://BUCKET/FOLDER``; or
            ``models:/NAME/VERSION`` or ``runs:/RUN/NAME``.
        tracking_uri: MLflow's, for these two; None for what MLflow itself finds in its environment.

    Raises:
        InputError: There is none, or it is damaged.
        SeptError: MLflow or the bucket cannot be reached.
    """
    if uri.startswith(MLFLOW_PLACES):
        with TemporaryDirectory(prefix="sept-prompt-") as folder:
            return load_prompt(_in_model(_download(uri, tracking_uri, folder)))
    if is_remote(uri):
        files = open_files(uri)
        return read_prompt(_read(files, CARD, uri), _read(files, PARAMETERS, uri), uri)
    if "://" in uri:
        fix = "give a folder, s3://BUCKET/FOLDER, models:/NAME/VERSION or runs:/RUN/NAME"
        raise InputError("no place that prompts are read from", where=uri, fix=fix)
    return load_prompt(_in_model(Path(uri).expanduser()))


def write_prompt(to: str, prompt: Prompt, *, force: bool = False) -> str:
    """Write a prompt's two files into a folder or a bucket, the card last.

    Where this is cut off, the old card does not fit the new parameters: a damaged prompt is replaced unasked.

    Args:
        to: The folder, which need not exist, or ``s3://BUCKET/FOLDER``.
        prompt: The prompt.
        force: Replace another prompt that is there.

    Returns:
        The address of the card.

    Raises:
        InputError: Another prompt is there.
        StoreError: It cannot be written.
    """
    files, made = open_files(to), prompt.files()
    if not force and files.exists(CARD) and _another(files, to, prompt):
        raise InputError("another prompt is there", where=to, fix="name another folder, or give --force")
    for name, data in made.items():
        files.write(name, data)
    return files.address(CARD)


def _another(files: Files, where: str, prompt: Prompt) -> bool:
    """Whether what is there would be missed: another prompt, one of a later release, or a card of something else."""
    try:
        there = read_prompt(files.read(CARD), files.read(PARAMETERS), where)
    except DamagedPromptError:
        return False
    except (InputError, FileNotFoundError):
        return True
    return _source(there) != _source(prompt)


def _source(prompt: Prompt) -> tuple[str, str, int]:
    trial = prompt.card.get("trial")
    return str(prompt.card["study"]), str(trial.get("signature") if isinstance(trial, dict) else trial), prompt.replicas


def _read(files: Files, name: str, where: str) -> bytes:
    try:
        return files.read(name)
    except FileNotFoundError as error:
        fix = "give a folder that sept export has written"
        raise InputError(f"no prompt there ({name} is missing)", where=where, fix=fix) from error


def _in_model(folder: Path) -> Path:
    """The folder with the two files: this one, or the one within a model of MLflow's."""
    return folder / MODEL_FOLDER if (folder / "MLmodel").is_file() else folder


def _download(uri: str, tracking_uri: str | None, folder: str) -> Path:
    from pipeline.text import one_line
    from pipeline.tracking.client import as_default, is_passing, quiet

    quiet()
    import mlflow.artifacts

    try:
        with as_default(tracking_uri):
            return Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder))
    except Exception as error:  # MLflow's own, and those of whatever keeps its files
        if is_passing(error):
            raise SeptError(f"{uri}: MLflow cannot be reached: {one_line(error)}; try again later") from error
        fix = "check the name, and --mlflow"
        raise InputError(f"MLflow has no such model ({one_line(error)})", where=uri, fix=fix) from error
