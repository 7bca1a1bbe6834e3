from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from finished import SWEEP, finish

from pipeline.prompts import export_prompt, write_prompt
from pipeline.store import TrialStore, open_files


@pytest.fixture(scope="session")
def finished_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a finished sweep; not to be changed."""
    root = tmp_path_factory.mktemp("finished")
    finish(root)
    return root


@pytest.fixture
def own_root(finished_sweep: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished_sweep, tmp_path / "root"))


@pytest.fixture(scope="session")
def prompt_folder(finished_sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prompt of CoOp; not to be changed."""
    folder = tmp_path_factory.mktemp("prompt")
    store = TrialStore(open_files(finished_sweep))
    write_prompt(str(folder), export_prompt(store, str(finished_sweep), SWEEP, "coop").prompt)
    return folder
