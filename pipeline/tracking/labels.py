"""What a person reads in MLflow: names, descriptions and colours of runs. Pure functions of the store's values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.text import method_title
from sept_core.trial_config import TrialConfig, parts_of_key

if TYPE_CHECKING:
    from pipeline.store import Decision, Proposal

__all__ = [
    "COLOUR",
    "EXPERIMENT_NOTE",
    "NAME",
    "NOTE",
    "earlier_name",
    "run_name",
    "selection_mark",
    "study_name",
    "study_note",
    "trial_note",
]

# MLflow's own tags: the name of a run, its colour in charts, and its description (Markdown).
NAME = "mlflow.runName"
COLOUR = "mlflow.runColor"
NOTE = "mlflow.note.content"

EXPERIMENT_NOTE = """\
**To see what SEPT did, compare two studies of one data set**, such as `ESC10 | CoOp` and `ESC10 | CoOp + SEPT`. A \
study is the search for the best configuration of one method; its row has the accuracies of the report's table.

- `val/...` is accuracy (percent) on validation clips. The search maximizes `val/h`, the harmonic mean of the \
accuracies on base and new classes (few-shot: `val/accuracy`, across data sets: `val/source`). Rows are sorted by it.
- `test/...` is accuracy on test clips. Compare studies by it, but choose nothing by it: configurations are chosen by \
`val/...` alone.
- A row such as `#7 coop+sept | ESC10` is a *trial*, one configuration of a study. `sept.state` states whether it \
finished, failed, or was pruned (stopped early, without a test).
- **Views**, above on the right, has this table, the studies with their trials below them, and the trials for charts \
(click the symbol with the curve).
- The run whose name ends in `report` has the report under *Artifacts*.

The numbers here are rounded. The exact ones are in the results folder, which is the record.
"""


def study_name(proposal: Proposal) -> str:
    """Such as ``ESC10 | CoOp + SEPT``, or ``ESC10 | CoOp, shots 4`` in a sweep with axes."""
    config = proposal.config
    method = method_title(_in_cell(proposal))
    return f"{config.dataset} | {method}{_fold(config)}{selection_mark(config.selection)}"


def run_name(proposal: Proposal, state: str = "running") -> str:
    """Such as ``#7 coop+sept | ESC10``, or ``#7 coop+sept, pruned | ESC10``."""
    config = proposal.config
    ended = f", {state}" if state in ("pruned", "failed") else ""
    return (
        f"#{proposal.number} {_in_cell(proposal)}{ended} | {config.dataset}{_fold(config)}"
        f"{selection_mark(config.selection)}"
    )


def _in_cell(proposal: Proposal) -> str:
    """The method and, in a sweep with axes, its cell."""
    cell = parts_of_key(proposal.study).cell
    return f"{proposal.config.method}@{cell}" if cell else proposal.config.method


def earlier_name(name: str, proposal: Proposal) -> bool:
    """Whether a run may be renamed: it has a name that this or an earlier release gave it, not one of a person's."""
    return name.startswith((f"#{proposal.number} ", proposal.config.method))


def _fold(config: TrialConfig) -> str:
    """The test fold, if each fold has a study of its own."""
    return f" | fold {config.folds[0]}" if config.selection == "strict" else ""


def selection_mark(selection: str) -> str:
    """Added to the name of every run that was chosen on test clips; otherwise empty."""
    return " [chosen on test clips]" if selection == "paper" else ""


def study_note(config: TrialConfig, chosen: Mapping[str, Decision], choosing: bool = True) -> str:
    """The description of a study.

    Args:
        config: The configuration of one of its trials.
        chosen: The chosen trial of each test fold.
        choosing: Whether its sweep chooses among its trials; an ablation does not.
    """
    what = f"The search for the best configuration of **{method_title(config.method)}** on **{config.dataset}**"
    if not choosing:
        return (
            f"Variants of chosen configurations of **{method_title(config.method)}** on **{config.dataset}**, each "
            "with one thing changed (`sept ablate`). Nothing is chosen among them: they are compared in the report of "
            "their sweep."
        )
    lines = [f"{what} ({config.encoder}, {config.protocol}, {config.shots} shots)."]
    if chosen:
        folds = defaultdict[int, list[str]](list)
        for fold, decision in sorted(chosen.items()):
            folds[decision.number].append(fold)
        said = "; ".join(f"trial #{number} for {', '.join(names)}" for number, names in sorted(folds.items()))
        by = "TEST clips" if config.selection == "paper" else "validation clips"
        lines.append(f"Chosen for each test fold, by accuracy on {by}: {said}.")
        lines.append(
            "Look at `val/...` and `test/...`: the accuracies of the chosen trials together, as in the report's table. "
            "`search/...` has the best validation so far, by the number of trials. Compare with the study of the same "
            "data set " + ("without SEPT." if config.sept else "with SEPT.")
        )
    else:
        lines.append("No trial has finished yet.")
    return "\n\n".join(lines)


def trial_note(decision: Decision) -> str:
    """The description of a trial that has ended; empty if it finished."""
    if decision.state == "pruned":
        return f"Pruned at epoch {decision.epoch}: it was not promising, so it was stopped early and not tested."
    if decision.state == "failed":
        return f"Failed: {decision.error}".replace("\0", "")
    return ""
