from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic_results as made

from pipeline.search.observer import StudyPlan
from pipeline.search.sweep import SweepOutcome
from pipeline.spec import parse_sweep
from pipeline.store import Lease, LocalFiles, TrialStore
from pipeline.tracking import default_target
from pipeline.tracking.client import mlflow_client

Sept = Callable[..., tuple[int, str, str]]


class FakeLaunch:
    """Stands for the search: tells the observers of the synthetic sweep and fills the store."""

    def __init__(self, cases: list[made.Case], state: str = "finished") -> None:
        self.cases = cases
        self.state = state
        self.on_request = False
        self.spec: Any = None

    def __call__(self, spec: Any, root: Path, *, observers: list[Any], leased: Any, notify: Any, **options: Any) -> Any:
        self.spec, self.options = spec, options
        store = TrialStore(LocalFiles(root))
        with Lease(store.files, spec.name) as lease, leased(lease):
            return self.run(spec, store, observers)

    def run(self, spec: Any, store: TrialStore, observers: list[Any]) -> Any:
        made.fill_store(store, self.cases, spec.name)
        plans = [
            StudyPlan(study.key, study.dataset, "mini", study.method, study.trials, study.fold)
            for study in spec.studies()
        ]
        for observer in observers:
            observer.sweep_started(spec.name, plans)
            for case in self.cases:
                observer.trial_ended(case.proposal, case.decision, case.result)
            observer.sweep_ended(self.state)
        return SweepOutcome(spec.name, self.state, 0, 0, 0, 0, 0, 0.0, self.on_request)


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    def use(fake: Any) -> Any:
        import pipeline.search.sweep

        monkeypatch.setattr(pipeline.search.sweep, "launch", fake)
        return fake

    return use


