"""Writes one sweep into MLflow so that writing it again, whole or in part, after a kill at any moment, adds nothing."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.search.selection import Composed, compose, with_fold_values
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
    selection_mark,
)
from pipeline.tracking.runs import Run, Runs
from sept_core.results import Report, TrialResult

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from pipeline.store import Decision, Proposal, TrialStore

__all__ = ["SweepWriter"]

_METRICS_PER_BATCH = 800  # MLflow refuses more than 1000 metrics, parameters and tags together


@dataclass
class _Study:
    """What a study has come to in this process.

    Attributes:
        ended: Decisions by number.
        tally: Of trials 0..n, for the study's run ``run_id``.
        unwritten: Points of the tally that are not in MLflow yet.
        results: Of the trials that are chosen for a test fold, once they were needed.
        row: What they make together, for the choice ``of``.
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
        """Begin to count again, for this run."""
        self.tally, self.run_id, self.unwritten = Tally(), run_id, []


class SweepWriter:
    """The only writer of one sweep's experiment. Not safe for several threads.

    Every method may be called again, after it raised too. New reports of a trial are one request (``log_batch``), a
    trial whose run says everything already costs none, and all others cost, beside their reports and files, two at
    their beginning and at most four at their end. Where a run says what is not so any more (a failed trial was run once
    more, a lost checkpoint made a trial start afresh), a new one takes its place and the old one is deleted: points
    cannot be taken back one by one.

    Args:
        client: MLflow's client.
        target: Where it writes; gives the artifact location of a new experiment.
        sweep: Name of the sweep and of the experiment.
        store: Gives results and learned contexts, which are read only where they are not in MLflow yet.
    """

    def __init__(self, client: MlflowClient, target: TrackingTarget, sweep: str, store: TrialStore) -> None:
        self._client = client
        self._store = store
        self._runs = Runs(client, target, sweep, store)
        self._studies: defaultdict[str, _Study] = defaultdict(_Study)
        self._doubtful = False

    def doubt(self) -> None:
        """A request has failed, and may yet come through: ``close`` looks again at what is there."""
        self._doubtful = True

    def forget(self) -> None:
        """Drop what is believed of the server; the next call looks again. Needed after it said that this is wrong."""
        self._runs.forget()

    def open(self, budgets: Mapping[str, int] | None = None) -> str:
        """Find or create the experiment and read its runs; returns its id.

        Args:
            budgets: Study key -> trials that it is to have; decides whether a stopped study counts as finished.
        """
        for key, budget in (budgets or {}).items():
            self._studies[key].budget = budget
        return self._runs.open()

    def start(self, proposal: Proposal) -> None:
        """A trial runs (again): its run exists, is described, and RUNNING, unless it says that all ended well."""
        run = self._described(proposal)
        if run.final and run.status != "FAILED":
            return
        self._runs.reopen(run)
        self._runs.tag_state(run, "running")
        self._runs.reopen(self._runs.study(proposal))

    def report(self, proposal: Proposal, reports: Sequence[Report]) -> None:
        """Points of the curve, in one request; nothing where they are there already."""
        run = self._described(proposal)
        if not run.final:
            self._show_curve(proposal, run, reports)

    def end(self, proposal: Proposal, decision: Decision) -> bool:
        """A trial has its decision: curve, final metrics, files, status, and the study's metrics.

        Of a pruned one only the curve up to the decision is shown, whatever the store holds. Where the store has lost
        the result that a decision rests on, the trial is going to be run again, and only its curve is shown till then.

        Returns:
            Whether all of it is shown: False where the result is gone.
        """
        run = self._described(proposal)
        # Of an earlier release; `sync` has completed all of them at once.
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
            self._log(run.run_id, points, tags=decision_tags(decision, result))
            run.tracked, run.state, run.failed = True, decision.state, decision.state == "failed"
            self._runs.end(run, RUN_STATUS[decision.state], decision.decided_ms)
        self._studies[proposal.study].ended[proposal.number] = decision
        self._count(proposal)
        return True

    def close(self, state: str) -> None:
        """The sweep has ended (``finished``) or was stopped: no run is left RUNNING."""
        if self._doubtful:
            # Such a request has made a run beside the one made after it, or reopened one that had ended.
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
        """The trial's run, with its parameters."""
        run = self._runs.trial(proposal)
        if not run.described and not run.final:
            self._log(run.run_id, [], params=params_of(proposal))
            run.described = True
        return run

    def _renewed(self, proposal: Proposal) -> Run:
        self._runs.renew_trial(proposal)
        return self._described(proposal)

    def _show_curve(self, proposal: Proposal, run: Run, reports: Sequence[Report], *, whole: bool = False) -> Run:
        """Write the reports that are missing; ``whole``: there are no others. Returns the run that has them."""
        told = {report.epoch: report.timestamp_ms for report in reports}
        there = self._runs.points(run)
        # Reports are written whole, so one of their metrics tells which are there.
        if any(told.get(epoch, None if whole else stamp) != stamp for epoch, stamp in there):
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
                mark = selection_mark(proposal.config.selection)
                write_artifacts(result, f"{proposal.study} #{proposal.number}{mark}", folder)
                learned = self._store.read_checkpoint(proposal.config)
                if learned is not None:
                    (folder / "checkpoint.safetensors").write_bytes(learned)
            elif result.error:
                (folder / "error.txt").write_text(result.error, encoding="utf-8")
            if any(folder.iterdir()):
                self._client.log_artifacts(run.run_id, str(folder))

    def _count(self, proposal: Proposal) -> None:
        """Show what the trials 0..n of a study have come to, as far as all of them have ended.

        In the order of their numbers, not of their ends, so that a replay writes the same points.
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
                # What was counted has changed since: a failed trial was run once more.
                run = self._runs.renew_study(proposal)
                study.recount(run.run_id)
        if study.unwritten:
            *first, last = _batches([point] for point in study.unwritten)
            for batch in first:
                self._log(run.run_id, batch)
            self._row(study)
            warnings = (line for result in study.results.values() for line in result.warnings)
            self._log(run.run_id, last, tags=study.tally.tags() | data_tags(warnings))
            study.unwritten, run.counted = [], study.tally.counted

    def _row(self, study: _Study) -> Composed | None:
        """What a report would show of the trials so far; None where a result that it needs is gone."""
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
        """One request."""
        from mlflow.entities import Metric, Param, RunTag

        self._client.log_batch(
            run_id,
            metrics=[Metric(point.key, point.value, point.timestamp_ms, point.step) for point in points],
            params=[Param(name, value) for name, value in (params or {}).items()],
            tags=[RunTag(name, value) for name, value in (tags or {}).items()],
        )


def _batches(groups: Iterable[Sequence[Point]]) -> Iterable[list[Point]]:
    """The points, as many at a time as MLflow takes; what belongs together stays together."""
    batch: list[Point] = []
    for group in groups:
        if batch and len(batch) + len(group) > _METRICS_PER_BATCH:
            yield batch
            batch = []
        batch += group
    if batch:
        yield batch
