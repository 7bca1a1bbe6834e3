"""Writes one sweep into MLflow; writing it again, fully or in part, or after a kill, adds nothing."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.search.selection import Composed, compose, with_fold_values
from pipeline.spec import is_ablation
from pipeline.tracking.artifacts import write_artifacts
from pipeline.tracking.client import TrackingTarget
from pipeline.tracking.describe import (
    RUN_STATUS,
    Point,
    Tally,
    data_tags,
    decision_tags,
    final_points,
    params_of,
    report_points,
)
from pipeline.tracking.labels import run_name
from pipeline.tracking.runs import Run, Runs
from sept_core.protocol_facts import protocol_of
from sept_core.results import Report, TrialResult

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from pipeline.store import Decision, Proposal, TrialStore

__all__ = ["SweepWriter"]

_METRICS_PER_BATCH = 800  # MLflow refuses more than 1000 metrics, parameters and tags together


@dataclass
class _Study:
    """The state of a study in this process.

    Attributes:
        ended: Decisions by number.
        tally: Outcome of the trials 0..n, written to the run ``run_id``.
        unwritten: Points of the tally that are not in MLflow yet.
        results: Results of the trials chosen for a test fold, read when needed.
        row: The accuracies of these results together, for the choice ``of``.
    """

    budget: int | None = None
    ended: dict[int, Decision] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    run_id: str = ""
    unwritten: list[Point] = field(default_factory=list)
    results: dict[str, TrialResult] = field(default_factory=dict)
    row: Composed | None = None
    of: dict[str, str] = field(default_factory=dict)

    def recount(self, run_id: str) -> None:
        """Restart the tally for this run."""
        self.tally, self.run_id, self.unwritten = Tally(self.tally.choosing), run_id, []


class SweepWriter:
    """The only writer of one sweep's experiment. Not safe for several threads.

    Every method may be called again, also after it raised. New reports of a trial are one request (``log_batch``). A
    trial whose run is complete costs no request; any other trial costs, in addition to its reports and files, two
    requests at its beginning and at most four at its end. If a run is no longer correct (a failed trial was run again,
    or a trial restarted because its checkpoint was lost), it is deleted and replaced by a new one, because MLflow
    cannot delete single points.

    Args:
        client: MLflow's client.
        target: The artifact location of a new experiment.
        sweep: Name of the sweep and of the experiment.
        store: For results and learned contexts, which are read only if they are not in MLflow yet.
    """

    def __init__(self, client: MlflowClient, target: TrackingTarget, sweep: str, store: TrialStore) -> None:
        self._client = client
        self._store = store
        self._runs = Runs(client, target, sweep, store)
        choosing = not is_ablation(sweep)
        self._studies: defaultdict[str, _Study] = defaultdict(lambda: _Study(tally=Tally(choosing)))
        self._doubtful = False

    def doubt(self) -> None:
        """A failed request may still be carried out by the server later: ``close`` reads the runs again."""
        self._doubtful = True

    def forget(self) -> None:
        """Forget what is known of the server, which has turned out wrong; the next call reads it again."""
        self._runs.forget()

    def open(self, budgets: Mapping[str, int] | None = None) -> str:
        """Find or create the experiment and read its runs; returns its id.

        Args:
            budgets: Number of trials that each study is to have, by its key; a study with all of them is finished.
        """
        for key, budget in (budgets or {}).items():
            self._studies[key].budget = budget
        for key in budgets or {}:
            self._runs.sort_by(f"val/{protocol_of(key.split('.')[2]).objective}")
        return self._runs.open()

    def start(self, proposal: Proposal) -> None:
        """A trial has started: create its run if needed and set it RUNNING, unless it is already complete."""
        run = self._described(proposal)
        if run.final and run.status != "FAILED":
            return
        self._runs.reopen(run)
        self._runs.tag_state(run, "running")
        self._runs.reopen(self._runs.study(proposal))

    def report(self, proposal: Proposal, reports: Sequence[Report]) -> None:
        """Write points of the curve in one request, unless they are already there."""
        run = self._described(proposal)
        if not run.final:
            self._show_curve(proposal, run, reports)

    def end(self, proposal: Proposal, decision: Decision) -> bool:
        """A trial has ended: write its curve, final metrics, files and status, and the metrics of its study.

        For a pruned trial only the curve up to the decision is written, whatever the store has. If the result is gone
        from the store, only the curve is written, because the trial will be run again.

        Returns:
            Whether everything is written: False if the result is gone.
        """
        run = self._described(proposal)
        # Completes a decision of an earlier release; `sync` has already completed all of them.
        (decision,) = with_fold_values(self._store, [proposal], [decision])
        if not run.shows(decision):
            if run.final or (run.failed and decision.state != "failed"):
                run = self._renewed(proposal)
            result = self._result(decision) if decision.state != "pruned" else None
            run = self._show_curve(proposal, run, decision.curve, whole=True)
            if result is None and decision.state != "pruned":
                return False
            self._log_files(run, proposal, decision, result)
            points = final_points(decision, result) if result and decision.state == "finished" else []
            self._log(run.run_id, points, tags=decision_tags(proposal, decision, result))
            run.tracked, run.state, run.failed = True, decision.state, decision.state == "failed"
            run.name = run_name(proposal, decision.state)
            self._runs.end(run, RUN_STATUS[decision.state], decision.decided_ms)
        self._studies[proposal.study].ended[proposal.number] = decision
        self._count(proposal)
        return True

    def close(self, state: str) -> None:
        """The sweep is ``finished`` or ``stopped``: leave no run RUNNING."""
        if self._doubtful:
            # The late request may have created a second run, or reopened one that had ended.
            self._runs.forget()
        self._runs.open()
        self._runs.gather()
        for (key, number), run in self._runs.trials.items():
            if run.status == "RUNNING":
                self._stop(run, self._studies[key].ended.get(number))
        for key, run in self._runs.studies.items():
            study = self._studies[key]
            full = state == "finished" or (study.budget is not None and len(study.ended) >= study.budget)
            last = max((decision.decided_ms for decision in study.ended.values()), default=run.start_ms)
            if full or run.status == "RUNNING":
                self._runs.end(run, "FINISHED" if full else "KILLED", last)

    def _stop(self, run: Run, decision: Decision | None) -> None:
        if decision is not None and run.tracked:
            self._runs.end(run, RUN_STATUS[decision.state], decision.decided_ms)
            return
        self._runs.tag_state(run, "stopped")
        self._runs.end(run, "KILLED", max((stamp for _, stamp in self._runs.points(run)), default=run.start_ms))

    def _described(self, proposal: Proposal) -> Run:
        """The run of the trial, with its parameters."""
        run = self._runs.trial(proposal)
        if not run.described and not run.final:
            self._log(run.run_id, [], params=params_of(proposal))
            run.described = True
        return run

    def _renewed(self, proposal: Proposal) -> Run:
        self._runs.renew_trial(proposal)
        return self._described(proposal)

    def _show_curve(self, proposal: Proposal, run: Run, reports: Sequence[Report], *, whole: bool = False) -> Run:
        """Write missing reports and return the run; ``whole``: the run may have no other reports than these."""
        wanted = {report.epoch: report.timestamp_ms for report in reports}
        there = self._runs.points(run)
        # A report is written as a whole, so one of its metrics shows whether it is there.
        if any(wanted.get(epoch, None if whole else stamp) != stamp for epoch, stamp in there):
            run = self._renewed(proposal)
            there = self._runs.points(run)
        missing = [report for report in reports if (report.epoch, report.timestamp_ms) not in there]
        for batch in _batches(report_points(report) for report in missing):
            self._log(run.run_id, batch)
            there |= {(point.step, point.timestamp_ms) for point in batch}
        return run

    def _log_files(self, run: Run, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        if result is None:
            return
        with tempfile.TemporaryDirectory(prefix="sept-mlflow-") as name:
            folder = Path(name)
            if decision.state == "finished":
                write_artifacts(result, run_name(proposal), folder)
                learned = self._store.read_checkpoint(proposal.config)
                if learned is not None:
                    (folder / "checkpoint.safetensors").write_bytes(learned)
            elif result.error:
                (folder / "error.txt").write_text(result.error, encoding="utf-8")
            if any(folder.iterdir()):
                self._client.log_artifacts(run.run_id, str(folder))

    def _count(self, proposal: Proposal) -> None:
        """Write the metrics of a study over its trials 0..n, as far as all of these have ended.

        They are counted in the order of their numbers, not of their ends, so that a replay writes the same points.
        """
        study, run = self._studies[proposal.study], self._runs.study(proposal)
        if study.run_id != run.run_id:
            study.recount(run.run_id)
        while study.tally.counted in study.ended:
            tally = study.tally
            tally.add(study.ended[tally.counted])
            if tally.counted > run.counted:
                study.unwritten += tally.points(self._row(study))
            elif tally.counted == run.counted and tally.outcomes != run.outcomes:
                # A counted outcome has changed since: a failed trial was run again.
                run = self._runs.renew_study(proposal)
                study.recount(run.run_id)
        if study.unwritten:
            *first, last = _batches([point] for point in study.unwritten)
            for batch in first:
                self._log(run.run_id, batch)
            self._row(study)
            warnings = (line for result in study.results.values() for line in result.warnings)
            self._log(run.run_id, last, tags=study.tally.tags(proposal.config) | data_tags(warnings))
            study.unwritten, run.counted = [], study.tally.counted

    def _row(self, study: _Study) -> Composed | None:
        """The accuracies that a report would show for the trials so far; None if a result is gone."""
        chosen = {fold: study.tally.chosen[fold] for fold in sorted(study.tally.chosen)}
        of = {fold: decision.signature for fold, decision in chosen.items()}
        if of and study.of != of:
            needed = {decision.signature: decision for decision in chosen.values()}
            known = {signature: study.results.get(signature) or self._result(needed[signature]) for signature in needed}
            study.results = {signature: result for signature, result in known.items() if result is not None}
            whole = len(study.results) == len(needed)
            study.row = compose({fold: study.results[of[fold]] for fold in of}) if whole else None
            study.of = of if whole else {}
        return study.row if of else None

    def _result(self, decision: Decision) -> TrialResult | None:
        return self._store.read_result(decision.study, decision.signature)

    def _log(
        self,
        run_id: str,
        points: Sequence[Point],
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write all of this in one request."""
        from mlflow.entities import Metric, Param, RunTag

        self._client.log_batch(
            run_id,
            metrics=[Metric(point.key, point.value, point.timestamp_ms, point.step) for point in points],
            params=[Param(name, value) for name, value in (params or {}).items()],
            tags=[RunTag(name, value) for name, value in (tags or {}).items()],
        )


def _batches(groups: Iterable[Sequence[Point]]) -> Iterable[list[Point]]:
    """The points in batches of a size that MLflow accepts; a group is never split."""
    batch: list[Point] = []
    for group in groups:
        if batch and len(batch) + len(group) > _METRICS_PER_BATCH:
            yield batch
            batch = []
        batch += group
    if batch:
        yield batch
