"""Reads and writes prompts: in a folder, a bucket, or MLflow (the model of a run, or a registered one)."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.store import Files, check_writable, is_remote, open_files
from sept_core.errors import InputError, SeptError
from sept_core.prompt import CARD, PARAMETERS, DamagedPromptError, Prompt, load_prompt, read_prompt

__all__ = ["MLFLOW_PLACES", "MODEL_FOLDER", "check_place", "fetch_prompt", "write_prompt"]

MODEL_FOLDER = "artifacts/prompt"
"""The folder of an MLflow model with the two files of its prompt."""

MLFLOW_PLACES = ("models:/", "runs:/", "mlflow-artifacts:/")
"""Beginnings of addresses in MLflow."""


def fetch_prompt(uri: str, tracking_uri: str | None = None) -> Prompt:
    """The prompt at an address.

    Args:
        uri: A folder written by ``sept export``, or one with an MLflow model; ``s3://BUCKET/FOLDER``; or
            ``models:/NAME/VERSION`` or ``runs:/RUN/NAME``.
        tracking_uri: Address of MLflow for the latter two; None for MLflow's own default.

    Raises:
        InputError: There is no prompt, or it is damaged.
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
        raise InputError("prompts cannot be read from there", where=uri, fix=fix)
    return load_prompt(_in_model(Path(uri).expanduser()))


def check_place(to: str, source: tuple[str, str, int], *, force: bool = False) -> None:
    """Check, before a prompt is made, that `write_prompt` will take it there.

    Args:
        to: As in `write_prompt`.
        source: Study and signature of the prompt, and its number of replicas.
        force: As in `write_prompt`.

    Raises:
        InputError: There is another prompt, or the folder cannot be written to.
        StoreError: The bucket cannot be reached.
    """
    check_writable(to)
    files = open_files(to)
    if files.exists(CARD) and not force and _another(files, to, source):
        raise InputError("there is another prompt", where=to, fix="give another folder, or --force")


def write_prompt(to: str, prompt: Prompt, *, force: bool = False) -> str:
    """Write the two files of a prompt into a folder or a bucket, the card last.

    If this is interrupted, the old card does not match the new parameters: such a damaged prompt is always replaced.

    Args:
        to: The folder, which is created if needed, or ``s3://BUCKET/FOLDER``.
        prompt: The prompt.
        force: Replace another prompt in the folder.

    Returns:
        The address of the card.

    Raises:
        InputError: There is another prompt.
        StoreError: The prompt cannot be written.
    """
    check_place(to, _source(prompt), force=force)
    files, made = open_files(to), prompt.files()
    for name, data in made.items():
        files.write(name, data)
    return files.address(CARD)


def _another(files: Files, where: str, source: tuple[str, str, int]) -> bool:
    """Whether replacing would lose something: another prompt, one of a later release, or another kind of card."""
    try:
        there = read_prompt(files.read(CARD), files.read(PARAMETERS), where)
    except DamagedPromptError:
        return False
    except (InputError, FileNotFoundError):
        return True
    return _source(there) != source


def _source(prompt: Prompt) -> tuple[str, str, int]:
    trial = prompt.card.get("trial")
    return str(prompt.card["study"]), str(trial.get("signature") if isinstance(trial, dict) else trial), prompt.replicas


def _read(files: Files, name: str, where: str) -> bytes:
    try:
        return files.read(name)
    except FileNotFoundError as error:
        fix = "give a folder written by sept export"
        raise InputError(f"no prompt there ({name} is missing)", where=where, fix=fix) from error


def _in_model(folder: Path) -> Path:
    """The folder with the two files: this one, or the one in an MLflow model."""
    return folder / MODEL_FOLDER if (folder / "MLmodel").is_file() else folder


def _download(uri: str, tracking_uri: str | None, folder: str) -> Path:
    from pipeline.text import one_line
    from pipeline.tracking.client import as_default, is_passing, quiet

    quiet()
    import mlflow.artifacts

    try:
        with as_default(tracking_uri):
            return Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder))
    except Exception as error:  # errors of MLflow, and of the storage of its files
        if is_passing(error):
            raise SeptError(f"{uri}: MLflow cannot be reached: {one_line(error)}; try again later") from error
        fix = "check the name and --mlflow"
        raise InputError(f"MLflow has no such model ({one_line(error)})", where=uri, fix=fix) from error
