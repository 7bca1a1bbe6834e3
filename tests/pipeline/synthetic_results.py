"""A small sweep with made-up numbers, for tests of what shows results (tracking, report, command line)."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass, replace

from pipeline.search.selection import best_decision
from pipeline.store import Decision, Proposal, TrialStore
from sept_core.protocol_facts import objective_among
from sept_core.results import Report, TrialResult
from sept_core.trial_config import METHOD_VERSION, TrialConfig

SWEEP = "synthetic"
EPOCHS, EVERY = 15, 5
START_MS = 1_760_000_000_000

SPEC = f"""
name: {SWEEP}
encoder: mini
datasets: [ESC10, FSDD]
methods: [zero-shot, coop, coop+sept]
trials: 3
training: {{epochs: {EPOCHS}, report_every: {EVERY}}}
"""

# dataset -> folds, names of base and new classes
DATASETS = {
    "ESC10": (("2", "3", "4", "5"), ["baby cry", "chainsaw", "clock tick"], ["helicopter", "rain", "rooster"]),
    "FSDD": (("nicolas", "theo", "yweweler"), ["eight", "five"], ["seven", "six"]),
}
# method -> centre of base and new accuracy
LEVELS = {"zero-shot": (72.0, 74.0), "coop": (92.0, 61.0), "coop+sept": (90.0, 76.0)}


@dataclass(frozen=True)
class Case:
    """One trial with all that belongs to it."""

    proposal: Proposal
    decision: Decision
    result: TrialResult | None


def make_config(dataset: str, method: str, hyper: dict[str, int | float | str]) -> TrialConfig:
    baseline, _, sept = method.partition("+")
    trains = baseline != "zero-shot"
    return TrialConfig(
        method_version=METHOD_VERSION,
        protocol="base-to-new",
        selection="heldout",
        encoder="mini",
        encoder_fingerprint="0123456789abcdef",
        dataset=dataset,
        manifest_digest="fedcba9876543210",
        embeddings_digest="fedcba9876543210",
        targets={},
        neighbors_digest="aaaaaaaaaaaaaaaa" if sept else None,
        templates_digest="bbbbbbbbbbbbbbbb" if sept else None,
        baseline=baseline,
        sept=bool(sept),
        hyper=hyper,
        shots=16,
        folds=DATASETS[dataset][0],
        seeds=(0,),
        epochs=EPOCHS if trains else 0,
        report_every=EVERY if trains else 1,
        batch_size=16 if trains else 1,
    )


def make_case(
    dataset: str,
    method: str,
    number: int,
    state: str = "finished",
    given: dict[str, int | float | str] | None = None,
) -> Case:
    """A trial of a study with the given decision; its numbers depend on nothing but the arguments."""
    rng = random.Random(f"{dataset} {method} {number}")
    params: dict[str, int | float | str] = {}
    if method != "zero-shot":
        params = {"n_ctx": rng.choice([2, 4, 8]), "lr": round(10 ** rng.uniform(-2.7, -1.3), 5)}
    if method.endswith("sept"):
        params["lambda_se"] = round(rng.uniform(1, 50), 3)
    params = params if given is None else given
    config = make_config(dataset, method, params | {"logit_scale": 16.0})
    created = START_MS + 60_000 * number
    steps = range(EVERY, EPOCHS + 1, EVERY) if config.epochs else [0]
    curve = tuple(
        Report(
            epoch=step,
            metrics=_losses(rng, config.epochs)
            | dict(zip(("val/base", "val/new", "val/h"), _scores(rng, method), strict=True)),
            time_s=0.5 * step,
            timestamp_ms=created + 1000 * step,
        )
        for step in steps
    )
    proposal = Proposal(config.study_key, number, config.signature, config, params, created)
    result = make_result(config, curve, rng) if state == "finished" else None
    curve = result.curve if result else curve
    error = ""
    if state == "failed":
        error = "NonFiniteError: the loss is not finite"
        result = failed(config, curve, "Traceback (most recent call last):\n  ...\n" + error)
    shown = curve[:1] if state == "pruned" else curve
    decision = Decision(
        study=config.study_key,
        number=number,
        signature=config.signature,
        state=state,  # type: ignore[arg-type]
        epoch=shown[-1].epoch,
        objective=result.objective if result and state == "finished" else shown[-1].objective,
        curve=shown,
        decided_ms=created + 30_000,
        error=error,
        fold_values=by_fold(result) if result and state == "finished" else {},
    )
    return Case(proposal, decision, result)


def make_cases(trials: int = 3) -> list[Case]:
    """Every study of the synthetic sweep; in each trained study trial 1 is pruned."""
    return [
        make_case(dataset, method, number, "pruned" if number == 1 else "finished")
        for dataset in DATASETS
        for method in LEVELS
        for number in range(1 if method == "zero-shot" else trials)
    ]


def fill_store(store: TrialStore, cases: list[Case], sweep: str = SWEEP) -> None:
    store.write_spec(sweep, SPEC)
    for case in cases:
        store.add_proposal(sweep, case.proposal)
        if case.result is not None:
            store.write_result(case.result)
        store.write_decision(sweep, case.decision)


def best_of(cases: list[Case], study: str) -> Case:
    best = best_decision(case.decision for case in cases if case.proposal.study == study)
    return next(case for case in cases if case.decision is best)


def by_fold(result: TrialResult) -> dict[str, float]:
    """Validation of each test fold's replicas; the synthetic sweep has one replica a fold."""
    return {str(row["fold"]): float(row[f"val_{objective_among(result.validation)}"]) for row in result.replicas}


