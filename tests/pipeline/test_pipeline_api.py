"""The Python API: what the command line does, typed, and light to import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic_results as made

import pipeline
from pipeline.store import TrialStore, open_files
from sept_core.errors import InputError

GUIDE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    made.fill_store(TrialStore(open_files(tmp_path / "root")), made.make_cases())
    return tmp_path / "root"


def test_it_offers_what_the_guide_names_and_loads_no_library() -> None:
    names = set(re.findall(r"sept\.(\w+)\(", GUIDE.read_text()))
    assert names == {name for name in pipeline.__all__ if name.islower()}
    heavy = "'torch', 'ray', 'mlflow', 'pandas', 'optuna', 'pyarrow', 'yaml'"
    code = f"import sys, pipeline; print([name for name in ({heavy}) if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_spec_is_read_from_a_name_a_file_and_a_mapping_alike(tmp_path: Path) -> None:
    import yaml

    from search_spaces import __path__ as places

    file = Path(places[0]) / "sweeps" / "quickstart.yaml"
    overrides = {"trials": 3}
    specs = [
        pipeline.load_spec("quickstart", overrides, root=tmp_path),
        pipeline.load_spec(file, overrides, root=tmp_path),
        pipeline.load_spec(yaml.safe_load(file.read_text()), overrides, root=tmp_path),
    ]
    assert {study.trials for study in specs[0].studies()} == {1, 3}
    assert [spec.studies() for spec in specs] == [specs[0].studies()] * 3
    with pytest.raises(InputError, match="epoch"):
        pipeline.load_spec({"name": "x", "training": {"epoch": 3}}, root=tmp_path)


def test_trials_is_a_row_for_each_with_parameters_and_metrics(filled: Path) -> None:
    frame = pipeline.trials(made.SWEEP, filled)
    cases = made.make_cases()
    assert len(frame) == len(cases)
    assert not frame.duplicated(["study", "number"]).any()
    for case in cases:
        (row,) = frame[(frame.study == case.proposal.study) & (frame.number == case.proposal.number)].itertuples()
        assert (row.signature, row.state) == (case.proposal.signature, case.decision.state)
        for name, value in case.proposal.config.hyper.items():
            assert getattr(row, f"params_{name}") == value
        if case.decision.state == "finished":
            assert row.test_h == case.result.test["h"]
            assert row.objective == case.decision.objective
        else:
            assert row.test_h != row.test_h  # not a number: what a pruned trial would have had is never shown
    assert str(frame.decided.dtype).endswith(", UTC]")


def test_status_best_and_report_say_what_the_commands_say(filled: Path) -> None:
    assert pipeline.status(made.SWEEP, filled).ended == len(made.make_cases())
    uses = pipeline.best(made.SWEEP, root=filled)
    assert len({use.study for use in uses}) == len(uses) > 1
    (one,) = pipeline.best(made.SWEEP, uses[0].study, filled)
    assert one == uses[0]
    table, files = pipeline.report(made.SWEEP, filled, latex=True)
    assert {row.study for row in table.studies} == {use.row for use in uses}
    assert all((filled / key).is_file() for key in (*files.shown, files.latex))
    for call in (pipeline.status, pipeline.trials, pipeline.best, pipeline.report):
        with pytest.raises(InputError, match="nosuch"):
            call("nosuch", root=filled)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_guides_example_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "my-runs/mlflow.db").is_file()
    assert "report.html" in ran.stdout
