"""Writes one sweep into MLflow so that writing it again, whole or in part, after a kill at any moment, adds nothing."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.sweeps import best_verdict
from pipeline.tracking.client import TrackingTarget
from pipeline.tracking.describe import (
    RUN_STATUS,
    Ended,
    Point,
    final_points,
    params_of,
    report_points,
    run_name,
    selection_mark,
    study_points,
    study_tags,
    trial_tags,
    verdict_tags,
)
from pipeline.tracking.pictures import write_artifacts
from sept_core.results import Report, TrialResult, now_ms

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from pipeline.store import Member, Verdict

__all__ = ["SweepWriter"]

_METRICS_PER_BATCH = 800  # MLflow refuses more than 1000 metrics, parameters and tags together
_PAGE = 1000

Context = Callable[[], bytes | None]


@dataclass
class _Run:
    """What is known of a run in MLflow.

    Attributes:
        described: Whether its parameters are known to be there.
        epochs: Epochs whose report is there; None until the server was asked.
        complete: Whether nothing is missing and its status is final.
        counted: For a study: members that its metrics already cover.
    """

    run_id: str
    status: str
    described: bool = False
    epochs: set[int] | None = None
    complete: bool = False
    counted: int = 0


@dataclass
class _Study:
    budget: int | None = None
    ended: dict[int, Ended] = field(default_factory=dict)


class SweepWriter:
    """The only writer of one sweep's experiment. Not safe for several threads.

    Each method may be called again after it raised: call ``forget`` first, and what got through is found by its tags.
    Per report one request is made (``log_batch``); a member whose run is complete costs none.

    Args:
        client: MLflow's client.
        target: Where it writes; gives the artifact location of a new experiment.
        sweep: Name of the sweep and of the experiment.
    """

    def __init__(self, client: MlflowClient, target: TrackingTarget, sweep: str) -> None:
        self._client = client
        self._target = target
        self._sweep = sweep
        self._experiment: str | None = None
        self._studies: defaultdict[str, _Study] = defaultdict(_Study)
        self._parents: dict[str, _Run] = {}
        self._children: dict[tuple[str, int, str], _Run] = {}

    def forget(self) -> None:
        """Drop what is believed of the server; the next call looks again. Needed after a request that failed."""
        self._experiment = None
        self._parents.clear()
        self._children.clear()

    def open(self, budgets: Mapping[str, int] | None = None) -> str:
        """Find or create the experiment and read its runs; returns its id.

        Args:
            budgets: Study key -> trials that it is to have; decides whether a stopped study counts as finished.
        """
        for key, budget in (budgets or {}).items():
            self._studies[key].budget = budget
        if self._experiment is None:
            name, location = self._sweep, self._target.artifacts
            found = self._client.get_experiment_by_name(name)
            if found is None:
                artifacts = f"{location}/{name}" if location else None
                experiment = self._client.create_experiment(name, artifact_location=artifacts)
            else:
                experiment = found.experiment_id
                if found.lifecycle_stage != "active":
                    self._client.restore_experiment(experiment)
            self._load(experiment)
            self._experiment = experiment
        return self._experiment

    def start(self, member: Member) -> None:
        """A member runs (again): its run exists, is described, and is RUNNING, unless all is said about it already."""
        run = self._child(member)
        if run.complete:
            return
        if run.status != "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
            self._client.set_tag(run.run_id, "sept.state", "running")
            run.status = "RUNNING"
        self._reopen(self._parents[member.study])

    def report(self, member: Member, report: Report) -> None:
        """One point of the curve, in one request; nothing where it is there already."""
        self._log_reports(self._child(member), [report])

    def end(self, member: Member, verdict: Verdict, result: TrialResult | None, context: Context) -> None:
        """A member has its verdict: curve, final metrics, files, status, and the study's metrics.

        Args:
            member: The member.
            verdict: Its verdict; of a pruned one only the curve up to the verdict is shown, whatever the store holds.
            result: The trial's result where it has one.
            context: Reads the learned context (safetensors) of the trial; called for a finished one that is not
                tracked yet, so that a replay passes by the others without reading them.
        """
        shown = result if verdict.state != "pruned" else None
        finished = shown is not None and verdict.state == "finished"
        self._studies[member.study].ended[member.number] = Ended(
            verdict, shown.validation if shown and finished else {}, shown.test if shown and finished else {}
        )
        run = self._child(member)
        if not run.complete:
            self._log_reports(run, verdict.curve)
            self._log_files(run, member, verdict, shown, context)
            points = final_points(verdict, shown) if shown and finished else []
            self._log(run.run_id, points, tags=verdict_tags(verdict, shown))
            self._client.set_terminated(run.run_id, RUN_STATUS[verdict.state], end_time=verdict.decided_ms)
            run.status, run.complete = RUN_STATUS[verdict.state], True
        self._count(member.study)

    def close(self, state: str) -> None:
        """The sweep has ended (``finished``) or was stopped: no run is left RUNNING."""
        self.open()
        for run in self._children.values():
            if run.status == "RUNNING":
                self._client.set_tag(run.run_id, "sept.state", "stopped")
                self._terminate(run, "KILLED", now_ms())
        for key, run in self._parents.items():
            if run.status == "RUNNING":
                study = self._studies[key]
                full = state == "finished" or (study.budget is not None and len(study.ended) >= study.budget)
                last = max((one.verdict.decided_ms for one in study.ended.values()), default=now_ms())
                self._terminate(run, "FINISHED" if full else "KILLED", last)

    def _load(self, experiment: str) -> None:
        """Read all runs of the experiment by their tags, in as few requests as the server allows."""
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [experiment], max_results=_PAGE, order_by=["attributes.start_time ASC"], page_token=token
            )
            for found in page:
                self._remember(found)
            token = page.token
            if not token:
                break

    def _remember(self, found: Any) -> None:
        tags, status = found.data.tags, found.info.status
        run = _Run(found.info.run_id, status)
        if tags.get("sept.role") == "study":
            run.counted = int(tags.get("sept.counted", "0"))
            self._parents.setdefault(tags["sept.study"], run)
        elif tags.get("sept.role") == "trial":
            run.complete = tags.get("sept.tracked") == "yes" and status not in ("RUNNING", "SCHEDULED")
            key = (tags["sept.study"], int(tags["sept.number"]), tags["sept.signature"])
            self._children.setdefault(key, run)

    def _parent(self, member: Member) -> _Run:
        experiment = self.open()
        run = self._parents.get(member.study)
        if run is None:
            tags = study_tags(self._sweep, member.config) | {"sept.role": "study"}
            name = member.study + selection_mark(member.config)
            made = self._client.create_run(experiment, start_time=member.created_ms, tags=tags, run_name=name)
            run = self._parents[member.study] = _Run(made.info.run_id, "RUNNING")
        return run

    def _child(self, member: Member) -> _Run:
        parent = self._parent(member)
        key = (member.study, member.number, member.signature)
        run = self._children.get(key)
        if run is None:
            made = self._client.create_run(
                self.open(),
                start_time=member.created_ms,
                tags=trial_tags(self._sweep, member, parent.run_id),
                run_name=run_name(member),
            )
            run = self._children[key] = _Run(made.info.run_id, "RUNNING", epochs=set())
            self._reopen(parent)
        if not run.described and not run.complete:
            self._log(run.run_id, [], params=params_of(member))
            run.described = True
        return run

    def _reopen(self, run: _Run) -> None:
        if run.status != "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"

    def _terminate(self, run: _Run, status: str, end_ms: int) -> None:
        self._client.set_terminated(run.run_id, status, end_time=end_ms)
        run.status = status

    def _log_reports(self, run: _Run, reports: Iterable[Report]) -> None:
        if run.complete:
            return
        reports = list(reports)
        if run.epochs is None and reports:
            # Reports are written whole, so one of their metrics tells which are there.
            key = min(reports[0].metrics)
            run.epochs = {point.step for point in self._client.get_metric_history(run.run_id, key)}
        run.epochs = run.epochs or set()
        missing = [report for report in reports if report.epoch not in run.epochs]
        if missing:
            self._log(run.run_id, [point for report in missing for point in report_points(report)])
            run.epochs |= {report.epoch for report in missing}

    def _log_files(
        self, run: _Run, member: Member, verdict: Verdict, result: TrialResult | None, context: Context
    ) -> None:
        if result is None:
            return
        with tempfile.TemporaryDirectory(prefix="sept-mlflow-") as name:
            folder = Path(name)
            if verdict.state == "finished":
                write_artifacts(result, f"{member.study} #{member.number}", folder)
                learned = context()
                if learned is not None:
                    (folder / "checkpoint.safetensors").write_bytes(learned)
            elif result.error:
                (folder / "error.txt").write_text(result.error, encoding="utf-8")
            if any(folder.iterdir()):
                self._client.log_artifacts(run.run_id, str(folder))

    def _count(self, key: str) -> None:
        """Show what the members 0..n of a study have come to, as far as all of them have ended.

        In the order of their numbers, not of their ends, so that a replay writes the same points.
        """
        run, ended = self._parents[key], self._studies[key].ended
        points: list[Point] = []
        prefix: list[Ended] = []
        while len(prefix) in ended:
            prefix.append(ended[len(prefix)])
            if len(prefix) > run.counted:
                points += study_points(prefix)
        if not points:
            return
        tags = {"sept.counted": str(len(prefix))}
        best = best_verdict(one.verdict for one in prefix)
        if best is not None:
            tags |= {"sept.best_signature": best.signature, "sept.best_number": str(best.number)}
        self._log(run.run_id, points, tags=tags)
        run.counted = len(prefix)

    def _log(
        self,
        run_id: str,
        points: list[Point],
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """One request, or as many as MLflow's limit on a batch makes of it; tags and parameters go with the last."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(point.key, point.value, point.timestamp_ms, point.step) for point in points]
        while len(metrics) > _METRICS_PER_BATCH:
            self._client.log_batch(run_id, metrics=metrics[:_METRICS_PER_BATCH])
            metrics = metrics[_METRICS_PER_BATCH:]
        self._client.log_batch(
            run_id,
            metrics=metrics,
            params=[Param(name, value) for name, value in (params or {}).items()],
            tags=[RunTag(name, value) for name, value in (tags or {}).items()],
        )
