"""The sections of a report with its background: costs, failures, the rule of choice, inputs, versions, commands."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.reports.document import Section, Sheet
from pipeline.reports.missing_results import several_folds
from pipeline.reports.records import StudyRecords, SweepRecords
from pipeline.reports.rows import Chosen, merged, method_title
from pipeline.reports.sweep_table import SweepTable
from pipeline.reports.titles import study_title
from pipeline.store import Decision
from pipeline.text import duration
from sept_core.protocol_facts import protocol_of
from sept_core.trial_config import TrialConfig

__all__ = ["account_sections", "origin_sections", "rerun_command"]

_RULES = {
    "heldout": "Validation is {objective} on held-out clips: clips of a replica's training folds that it does not "
    "train on. Test fold k uses the trial with the best validation on fold k's replicas alone, which includes no test "
    "clip of fold k.",
    "strict": "Validation is {objective} on held-out clips: clips of a replica's training folds that it does not train "
    "on. Each test fold has a search of its own: its proposals, prunings and choice use the validation of this fold's "
    "replicas alone, which includes no test clip of the fold.",
    "nested": "Validation is {objective} of a training on one part of the base classes, measured on clips of both "
    "parts from the training folds; the search uses no clip of a new class, and no name of one unless a data warning "
    "about the neighbours says so. Test fold k uses the trial with the best validation on fold k's replicas alone, "
    "which includes no test clip of fold k.",
    "paper": "Validation is {objective} on the TEST clips themselves (selection: paper), and one trial is chosen for "
    "all folds. The chosen numbers are therefore too good for unseen data; they are for comparison with tables made "
    "in the same way.",
}
_SHARED = {
    "heldout": " Proposals and prunings use means over all folds, whose held-out clips are test clips of other folds; "
    "selection: strict avoids that too.",
    "nested": " Proposals and prunings use means over all folds, whose clips are test clips of other folds.",
}
"""What several test folds share in addition."""
_OBJECTIVES = {
    "h": "H, the mean over replicas,",
    "accuracy": "accuracy, the mean over replicas,",
    "source": "accuracy on the source",
}
_REASON_LENGTH = 200


def rerun_command(sweep: str, signature: str) -> str:
    """The command that trains a trial again and compares the results."""
    return f"sept rerun {sweep} {signature}"


def account_sections(table: SweepTable, records: SweepRecords) -> list[Section]:
    """The costs of the search, how it chose, and its inputs, in reading order."""
    return [_costs(records), _rule(table, records), _inputs(records)]


def origin_sections(table: SweepTable) -> list[Section]:
    """Versions, machines, and how to reproduce the numbers."""
    return [_versions(table), _reproduce(table)]


def _costs(records: SweepRecords) -> Section:
    """The time of trials by their state. Times are from their reports, without lost work and start-up."""
    rows, trainings = [], []
    total = Counter[str]()
    for study in records.studies:
        config = next(iter(study.proposals.values())).config if study.proposals else None
        if config is None:
            continue
        cost = {"finished": 0.0, "pruned": 0.0, "failed": 0.0, "saved": 0.0}
        states = Counter(decision.state for decision in study.decisions.values())
        for decision in study.decisions.values():
            seconds = _seconds(decision)
            cost[decision.state] += seconds
            if decision.state == "pruned" and decision.epoch:
                cost["saved"] += seconds * (config.epochs - decision.epoch) / decision.epoch
        counts = [states["finished"], states["pruned"], states["failed"]]
        budget = str(study.spec.trials) if study.spec else "-"
        rows.append(
            (
                config.dataset,
                study_title(config, study.key),
                budget,
                *map(str, counts),
                *(duration(one) if one else "-" for one in cost.values()),
            )
        )
        trainings.append((config.dataset, study_title(config, study.key), *_training(study, config)))
        cpus, gpus = records.spec.resources.of(config.method)
        spent = sum(cost.values()) - cost["saved"]
        for name in cost:
            total[name] += round(1000 * cost[name])
        total["cpu"] += round(1000 * cpus * spent)
        total["gpu"] += round(1000 * gpus * spent) if isinstance(gpus, float) else 0
        total["auto"] += gpus == "auto"
        for state in states:
            total[f"{state} trials"] += states[state]
    columns = ("dataset", "method", "budget", "finished", "pruned", "failed")
    words = frozenset({"dataset", "method"})
    times = ("time finished", "time pruned", "time failed", "saved by pruning")
    lead = (
        f"{total['finished trials']} trials finished, {total['pruned trials']} were pruned, "
        f"{total['failed trials']} failed. Training took {duration(total['finished'] / 1000)} in finished trials, "
        f"{duration(total['pruned'] / 1000)} in pruned ones and {duration(total['failed'] / 1000)} in failed ones: "
        f"{duration(total['cpu'] / 1000)} of CPU time{_gpu(total)}. Without pruning, the pruned ones would have taken "
        f"about {duration(total['saved'] / 1000)} more."
    )
    note = (
        "Times are the training time of each trial at its last report, for all replicas. They do not include start-up, "
        "waiting, the final test, and work lost in a kill. CPU and GPU time: multiplied by the resources of a trial. "
        "s per epoch: the median over trials, for all replicas together, with the validation of its reports. "
        "Parameters: trained ones of one replica of the best trial; '-': none, or a trial of an earlier release."
    )
    return Section(
        "failures",
        "Failures and costs",
        lead=(lead,),
        items=tuple(_failures(records)),
        sheets=(
            Sheet((*columns, *times), tuple(rows), words),
            Sheet(("dataset", "method", "parameters", "s per epoch"), tuple(trainings), words, title="One training"),
        ),
        notes=(note,),
    )


def _training(study: StudyRecords, config: TrialConfig) -> tuple[str, str]:
    """Number of trained parameters and seconds per epoch, as cells."""
    ended = [one for one in study.decisions.values() if one.epoch and one.curve] if config.epochs else []
    seconds = f"{statistics.median(_seconds(one) / one.epoch for one in ended):.2g}" if ended else "-"
    parameters = study.result.parameters if study.result is not None else 0
    return f"{parameters:,}" if parameters else "-", seconds


def _gpu(total: Counter[str]) -> str:
    if total["auto"]:
        return " and the GPU shares that 'auto' assigned at launch"
    return f", {duration(total['gpu'] / 1000)} of GPU time" if total["gpu"] else ", no GPU"


def _failures(records: SweepRecords) -> list[str]:
    """The reasons of failures, most frequent first, with an example of each."""
    reasons: dict[str, list[tuple[StudyRecords, Decision]]] = {}
    for study in records.studies:
        for decision in study.decisions.values():
            if decision.state == "failed":
                reason = " ".join(decision.error.split())[:_REASON_LENGTH] or "no reason is stored"
                reasons.setdefault(reason, []).append((study, decision))
    lines = []
    for reason, found in sorted(reasons.items(), key=lambda entry: (-len(entry[1]), entry[0])):
        study, first = found[0]
        times = f"{len(found)} trials" if len(found) > 1 else "1 trial"
        cost = duration(sum(_seconds(decision) for _, decision in found))
        lines.append(f"{times}, {cost}: {reason} (such as {study.key} #{first.number}, {first.signature})")
    return lines


def _seconds(decision: Decision) -> float:
    return decision.curve[-1].time_s if decision.curve else 0.0


def _rule(table: SweepTable, records: SweepRecords) -> Section:
    spec = records.spec
    objective = _OBJECTIVES[protocol_of(spec.protocol).objective]
    selections = dict.fromkeys(row.selection for row in table.studies)
    sampler, pruner = spec.sampler, spec.pruner
    informed = f", {sampler.n_startup_trials} random proposals first" if sampler.name == "tpe" else ""
    stops = "no trial is pruned"
    if pruner.name == "median":
        stops = (
            f"a trial is pruned if it is below the median of the finished ones at the same epoch, after "
            f"{pruner.n_startup_trials} finished trials and not before epoch {pruner.n_warmup_epochs}"
        )
    rules = " ".join(
        _RULES[selection].format(objective=objective)
        + (_SHARED.get(selection, "") if several_folds(table, selection) else "")
        for selection in selections
    )
    best = (
        "For each test fold, the finished trial with the highest validation is chosen, the first of equals. "
        f"Pruned and failed trials cannot be chosen. {rules}"
    )
    tested = "Every trial is tested once, when it ends."
    if not table.warning:
        tested += " The sampler, the pruner and the choice never use a test accuracy."
    together = f"{spec.parallel} trials of a study at the same time"
    search = f"sampler {sampler.name}, seed {sampler.seed}{informed}; {together}; {stops}"
    training = spec.training
    every = f"{training.epochs} epochs, a report every {min(training.report_every, training.epochs)}"
    return Section(
        "rule",
        "How the rows were chosen",
        lead=(best, tested),
        items=(
            f"Search: {search}.",
            f"Training: {every}, batches of {training.batch_size}, {training.precision}.",
        ),
    )


def _inputs(records: SweepRecords) -> Section:
    configs: dict[str, TrialConfig] = {}
    folds: dict[str, dict[str, None]] = {}
    for study in records.studies:
        for proposal in list(study.proposals.values())[:1]:
            # With strict each study has one fold.
            folds.setdefault(proposal.config.dataset, {}).update(dict.fromkeys(proposal.config.folds))
            # Only studies with SEPT read neighbours and templates.
            if proposal.config.dataset not in configs or proposal.config.sept:
                configs[proposal.config.dataset] = proposal.config
    drawn = [
        (name, one.encoder, str(one.shots), ", ".join(folds[name]), ", ".join(map(str, one.seeds)))
        for name, one in configs.items()
    ]
    digests = [
        (
            name,
            one.encoder_fingerprint,
            one.manifest_digest,
            one.embeddings_digest,
            one.neighbors_digest or "-",
            one.templates_digest or "-",
        )
        for name, one in configs.items()
    ]
    columns = ("dataset", "encoder", "shots", "test folds", "seeds")
    codes = ("dataset", "encoder", "manifest", "embeddings", "neighbours", "templates")
    return Section(
        "inputs",
        "Inputs",
        sheets=(
            Sheet(columns, tuple(drawn), frozenset({*columns} - {"shots"})),
            Sheet(codes, tuple(digests), frozenset(codes), title="Digests", code=frozenset(codes[1:])),
        ),
        notes=("One replica is trained per test fold and seed. Digests are part of the signature of every trial.",),
    )


def _versions(table: SweepTable) -> Section:
    found: dict[tuple[str, str], list[Chosen]] = {}
    for row in table.studies:
        for origin in row.origins:
            versions = ", ".join(f"{package} {number}" for package, number in sorted(origin.versions.items()))
            found.setdefault((versions, origin.machine), []).append(row)
    items = tuple(
        f"{versions}; {machine}" + (f" ({_which(rows)})" if len(found) > 1 else "")
        for (versions, machine), rows in found.items()
    )
    return Section("versions", "Versions and machines", items=items)


def _which(rows: Sequence[Chosen]) -> str:
    named = [f"{row.dataset} {method_title(row.method)}" for row in rows]
    return ", ".join(named) if len(named) <= 6 else f"{', '.join(named[:5])} and {len(named) - 5} more"


def _reproduce(table: SweepTable) -> Section:
    rows = tuple(
        (dataset, method, standing, f"#{number}", signature, rerun_command(table.sweep, signature))
        for dataset, method, standing, number, signature in _standing(table)
    )
    columns = ("dataset", "method", "used for", "trial", "signature", "command")
    sheet = Sheet(columns, rows, frozenset(columns), code=frozenset({"signature", "command"}))
    each = (
        "Each command trains one trial again from its stored configuration, without a search, and compares every "
        "number; with the name of a study instead of the signature, all trials of its row are trained. It reads the "
        "results in ./sept-runs, or the place given by --root or SEPT_ROOT. The numbers are bit-equal on a machine "
        "like the one above with the same versions."
    )
    whole = f"sept sweep launch ROOT/sweeps/{table.sweep}/spec.yaml --root ANOTHER_FOLDER"
    return Section("reproduce", "Reproduce", lead=(each, f"The whole search again: {whole}"), sheets=(sheet,))


def _standing(table: SweepTable) -> Iterator[tuple[str, str, str, int, str]]:
    """Dataset, method, use, number and signature of every trial behind a number of the report."""
    for row in table.studies:
        uses: dict[tuple[int, str], list[str]] = {}
        for choice, folds in row.merged:
            what = "the row" if len(folds) == len(row.folds) else _folds(folds)
            uses.setdefault((choice.number, choice.signature), []).append(what)
        for choice, folds in merged(row.matched.choices) if row.matched else ():
            what = "the gain" if len(folds) == len(row.folds) else f"the gain, {_folds(folds)}"
            uses.setdefault((choice.number, choice.signature), []).append(what)
        for use in table.for_use:
            if use.row == row.study and len(use.folds) > 1 and len(row.merged) > 1:
                uses.setdefault((use.number, use.signature), []).append("use (sept best)")
        for (number, signature), standing in uses.items():
            yield row.dataset, method_title(row.method), "; ".join(standing), number, signature


def _folds(folds: Sequence[str]) -> str:
    return f"fold{'' if len(folds) == 1 else 's'} {', '.join(folds)}"
