"""The runs of one sweep in MLflow: found by their tags, created if they are missing, and never there twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.drawing import colour_of
from pipeline.spec import is_ablation
from pipeline.tracking.client import TrackingTarget
from pipeline.tracking.describe import RUN_STATUS, study_tags, trial_tags
from pipeline.tracking.labels import (
    COLOUR,
    EXPERIMENT_NOTE,
    NAME,
    NOTE,
    earlier_name,
    run_name,
    study_name,
    study_note,
)
from pipeline.tracking.view import view_tags
from sept_core.protocol_facts import objective_among

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from pipeline.store import Decision, Proposal, TrialStore

__all__ = ["Run", "Runs", "TrialKey"]

_PAGE = 1000
_PARENT = "mlflow.parentRunId"

TrialKey = tuple[str, int]
"""Study and number of a trial."""


@dataclass
class Run:
    """What is known of a run in MLflow.

    Attributes:
        name: The name that is shown.
        state: Tag ``sept.state`` of a trial.
        tracked: Whether everything of an ended trial except its status is there.
        failed: Whether it has the error of a failed trial.
        signature: Signature of a trial.
        parent: For a trial: id of the run of its study.
        described: Whether its parameters are known to be there.
        curve: Name of a metric that every report of the trial has; None if there is no report.
        points: (epoch, timestamp) of its reports; None before they are read from the server.
        counted: For a study: number of trials that its metrics cover.
        outcomes: For a study: digest of the outcomes of these trials.
    """

    run_id: str
    status: str
    start_ms: int
    end_ms: int | None = None
    name: str = ""
    state: str = "running"
    tracked: bool = False
    failed: bool = False
    signature: str = ""
    parent: str = ""
    described: bool = False
    curve: str | None = None
    points: set[tuple[int, int]] | None = None
    counted: int = 0
    outcomes: str = ""

    @property
    def final(self) -> bool:
        """Whether it is complete for a trial that has ended."""
        return self.tracked and self.status in RUN_STATUS.values()

    def shows(self, decision: Decision) -> bool:
        """Whether it is complete and has this decision."""
        shown = (self.status, self.state, self.end_ms)
        return self.final and shown == (RUN_STATUS[decision.state], decision.state, decision.decided_ms)


class Runs:
    """The experiment of one sweep and its runs. Not safe for several threads.

    MLflow chooses run ids itself and cannot create a run only if there is none. So all runs are read once, and a run is
    created if none has the tags. If the answer to that was lost, the run is searched for before it is created again. A
    run that the server creates even later is found by the next ``open`` after ``forget``, and removed.

    Args:
        client: MLflow's client.
        target: The artifact location of a new experiment.
        sweep: Name of the sweep and of the experiment.
        store: For the time when a study began.
    """

    def __init__(self, client: MlflowClient, target: TrackingTarget, sweep: str, store: TrialStore) -> None:
        self.studies: dict[str, Run] = {}
        self.trials: dict[TrialKey, Run] = {}
        self._client = client
        self._target = target
        self._sweep = sweep
        self._store = store
        self._experiment: str | None = None
        self._objective = "val/h"
        self._doubted: set[str | TrialKey] = set()

    def forget(self) -> None:
        """Forget what is known of the server; the next call reads it again."""
        self._experiment = None
        self._doubted.clear()
        self.studies.clear()
        self.trials.clear()

    def sort_by(self, objective: str) -> None:
        """Name the metric that the search maximizes, by which MLflow's pages sort; to be called before ``open``."""
        self._objective = objective

    def open(self) -> str:
        """Find or create the experiment and read its runs; returns its id."""
        if self._experiment is None:
            found = self._client.get_experiment_by_name(self._sweep)
            if found is None:
                location = f"{self._target.artifacts}/{self._sweep}" if self._target.artifacts else None
                experiment = self._client.create_experiment(self._sweep, location, self._experiment_tags())
            else:
                experiment = found.experiment_id
                if found.lifecycle_stage != "active":
                    self._client.restore_experiment(experiment)
                self._dress(experiment, found.tags)
            # What a failed attempt has read may be outdated.
            self.forget()
            self._read(experiment)
            self._experiment = experiment
        return self._experiment

    def study(self, proposal: Proposal) -> Run:
        """The run of the study of this trial."""
        experiment = self.open()
        run = self.studies.get(proposal.study)
        if run is None:
            tags = study_tags(self._sweep, proposal) | {"sept.role": "study"}
            tags[NOTE] = study_note(proposal.config, {}, not is_ablation(self._sweep))
            name = study_name(proposal)
            # The start of trial 0, because workers begin in no particular order.
            first = self._store.proposal(self._sweep, proposal.study, 0) or proposal
            run = self._create(self.studies, proposal.study, experiment, first.created_ms, tags, name)
        return run

    def trial(self, proposal: Proposal) -> Run:
        """The run of this trial, under the run of its study."""
        study, key = self.study(proposal), (proposal.study, proposal.number)
        run = self.trials.get(key)
        if run is not None and run.signature != proposal.signature:
            return self.renew_trial(proposal)
        if run is None:
            tags = trial_tags(self._sweep, proposal, study.run_id)
            run = self._create(self.trials, key, self.open(), proposal.created_ms, tags, run_name(proposal))
            self.reopen(study)
        self._rename(run, proposal)
        if run.parent != study.run_id:
            self._client.set_tag(run.run_id, _PARENT, study.run_id)
            run.parent = study.run_id
        return run

    def renew_trial(self, proposal: Proposal) -> Run:
        """Replace the run of a trial, which is no longer correct, by a new one."""
        key = (proposal.study, proposal.number)
        self.discard(self.trials[key])
        del self.trials[key]
        return self.trial(proposal)

    def renew_study(self, proposal: Proposal) -> Run:
        """Replace the run of a study by a new one; the runs of its trials move under it."""
        self.discard(self.studies[proposal.study])
        del self.studies[proposal.study]
        run = self.study(proposal)
        self.gather()
        return run

    def gather(self) -> None:
        """Move the run of every trial under the run of its study."""
        for (key, _), run in self.trials.items():
            study = self.studies.get(key)
            if study is not None and run.parent != study.run_id:
                self._client.set_tag(run.run_id, _PARENT, study.run_id)
                run.parent = study.run_id

    def reopen(self, run: Run) -> None:
        """Set the status of the run to RUNNING."""
        if run.status != "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"

    def end(self, run: Run, status: str, end_ms: int) -> None:
        """Set the status and the end time of the run."""
        if (run.status, run.end_ms) != (status, end_ms):
            self._client.set_terminated(run.run_id, status, end_time=end_ms)
            run.status, run.end_ms = status, end_ms

    def tag_state(self, run: Run, state: str) -> None:
        """Set the tag with the state of a trial."""
        if run.state != state:
            self._client.set_tag(run.run_id, "sept.state", state)
            run.state = state

    def discard(self, run: Run) -> None:
        """Delete a run; it does not stay RUNNING among the deleted ones."""
        if run.status == "RUNNING":
            self.end(run, "KILLED", run.start_ms)
        self._client.delete_run(run.run_id)

    def points(self, run: Run) -> set[tuple[int, int]]:
        """(epoch, timestamp) of the reports in the run; read from the server once, unless the run is new."""
        if run.points is None:
            history = [] if run.curve is None else self._client.get_metric_history(run.run_id, run.curve)
            run.points = {(point.step, point.timestamp) for point in history}
        return run.points

    def _create(
        self,
        runs: dict[Any, Run],
        key: str | TrialKey,
        experiment: str,
        start_ms: int,
        tags: Mapping[str, str],
        name: str,
    ) -> Run:
        if key in self._doubted:
            self._read(experiment, _filter(tags))
            self._doubted.discard(key)
        if key not in runs:
            try:
                made = self._client.create_run(experiment, start_time=start_ms, tags=dict(tags), run_name=name)
            except Exception:
                self._doubted.add(key)
                raise
            runs[key] = Run(
                made.info.run_id,
                "RUNNING",
                start_ms,
                name=name,
                signature=tags.get("sept.signature", ""),
                parent=tags.get(_PARENT, ""),
                points=set(),
            )
        return runs[key]

    def _rename(self, run: Run, proposal: Proposal) -> None:
        """Give the run of an earlier release its name and colour of today; a name that a person gave it stays."""
        name = run_name(proposal, run.state if run.final else "running")
        if run.name != name and earlier_name(run.name, proposal):
            from mlflow.entities import RunTag

            tags = [RunTag(NAME, name), RunTag(COLOUR, colour_of(proposal.config.method))]
            self._client.log_batch(run.run_id, tags=tags)
            run.name = name

    def _experiment_tags(self) -> dict[str, str]:
        return view_tags(self._objective) | {NOTE: EXPERIMENT_NOTE}

    def _dress(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Add the views and the description to an experiment that was created without them.

        A description that is there may be a person's, so it stays.
        """
        for name, value in self._experiment_tags().items():
            if tags.get(name) != value and (name != NOTE or NOTE not in tags):
                self._client.set_experiment_tag(experiment, name, value)

    def _read(self, experiment: str, wanted: str = "") -> None:
        """Read the runs of the experiment that match MLflow's filter; if several have the same key, one stays."""
        found: list[tuple[str | TrialKey, Run]] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [experiment], wanted, max_results=_PAGE, order_by=["attributes.start_time ASC"], page_token=token
            )
            found += [(key, _known(one)) for one in page if (key := _key(one.data.tags)) is not None]
            token = page.token
            if not token:
                break
        # The most complete one stays.
        for key, run in sorted(found, key=lambda one: (not one[1].final, -one[1].counted, one[1].run_id)):
            runs: dict[Any, Run] = self.studies if isinstance(key, str) else self.trials
            if runs.setdefault(key, run).run_id != run.run_id:
                self.discard(run)