def chosen_of(cases: list[Case], study: str) -> dict[str, Case]:
    """By test fold the case that a table shows, looked for by hand."""
    finished = [case for case in cases if case.proposal.study == study and case.decision.state == "finished"]
    found = {}
    for fold in finished[0].proposal.config.folds:
        values = [(by_fold(case.result)[fold], -case.proposal.number) for case in finished if case.result]
        found[fold] = finished[values.index(max(values))]
    return found


def row_of(cases: list[Case], study: str) -> list[dict[str, object]]:
    """The replicas of a table's row, put together by hand: each fold's, of its own trial."""
    return [
        row
        for fold, case in chosen_of(cases, study).items()
        if case.result
        for row in case.result.replicas
        if row["fold"] == fold
    ]


def make_result(config: TrialConfig, curve: tuple[Report, ...], rng: random.Random) -> TrialResult:
    replicas = []
    for fold in config.folds:
        row: dict[str, object] = {"fold": fold, "seed": 0}
        for part in ("val", "test"):
            base, new, h = _scores(rng, config.method)
            row |= {f"{part}_base": base, f"{part}_new": new, f"{part}_h": h}
            row |= {f"{part}_base_f1": base - 1.0, f"{part}_new_f1": new - 2.0}
        replicas.append(row)
    validation = summary(replicas, "val")
    said = {f"val/{name}": validation[name] for name in ("base", "new", "h")}
    curve = (*curve[:-1], replace(curve[-1], metrics=curve[-1].metrics | said))
    _, base, new = DATASETS[config.dataset]
    return TrialResult(
        signature=config.signature,
        config=config,
        state="finished",
        curve=curve,
        validation=validation,
        test=summary(replicas, "test"),
        replicas=tuple(replicas),
        confusion={"base": counts(rng, len(base)), "new": counts(rng, len(new))},
        classnames={"base": base, "new": new},
        train_seconds=curve[-1].time_s,
        finished_ms=curve[-1].timestamp_ms + 100,
        versions={"torch": "2.11.0", "python": "3.11.0"},
        machine="test",
    )


def among_all(case: Case) -> Case:
    """The same trial, whose test clips were ranked among all names too; results of earlier releases lack that."""
    assert case.result is not None
    replicas = []
    for row in case.result.replicas:
        base, new = row["test_base"] - 3.0, row["test_new"] - 9.0
        values = {
            "all": (base + new) / 2,
            "all_base": base,
            "all_new": new,
            "all_h": harmonic(base, new),
            "all_f1": 41.25,
        }
        replicas.append(row | {f"test_{name}": value for name, value in values.items()})
    test = dict(case.result.test)
    for name in ("all", "all_base", "all_new", "all_h"):
        column = [row[f"test_{name}"] for row in replicas]
        test |= {name: statistics.fmean(column), f"{name}_std": statistics.stdev(column)}
    return replace(case, result=replace(case.result, replicas=tuple(replicas), test=test | {"all_f1": 41.25}))


def failed(config: TrialConfig, curve: tuple[Report, ...], error: str) -> TrialResult:
    return TrialResult(
        config.signature, config, "failed", curve, {}, {}, (), {}, {}, 1.0, START_MS, {"torch": "2.11.0"}, "test", error
    )


