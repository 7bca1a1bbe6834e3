"""Makes the plan of a sweep: what is done, what is missing, and how long the rest takes; nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.plan.estimating import CalibrationProgress, Candidate, Estimator
from pipeline.plan.gathering import Gathering
from pipeline.plan.history import History
from pipeline.plan.models import Estimate, PlannedStudy, SweepPlan, Totals
from pipeline.plan.queueing import Room, StudyLoad, gpus_here, wall_seconds
from pipeline.plan.unprepared import UNKNOWN_FOLDS
from pipeline.search.driver import SweepDriver
from pipeline.search.inputs import Loader, load_inputs
from pipeline.search.sizing import middle, study_needs, trial_config
from pipeline.search.sweep import check_spec
from pipeline.spec import StudySpec, SweepSpec, preset_lines
from pipeline.store import Decision, Proposal, TrialStore, open_files
from sept_core.datasets import unheard_folds
from sept_core.datasets.pretraining import heard_line, short_classes
from sept_core.errors import InputError
from sept_core.trial import TrialInputs, trial_warnings

__all__ = ["plan_sweep"]


def plan_sweep(
    spec: SweepSpec,
    root: Path | str,
    *,
    provider: Loader = load_inputs,
    unprepared: Mapping[str, InputError] | None = None,
    gpus: int | None = None,
    calibrate_s: float = 3.0,
    progress: CalibrationProgress | None = None,
) -> SweepPlan:
    """What a launch of this sweep would do. Runs nothing and writes nothing.

    If calibrating each study took more than a minute, all studies of a method share one calibration. No estimate
    includes: starting Ray, handing trials to workers, encoding hand-crafted prompts, the test at the end of a trial,
    and the slowdown of trials that run on the same machine.

    Args:
        spec: The sweep.
        root: Results folder.
        provider: As in `launch`.
        unprepared: Datasets in the sweep that do not exist, with the error about each.
        gpus: GPUs to plan for; None for those of this machine.
        calibrate_s: Approximate seconds of a calibration; 0 for no calibration.
        progress: Called before each calibration and at the end.

    Raises:
        InputError: A data set under the results folder is damaged.
        StoreError: The store cannot be read.
    """
    where = str(Path(root).expanduser().resolve()) if "://" not in str(root) else str(root)
    store = TrialStore(open_files(where))
    studies = spec.studies()
    room = Room.of(spec.resources, [study.method for study in studies], gpus)
    gathering = Gathering(spec, where, provider, unprepared or {})
    proposals, decisions = store.proposals(spec.name), store.decisions(spec.name)
    notes: dict[str, None] = {}
    for name in unprepared or () if spec.selection == "strict" else ():
        if spec.folds_of(name) == UNKNOWN_FOLDS:
            notes[f"{name}: its number of test folds is not known yet; the plan assumes {len(UNKNOWN_FOLDS)}"] = None
    candidates = [_candidate(spec, study, gathering, room, decisions, notes) for study in studies]
    history = History(store, spec, gathering.load)
    estimator = Estimator(history, gathering, calibrate_s, gpus_here() > 0, progress)
    estimates = estimator.estimate(candidates)
    blamed = {key for missing in gathering.missing for key in missing.studies}
    planned = tuple(
        _planned(one, estimates[one.study.key], one.study.key not in blamed, proposals, decisions) for one in candidates
    )
    return SweepPlan(
        sweep=spec.name,
        studies=planned,
        totals=_totals(planned, studies, room, _spared(proposals, decisions)),
        missing=gathering.missing,
        refusals=tuple(_refusals(spec, store, gathering, planned, room)),
        calibrated_s=estimator.calibrated_s,
        waited=estimator.waited,
        machines=tuple(history.machines),
        data_warnings=_data_warnings(candidates),
        notes=(*preset_lines(spec), *notes, *_unequal(studies)),
    )


def _candidate(
    spec: SweepSpec,
    study: StudySpec,
    gathering: Gathering,
    room: Room,
    decisions: Sequence[Decision],
    notes: dict[str, None],
) -> Candidate:
    """A study with the inputs of its trials; remarks about them are added to the notes."""
    inputs, config = gathering.inputs(study), None
    cpus, share = spec.resources.of(study.method)
    if inputs is not None:
        try:
            # First, because it may be the reason why there is no configuration.
            notes.update(dict.fromkeys(_heard(spec, study, inputs)))
            config = trial_config(spec, study, inputs, middle(study))
            cpus, share = study_needs(spec, study, room.gpus, gathering.load)
        except InputError as error:
            gathering.blame(study, error)
            inputs, config = None, None
    if share == "auto":
        # Without inputs the size of a study is unknown: it may need a whole GPU.
        share = 1.0 if room.gpus else 0.0
    folds = gathering.folds(study) if config is None else config.folds
    ended = sum(decision.study == study.key for decision in decisions)
    return Candidate(
        study=study,
        config=config,
        inputs=inputs,
        replicas=None if folds is None else len(folds) * len(spec.seeds),
        left=max(0, study.trials - ended),
        cpus=cpus,
        gpus=share,
    )


def _data_warnings(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Warnings, once for each dataset (cross-dataset: source) and choice of folds, with and without SEPT: such studies
    share embeddings and neighbours."""
    lines: dict[str, None] = {}
    seen = set()
    for one in candidates:
        place = one.study.dataset, one.study.encoder, one.study.folds, one.study.sept, one.study.inputs.neighbors
        if one.config is not None and one.inputs is not None and place not in seen:
            seen.add(place)
            lines |= dict.fromkeys(trial_warnings(one.config, one.inputs))
    return tuple(lines)