def _key(tags: Mapping[str, str]) -> str | TrialKey | None:
    """The key of a run; None for a run that is not ours."""
    if tags.get("sept.role") == "study":
        return tags["sept.study"]
    if tags.get("sept.role") == "trial":
        return tags["sept.study"], int(tags["sept.number"])
    return None


def _filter(tags: Mapping[str, str]) -> str:
    """MLflow's filter for the runs of one key."""
    named = [name for name in ("sept.role", "sept.study", "sept.number") if name in tags]
    return " and ".join(f"tags.`{name}` = '{tags[name]}'" for name in named)


def _known(found: Any) -> Run:
    """What is known of a run that MLflow has returned."""
    tags: Mapping[str, str] = found.data.tags
    return Run(
        run_id=found.info.run_id,
        status=found.info.status,
        start_ms=found.info.start_time,
        end_ms=found.info.end_time,
        name=found.info.run_name,
        state=tags.get("sept.state", ""),
        tracked=tags.get("sept.tracked") == "yes",
        failed="sept.error" in tags,
        signature=tags.get("sept.signature", ""),
        parent=tags.get(_PARENT, ""),
        # All of them are written together, and MLflow does not accept another value for one that is there.
        described="signature" in found.data.params,
        curve=objective_among(found.data.metrics, "val/"),
        counted=int(tags.get("sept.counted", "0")),
        outcomes=tags.get("sept.outcomes", ""),
    )