def summary(replicas: list[dict[str, object]], part: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for name in ("h", "base", "new"):
        column = [float(str(row[f"{part}_{name}"])) for row in replicas]
        values[name] = statistics.fmean(column)
        values[f"{name}_std"] = statistics.stdev(column) if len(column) > 1 else 0.0
    values |= {"base_f1": values["base"] - 1.0, "new_f1": values["new"] - 2.0}
    values["h_of_means"] = harmonic(values["base"], values["new"])
    return values


def harmonic(base: float, new: float) -> float:
    return 2 * base * new / (base + new)


def counts(rng: random.Random, size: int) -> list[list[int]]:
    return [
        [rng.randint(20, 32) if row == column else rng.randint(0, 6) for column in range(size)] for row in range(size)
    ]


def _scores(rng: random.Random, method: str) -> tuple[float, float, float]:
    base, new = (round(level + rng.uniform(-5, 5), 3) for level in LEVELS[method])
    return base, new, harmonic(base, new)


def _losses(rng: random.Random, epochs: int) -> dict[str, float]:
    return {f"loss/{name}": rng.random() for name in ("total", "base")} if epochs else {}


def make_transfer(source: str, method: str, target: str) -> Case:
    """A finished trial from one data set to another."""
    config = make_config(source, method, {"logit_scale": 16.0}).model_copy(
        update={"protocol": "cross-dataset", "targets": {target: "0011223344556677"}}
    )
    return _measured(config, f"{source} {method} {target}", "source", target)


def make_few_shot(dataset: str, method: str) -> Case:
    """A finished trial on all classes of a data set."""
    config = make_config(dataset, method, {"logit_scale": 16.0}).model_copy(update={"protocol": "few-shot"})
    return _measured(config, f"{dataset} {method}", "accuracy")


def _measured(config: TrialConfig, seed: str, own: str, target: str = "") -> Case:
    """A finished trial, measured on clips of its data set and, by ``own``'s side, on those of a target."""
    rng = random.Random(seed)
    names = [own, *([target] if target else [])]
    replicas = []
    for fold in config.folds:
        row: dict[str, object] = {"fold": fold, "seed": 0, f"val_{own}": rng.uniform(50, 90), f"val_{own}_f1": 50.0}
        row |= {f"test_{name}": rng.uniform(50, 90) for name in names}
        row |= {f"test_{name}_f1": 40.0 for name in names}
        replicas.append(row | ({"test_targets": row[f"test_{target}"]} if target else {}))
    test: dict[str, float] = {}
    for name in [*names, *(["targets"] if target else [])]:
        column = [float(str(row[f"test_{name}"])) for row in replicas]
        test |= {name: statistics.fmean(column), f"{name}_std": statistics.stdev(column), f"{name}_f1": 40.0}
    values = [float(str(row[f"val_{own}"])) for row in replicas]
    curve = (Report(config.epochs, {f"val/{own}": statistics.fmean(values)}, 1.0, START_MS),)
    result = TrialResult(
        signature=config.signature,
        config=config,
        state="finished",
        curve=curve,
        validation={own: curve[0].objective, f"{own}_std": statistics.stdev(values), f"{own}_f1": 50.0},
        test=test,
        replicas=tuple(replicas),
        confusion={name: counts(rng, 2) for name in names},
        classnames={name: ["a", "b"] for name in names},
        train_seconds=1.0,
        finished_ms=START_MS,
        versions={"torch": "2.11.0"},
        machine="test",
    )
    proposal = Proposal(config.study_key, 0, config.signature, config, {}, START_MS)
    decision = Decision(
        study=config.study_key,
        number=0,
        signature=config.signature,
        state="finished",
        epoch=config.epochs,
        objective=result.objective,
        curve=curve,
        decided_ms=START_MS + 1,
        error="",
        fold_values=by_fold(result),
    )
    return Case(proposal, decision, result)


def make_transfers() -> list[Case]:
    """ESC10 to FSDD and back, by every method."""
    return [
        make_transfer(*pair, other)
        for one, other in (("ESC10", "FSDD"), ("FSDD", "ESC10"))
        for pair in ((one, method) for method in LEVELS)
    ]


def make_few_shots() -> list[Case]:
    """All data sets, by every method."""
    return [make_few_shot(dataset, method) for dataset in DATASETS for method in LEVELS]


def of_folds(case: Case, folds: tuple[str, ...], *, strict: bool = False) -> Case:
    """The same trial with some of its test folds alone; of a strict sweep each such study has trials of its own."""
    selection = "strict" if strict else case.proposal.config.selection
    config = case.proposal.config.model_copy(update={"folds": folds, "selection": selection})
    proposal = replace(case.proposal, config=config, signature=config.signature, study=config.study_key)
    decision = replace(case.decision, signature=config.signature, study=config.study_key)
    if case.result is None or case.result.state == "failed":
        result = replace(case.result, config=config, signature=config.signature) if case.result else None
        return Case(proposal, decision, result)
    rows = [row for row in case.result.replicas if row["fold"] in folds]
    parts = {"validation": summary(rows, "val"), "test": summary(rows, "test")}
    result = replace(case.result, config=config, signature=config.signature, replicas=tuple(rows), **parts)
    return Case(proposal, replace(decision, objective=result.objective, fold_values=by_fold(result)), result)


def best_everywhere(case: Case) -> Case:
    """The same trial, with the best validation that there can be in every fold."""
    assert case.result is not None
    rows = tuple(
        {name: 100.0 if name.startswith("val_") else value for name, value in row.items()}
        for row in case.result.replicas
    )
    validation = summary(list(rows), "val")
    result = replace(case.result, replicas=rows, validation=validation)
    return replace(case, result=result, decision=replace(case.decision, objective=100.0, fold_values=by_fold(result)))


def chosen_on_test(case: Case) -> Case:
    """The same trial of a sweep with ``selection: paper``."""
    assert case.result is not None
    config = case.proposal.config.model_copy(update={"selection": "paper"})
    signature = config.signature
    values = dict.fromkeys(config.folds, case.result.objective)
    return Case(
        replace(case.proposal, config=config, signature=signature),
        replace(case.decision, signature=signature, fold_values=values),
        replace(case.result, config=config, signature=signature),
    )
