"""SEPT Sweep from Python: what the command line does, in a notebook or a script.

    import pipeline as sept

    spec = sept.load_spec("quickstart", {"trials": 4})
    outcome = sept.launch(spec)              # or resume it: the same call continues where it stopped
    sept.status("quickstart")                # counts, running trials, expected end
    frame = sept.trials("quickstart")        # a pandas DataFrame, one row a trial
    sept.compare(["quickstart/ESC10.coop/3", "quickstart/ESC10.coop/5"])
    sept.best("quickstart")                  # of each study, the configuration to use
    table, files = sept.report("quickstart")

Importing this package loads none of the libraries below it: each function imports what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.text import DEFAULT_ROOT

if TYPE_CHECKING:
    from pandas import DataFrame

    from pipeline.reports import ReportFiles, SweepTable
    from pipeline.reports.compare import Comparison
    from pipeline.reports.rows import ForUse
    from pipeline.search.observer import SweepObserver
    from pipeline.search.sweep import SweepOutcome
    from pipeline.spec import SweepSpec
    from pipeline.watch.status import SweepStatus

__all__ = ["DEFAULT_ROOT", "best", "compare", "launch", "load_spec", "report", "status", "sweeps", "trials"]


def load_spec(
    source: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    root: str | Path = DEFAULT_ROOT,
) -> SweepSpec:
    """Read and check a sweep's specification.

    Args:
        source: A YAML file, the name of a sweep that ships with the package (``quickstart``), or the content of such a
            file as a mapping.
        overrides: Values that replace the file's, by dotted key: ``{"trials": 16, "training.epochs": 50}``.
        root: The results folder or ``s3://`` address; data sets of your own are found there.

    Raises:
        InputError: Everything that is wrong with it, one line each: file, key, value, and what to do.
    """
    from pipeline.data.prepared import own_datasets
    from pipeline.spec import load_sweep, parse_sweep

    own = own_datasets(str(root))
    if not isinstance(source, Mapping):
        return load_sweep(source, overrides, own)
    import yaml

    return parse_sweep(yaml.safe_dump(dict(source), sort_keys=False), "the mapping", overrides, own)


def launch(
    spec: SweepSpec,
    root: str | Path = DEFAULT_ROOT,
    *,
    address: str = "local",
    mlflow: str | None = None,
    retry_failed: bool = False,
    observers: Sequence[SweepObserver] = (),
    notify: Callable[[str], object] | None = None,
    waiting: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> SweepOutcome:
    """Run a sweep to its end, or continue one that was interrupted, and record its trials in MLflow.

    SIGINT, SIGTERM and ``sept sweep stop`` let running trials reach their next checkpoint first. MLflow never stops a
    sweep: ``untracked`` of the outcome says what it has not taken yet, and ``sept track sync`` writes that.

    Args:
        spec: The sweep.
        root: The results folder or ``s3://`` address.
        address: ``local`` starts a Ray for this sweep; ``auto`` or ``HOST:PORT`` uses a running one.
        mlflow: URI of an MLflow server or database; by default a database file in the root.
        retry_failed: Whether to run failed trials once more.
        observers: Called with everything that happens to the sweep, on the driver's thread.
        notify: Called with a line before Ray starts, and if MLflow cannot be used; without it, the line is logged, the
            latter as a warning.
        waiting: Called with a few words before something slow; the context it returns lasts as long.

    Raises:
        InputError: The spec differs from the one this sweep began with, inputs are missing, or there is no cluster.
        LeaseHeld: Another process is running this sweep.
        RayLost: Ray was lost; nothing that had finished is, and the same call continues.
    """
    from pipeline.tracking.launching import tracked_launch

    return tracked_launch(
        spec,
        str(root),
        address=address,
        mlflow=mlflow,
        retry_failed=retry_failed,
        observers=observers,
        notify=notify,
        waiting=waiting,
    )


def sweeps(root: str | Path = DEFAULT_ROOT) -> list[str]:
    """Names of the sweeps in the root, in alphabetical order."""
    from pipeline.store import TrialStore, open_files

    return TrialStore(open_files(root)).sweeps()


def status(sweep: str, root: str | Path = DEFAULT_ROOT) -> SweepStatus:
    """How far a sweep is, from its store alone: on any machine, whether or not it runs.

    Raises:
        InputError: The root has no sweep of this name.
    """
    from pipeline.store import TrialStore, open_files
    from pipeline.watch.status import sweep_status

    return sweep_status(TrialStore(open_files(root)), sweep)


def trials(sweep: str, root: str | Path = DEFAULT_ROOT) -> DataFrame:
    """All trials of a sweep, one row each, by study and number.

    Columns: ``study``, ``number``, ``dataset``, ``method``, ``signature``; ``state`` (``finished``, ``pruned``,
    ``failed``, or ``unfinished`` for a trial that has not ended); ``epoch``, the last that was reported; ``objective``
    in percent; ``seconds`` of training; ``decided``, a UTC time; ``error``; ``params_*``, every hyper-parameter of the
    trial; and for finished trials ``val_*`` and ``test_*``, the averages of ``TrialResult`` in percent.

    Raises:
        InputError: The root has no sweep of this name.
    """
    from pipeline.reports.dataframe import trials_frame
    from pipeline.store import TrialStore, open_files

    return trials_frame(TrialStore(open_files(root)), sweep)


def best(sweep: str, study: str | None = None, root: str | Path = DEFAULT_ROOT) -> list[ForUse]:
    """Of each study the configuration to use: the trial that is best on held-out clips over all its folds.

    Its own test accuracies estimate nothing where the study has several folds; the table of `report` does, which has
    for each test fold the trial that is best on this fold's held-out clips alone.

    Args:
        sweep: Its name.
        study: Only this one, such as ``ESC10.coop+sept``.
        root: The results folder or ``s3://`` address.

    Raises:
        InputError: The root has no such sweep or study.
    """
    from pipeline.reports.collect import collect
    from pipeline.reports.find_row import pick_uses
    from pipeline.store import TrialStore, open_files

    return pick_uses(collect(TrialStore(open_files(root)), sweep), study)


def compare(trials: Sequence[str], root: str | Path = DEFAULT_ROOT) -> Comparison:
    """Compare trials on validation clips, over the replicas (test fold and seed) that they share; the first is the
    reference.

    Args:
        trials: At least two: ``SWEEP/STUDY/NUMBER``, ``SWEEP/STUDY`` for its best configuration, or the beginning of a
            signature. ``SWEEP/`` may be left out if only one trial is meant without it.
        root: The results folder or ``s3://`` address.

    Raises:
        InputError: There is no such trial, several are meant, or one has no result.
    """
    from pipeline.reports.compare import compare_trials
    from pipeline.store import TrialStore, open_files

    return compare_trials(TrialStore(open_files(root)), trials)


def report(sweep: str, root: str | Path = DEFAULT_ROOT, *, latex: bool = False) -> tuple[SweepTable, ReportFiles]:
    """Collect a sweep's result and write its report: page, text, numbers and picture, below the root.

    Args:
        sweep: Its name.
        root: The results folder or ``s3://`` address.
        latex: Whether to write the table for a paper as well.

    Raises:
        InputError: The root has no sweep of this name.
        SeptError: No trial of it has finished yet.
    """
    from pipeline.reports import write_report
    from pipeline.store import TrialStore, open_files

    return write_report(TrialStore(open_files(root)), sweep, latex=latex)
