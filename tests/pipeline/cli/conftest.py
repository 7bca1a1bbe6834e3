from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli import main

Ran = tuple[int, str, str]


@pytest.fixture
def sept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ran]:
    """Runs the command line in this process: exit code, stdout, stderr."""
    monkeypatch.delenv("SEPT_ROOT", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Ran:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        code = end.value.code
        said = capsys.readouterr()
        assert isinstance(code, int)
        return code, said.out, said.err

    return run