def _unequal(studies: Sequence[StudySpec]) -> Iterator[str]:
    """Baselines whose SEPT twins have a different number of trials, a line for each such pair of numbers.

    A pair in which one side has nothing to search is left out: that side always has one trial.
    """
    trials = {(study.dataset, study.baseline, study.sept): study.trials for study in studies if study.searched}
    found: dict[tuple[str, int, int], list[str]] = {}
    for (dataset, baseline, sept), count in trials.items():
        twin = trials.get((dataset, baseline, True))
        if not sept and twin is not None and twin != count:
            found.setdefault((baseline, count, twin), []).append(dataset)
    for (baseline, count, twin), datasets in found.items():
        yield (
            f"budgets: {baseline} has {count} trials and {baseline}+sept {twin} ({', '.join(datasets)}): their gain "
            f"will compare the first {min(count, twin)} of both, because the best of more trials is higher by chance; "
            "give both the same number"
        )


def _heard(spec: SweepSpec, study: StudySpec, inputs: TrialInputs) -> Iterator[str]:
    """Which data of a study the encoder was trained on, and which classes therefore have fewer shots than asked for.

    Raises:
        InputError: The encoder was trained on all of it.
    """
    encoder, table = inputs.encoder, inputs.table
    for heard in (table, *inputs.targets.values()):
        if line := heard_line(heard, encoder.name, encoder.pretraining):
            yield line
    folds = study.folds or unheard_folds(table, table.info, encoder.pretraining)
    yield from short_classes(table, folds, study.shots, encoder.name, encoder.pretraining)


def _planned(
    one: Candidate, estimate: Estimate, ready: bool, proposals: Sequence[Proposal], decisions: Sequence[Decision]
) -> PlannedStudy:
    study = one.study
    states = [decision.state for decision in decisions if decision.study == study.key]
    return PlannedStudy(
        key=study.key,
        dataset=study.dataset,
        method=study.method_in_cell,
        trials=study.trials,
        finished=states.count("finished"),
        pruned=states.count("pruned"),
        failed=states.count("failed"),
        begun=max(0, sum(proposal.study == study.key for proposal in proposals) - len(states)),
        replicas=one.replicas,
        replicas_known=one.config is not None,
        cpus=one.cpus,
        gpus=one.gpus,
        ready=ready,
        estimate=estimate,
        fold=study.fold,
    )


def _spared(proposals: Sequence[Proposal], decisions: Sequence[Decision]) -> float:
    """The share of the epochs of all ended trials that pruning has saved."""
    epochs = {(proposal.study, proposal.number): proposal.config.epochs for proposal in proposals}
    ended = [
        decision for decision in decisions if decision.state != "failed" and (decision.study, decision.number) in epochs
    ]
    whole = sum(epochs[decision.study, decision.number] for decision in ended)
    return 1 - sum(decision.epoch for decision in ended) / whole if whole else 0.0


def _totals(planned: Sequence[PlannedStudy], studies: Sequence[StudySpec], room: Room, spared: float) -> Totals:
    def loads(end: int | None) -> dict[str, StudyLoad]:
        """What is left in each study; with the times at one end of their ranges."""
        found = {}
        for one, study in zip(planned, studies, strict=True):
            ends = one.estimate.ends
            if one.estimate.seconds is not None and ends is not None and one.left:
                seconds = (one.estimate.seconds if end is None else ends[end]) * (1 - spared)
                found[one.key] = StudyLoad(one.left, seconds, study.parallel, study.priority, one.cpus, one.gpus)
        return found

    def trial_hours(jobs: Mapping[str, StudyLoad]) -> float:
        return sum(job.trials * job.seconds for job in jobs.values()) / 3600

    jobs = loads(None)
    ends = (loads(0), loads(1)) if any(one.estimate.least is not None for one in planned) else None
    needs = [(one.cpus, one.gpus) for one in planned if one.left]
    fits = any(room.fitting(job.cpus, job.gpus) for job in jobs.values())
    return Totals(
        trials=sum(one.left for one in planned),
        unknown=sum(one.left for one in planned if one.key not in jobs),
        spared=spared,
        trial_hours=trial_hours(jobs),
        gpu_hours=sum(job.trials * job.seconds * job.gpus for job in jobs.values()) / 3600,
        wall_hours=wall_seconds(jobs, room) / 3600 if fits else None,
        workers=room.at_once(needs),
        gpus=room.gpus,
        where=room.where,
        trial_range=ends and (trial_hours(ends[0]), trial_hours(ends[1])),
        wall_range=(wall_seconds(ends[0], room) / 3600, wall_seconds(ends[1], room) / 3600) if ends and fits else None,
    )


def _refusals(
    spec: SweepSpec, store: TrialStore, gathering: Gathering, planned: Sequence[PlannedStudy], room: Room
) -> list[str]:
    """Errors of a launch about the spec, the inputs of earlier trials, and the machine."""
    refusals = []
    try:
        check_spec(store, spec)
        if not gathering.missing:
            SweepDriver(spec, store, (), gathering.load).replay()
    except InputError as error:
        refusals.append(str(error))
    without = [one for one in planned if one.left and not room.fitting(one.cpus, one.gpus)]
    if without:
        first = without[0]
        more = f" (and of {len(without) - 1} more studies)" if len(without) > 1 else ""
        refusals.append(
            f"resources: no trial of {first.key}{more} fits: it needs {first.cpus:g} CPUs and {first.gpus:g} GPUs, "
            f"{room.where} has {room.cpus:g} and {room.gpus}; plan for another machine with --gpus N"
        )
    return refusals
