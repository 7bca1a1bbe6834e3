"""The optimism of ``heldout``, whose sampler and pruner see means over folds, compared with ``strict``.

    python tests/benchmarks/bench_strict.py --root strict-runs --trials 20 --epochs 20 --seeds 2

Runs two ordinary sweeps at equal budget on the embeddings that ship, with every method of the benchmark, and prints a
Markdown table of test accuracies. Started again with the same options, it resumes; with more trials it adds them.
`heldout` is listed twice: with its choice for each test fold, by the validation of this fold's replicas alone, and with
one choice over all folds, which has measured every test clip. Their difference to `strict` is their optimism, plus the
noise between searches: --repeats repeats the search with other seeds of the sampler.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.cli.progress import LineProgress
from pipeline.search.selection import best_decision
from pipeline.search.sweep import INTERRUPTED_EXIT_CODE, launch
from pipeline.spec import SweepSpec, load_sweep
from pipeline.store import TrialStore, open_files
from sept_core.results import TrialResult

BASELINES = ("coop", "cocoop", "kgcoop", "dept")
METHODS = ("zero-shot", *(f"{baseline}{sept}" for baseline in BASELINES for sept in ("", "+sept")))
RULES = ("heldout, choice per fold", "heldout, one choice", "strict")
ACCURACIES = ("base", "new", "h")

Rows = list[Mapping[str, Any]]
"""Replicas, as in ``TrialResult``: one for each fold and seed."""


@dataclass(frozen=True)
class Studies:
    """The finished trials of one dataset and method by number, best number first where it stands for a study.

    Attributes:
        heldout: Its trials, each with the replicas of all folds.
        strict: Of each fold's study, the trial that it ends with.
    """

    heldout: dict[int, TrialResult]
    strict: list[TrialResult]

    def replicas(self, rule: str) -> Rows:
        """The replicas whose test accuracies the rule reports."""
        if rule == "strict":
            return [row for result in self.strict for row in result.replicas]
        if rule == "heldout, one choice":
            number = min(self.heldout, key=lambda number: (-self.heldout[number].objective, number))
            return list(self.heldout[number].replicas)
        rows: Rows = []
        for fold in next(iter(self.heldout.values())).config.folds:
            of_fold = {
                number: [row for row in result.replicas if row["fold"] == fold]
                for number, result in self.heldout.items()
            }
            rows += of_fold[min(of_fold, key=lambda number: (-_mean(of_fold[number], "val_h"), number))]
        return rows


def main() -> None:
    """Run what is missing, and print the table."""
    given = _arguments()
    tables = []
    for repeat in range(given.repeats):
        specs = [_sweep(given, selection, repeat) for selection in ("heldout", "strict")]
        for spec in specs:
            outcome = launch(spec, given.root, observers=[LineProgress(lambda line: print(line, file=sys.stderr))])
            if outcome.state == "stopped":
                print("stopped; the same command continues from there", file=sys.stderr)
                raise SystemExit(INTERRUPTED_EXIT_CODE)
        tables.append(_read(TrialStore(open_files(given.root)), *specs))
    for line in _lines(given, tables):
        print(line)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("strict-runs"), help="results folder")
    parser.add_argument("--datasets", nargs="+", default=["ESC10", "FSDD"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--trials", type=int, default=20, help="of each study")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2, help="how many, from 0")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=1, help="searches, each with another seed of the sampler")
    parser.add_argument("--workers", type=int, default=None, help="trials at a time; as many as fit unless given")
    return parser.parse_args()


def _sweep(given: argparse.Namespace, selection: str, repeat: int) -> SweepSpec:
    """The sweep, from a file that could also be launched by hand."""
    content = {
        "name": f"bench-{selection}-{repeat}",
        "encoder": "mini",
        "selection": selection,
        "datasets": given.datasets,
        "methods": given.methods,
        "trials": given.trials,
        "shots": given.shots,
        "seeds": list(range(given.seeds)),
        "training": {"epochs": given.epochs, "report_every": max(1, given.epochs // 4), "batch_size": 16},
        "sampler": {"name": "tpe", "n_startup_trials": max(2, given.trials // 4), "seed": repeat},
        "pruner": {"name": "median", "n_startup_trials": 3, "n_warmup_epochs": given.epochs // 2},
        "resources": {"workers": given.workers or "auto"},
    }
    given.root.mkdir(parents=True, exist_ok=True)
    file = given.root / f"{content['name']}.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return load_sweep(file)


def _read(store: TrialStore, heldout: SweepSpec, strict: SweepSpec) -> dict[str, Studies]:
    """By row (dataset, encoder, protocol, method) the results of both sweeps."""
    found = {study.row_key: Studies({}, []) for study in heldout.studies()}
    for spec in (heldout, strict):
        decisions = store.decisions(spec.name)
        finished = [decision for decision in decisions if decision.state == "finished"]
        results = store.read_results((decision.study, decision.signature) for decision in finished)
        for study in spec.studies():
            of_study = [decision for decision in finished if decision.study == study.key]
            if study.fold is None:
                numbered = {decision.number: results[study.key, decision.signature] for decision in of_study}
                found[study.row_key].heldout.update(numbered)
            elif (best := best_decision(of_study)) is not None:
                found[study.row_key].strict.append(results[study.key, best.signature])
    return found


def _lines(given: argparse.Namespace, tables: Sequence[Mapping[str, Studies]]) -> Iterator[str]:
    folds = {row: studies.heldout[min(studies.heldout)].config.folds for row, studies in tables[0].items()}
    yield (
        f"{given.trials} trials a study, {given.epochs} epochs, {given.seeds} seeds, {given.shots} shots, mini, "
        f"searches: {given.repeats}; test accuracy in percent: base / new / H"
    )
    yield ""
    yield f"| dataset | method | {' | '.join(RULES)} |"
    yield "|---|---|" + "---|" * len(RULES)
    optimism: dict[str, list[float]] = {rule: [] for rule in RULES[:2]}
    for row in tables[0]:
        dataset, _, _, method = row.split(".")
        means = {
            rule: [
                statistics.fmean(_mean(table[row].replicas(rule), f"test_{name}") for table in tables)
                for name in ACCURACIES
            ]
            for rule in RULES
        }
        for rule, gains in optimism.items():
            if method != "zero-shot":
                gains.append(means[rule][2] - means["strict"][2])
        cells = [" / ".join(f"{value:.1f}" for value in means[rule]) for rule in RULES]
        yield f"| {dataset} ({len(folds[row])} folds) | {method} | {' | '.join(cells)} |"
    yield ""
    for rule, gains in optimism.items():
        if gains:
            error = f" ± {statistics.stdev(gains) / len(gains) ** 0.5:.2f} (standard error)" if len(gains) > 1 else ""
            mean = f"{statistics.fmean(gains):+.2f}{error}"
            yield f"Mean optimism of '{rule}' in H, over {len(gains)} rows with a search: {mean}"


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return statistics.fmean(float(row[name]) for row in rows)


if __name__ == "__main__":
    main()