@pytest.fixture
def root(tmp_path: Path, empty_database: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder


def test_quickstart_says_what_it_will_do_shows_the_result_and_the_next_command(
    sept: Sept, launch: Callable[[Any], Any], root: Path
) -> None:
    fake = launch(FakeLaunch(made.make_cases(trials=2)))
    code, out, err = sept("quickstart", "--root", root, "--workers", 3)
    assert (code, err) == (0, "")
    assert fake.spec.name == "quickstart"
    assert fake.spec.resources.workers == 3
    assert "zero-shot, CoOp, CoOp + SEPT on Synth12, ESC10, FSDD" in out
    assert f"{fake.spec.training.epochs} epochs" in out
    assert "not the paper's protocol" in out
    assert "SEPT against its baseline" in out
    assert str(root / "sweeps" / "quickstart" / "report" / "tradeoff.svg") in out
    assert f"sept ui --root {root}" in out
    client = mlflow_client(default_target(root))
    assert client.get_experiment_by_name("quickstart") is not None


def test_the_default_root_needs_no_option_in_the_next_command(
    sept: Sept, launch: Callable[[Any], Any], tmp_path: Path, empty_database: Path
) -> None:
    (tmp_path / "sept-runs").mkdir()
    shutil.copy(empty_database, tmp_path / "sept-runs" / "mlflow.db")
    launch(FakeLaunch(made.make_cases(trials=1)))
    code, out, _ = sept("quickstart")
    assert code == 0
    assert "\n  sept ui\n" in out


def test_an_interrupted_launch_ends_with_75_and_the_command_that_goes_on(
    sept: Sept, launch: Callable[[Any], Any], root: Path, tmp_path: Path
) -> None:
    launch(FakeLaunch(made.make_cases(trials=1)[:1], state="stopped"))
    code, out, _ = sept("quickstart", "--root", root)
    assert code == 75
    assert out.endswith(f"  sept quickstart --root {root}\n")
    file = tmp_path / "my sweep.yaml"
    file.write_text(made.SPEC)
    code, out, _ = sept("sweep", "launch", file, "--root", root, "--trials", 5)
    assert code == 75
    assert out.endswith(f"  sept sweep launch '{file}' --root {root} --trials 5\n")


def test_a_launch_that_was_asked_to_stop_ends_with_a_code_that_no_scheduler_takes_for_go_on(
    sept: Sept, launch: Callable[[Any], Any], root: Path
) -> None:
    launch(FakeLaunch(made.make_cases(trials=1)[:1], state="stopped")).on_request = True
    code, out, _ = sept("quickstart", "--root", root)
    assert code == 3
    assert out.endswith(f"  sept quickstart --root {root}\n")


def test_ctrl_c_before_the_search_has_begun_is_75_too(sept: Sept, launch: Callable[[Any], Any], root: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    launch(interrupted)
    assert sept("quickstart", "--root", root)[0] == 75


def test_trials_of_the_command_line_go_over_those_of_the_file(
    sept: Sept, launch: Callable[[Any], Any], root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(made.SPEC)
    fake = launch(FakeLaunch(made.make_cases(trials=1)))
    assert sept("sweep", "launch", file, "--root", root, "--trials", 7)[0] == 0
    assert fake.spec.trials == 7
    assert parse_sweep(file.read_text(), "sweep.yaml").trials == 3


def test_a_fork_is_the_same_sweep_under_another_name(
    sept: Sept, launch: Callable[[Any], Any], root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(made.SPEC)
    fake = launch(FakeLaunch(made.make_cases(trials=1)[:1], state="stopped"))
    command = ("sweep", "launch", file, "--root", root, "--fork", "wider", "--address", "10.0.0.1:6379")
    code, out, _ = sept(*command, "--retry-failed")
    assert code == 75
    assert fake.spec.name == "wider"
    assert fake.options == {"address": "10.0.0.1:6379", "retry_failed": True}
    # What has been tried again is not to be tried again by the command that goes on.
    assert out.endswith("  sept " + " ".join(map(str, command)) + "\n")
    assert sept("sweep", "launch", file, "--root", root, "--fork", "../x")[0] == 2


def test_a_study_without_a_finished_trial_ends_with_1(sept: Sept, launch: Callable[[Any], Any], root: Path) -> None:
    launch(FakeLaunch([made.make_case("FSDD", "zero-shot", 0), made.make_case("FSDD", "coop", 0, "failed")]))
    code, out, _ = sept("quickstart", "--root", root)
    assert code == 1
    assert "no finished trial yet: FSDD.mini.base-to-new.coop" in out


def test_a_sweep_runs_though_mlflow_is_away_and_says_how_to_write_it_later(
    sept: Sept, launch: Callable[[Any], Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tracking.tracker.MlflowTracker.close.__defaults__", (0.2,))
    launch(FakeLaunch(made.make_cases(trials=1)))
    code, out, _ = sept("quickstart", "--root", root, "--mlflow", "http://127.0.0.1:9")
    assert code == 0
    assert "the sweep runs without it meanwhile" in out
    assert f"  sept track sync quickstart --root {root} --mlflow http://127.0.0.1:9\n" in out


def test_a_sweep_runs_though_mlflows_database_is_damaged_and_says_so(
    sept: Sept, launch: Callable[[Any], Any], root: Path
) -> None:
    (root / "mlflow.db").write_bytes(b"no database at all\n" * 200)
    launch(FakeLaunch(made.make_cases(trials=1)))
    code, out, _ = sept("quickstart", "--root", root)
    assert code == 0
    assert f"{root / 'mlflow.db'}: MLflow's database is damaged (file is not a database); move it away" in out
    assert "the sweep runs without it meanwhile" in out
    assert f"  sept track sync quickstart --root {root}\n" in out


def test_a_password_of_mlflow_is_never_printed(
    sept: Sept, launch: Callable[[Any], Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tracking.tracker.MlflowTracker.close.__defaults__", (0.2,))
    uri = "http://me:hush-hush@127.0.0.1:9"
    launch(FakeLaunch(made.make_cases(trials=1)))
    code, out, err = sept("quickstart", "--root", root, "--mlflow", uri)
    assert code == 0
    assert "  MLflow   http://127.0.0.1:9\n" in out
    assert "open http://127.0.0.1:9 (experiment 'quickstart')" in out
    # The command that is printed says where it belongs.
    assert f"  sept track sync quickstart --root {root} --mlflow http://USER:PASSWORD@127.0.0.1:9\n" in out
    launch(FakeLaunch(made.make_cases(trials=1)[:1], state="stopped"))
    stopped = sept("quickstart", "--root", root, "--mlflow", uri)
    assert stopped[1].endswith(f"  sept quickstart --root {root} --mlflow http://USER:PASSWORD@127.0.0.1:9\n")
    synced = sept("track", "sync", "quickstart", "--root", root, "--mlflow", uri, "--debug")
    assert (synced[0], "MLflow at http://127.0.0.1:9 did not accept it" in synced[2]) == (1, True)
    assert "hush" not in out + err + "".join(map(str, stopped + synced))


def test_a_tracking_uri_of_no_known_kind_is_exit_code_2(sept: Sept, root: Path) -> None:
    code, _, err = sept("quickstart", "--root", root, "--mlflow", "ftp://here")
    assert code == 2
    assert "ftp://here" in err
