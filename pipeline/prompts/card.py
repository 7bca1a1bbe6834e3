"""The card of an exported prompt: what a person needs to judge it, and what the software needs to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.reports.rows import PAPER_WARNING, Chosen, ForUse, warning_of
from sept_core.datasets import DatasetInfo
from sept_core.learners import get_learner
from sept_core.results import TrialResult, software

__all__ = ["make_card"]

_RULE = {
    "heldout": "the study's trial with the highest accuracy on held-out training clips, over all its test folds (H of "
    "base and new classes; cross-dataset: on the source)",
    "strict": "the trial with the highest accuracy on held-out training clips (H of base and new classes; "
    "cross-dataset: on the source) in a search that used the replicas of this test fold alone",
    "nested": "the study's trial with the highest H on a second split of the base classes, over all its test folds; no "
    "clip of a new class was used",
    "paper": PAPER_WARNING,
}
_UNSEEN = "no test clip of its fold was used"
_PROCEDURE = (
    "the row of the sweep's table, percent, mean over replicas: an estimate of the procedure (a search and its "
    "choice for each test fold by that fold's replicas alone). It is not a measurement of this prompt, whose "
    "configuration is the one that is best over all folds"
)
_PROCEDURE_SAME = (
    "the row of the sweep's table, percent, mean over replicas: the recorded accuracies of this same trial, which was "
    "chosen for every test fold"
)
_SAME_OF_SEVERAL = ". They also estimate the procedure, because each test fold's choice used that fold's replicas alone"
_PROCEDURE_STRICT = (
    "the row of the sweep's table, percent, mean over replicas: an estimate of the procedure (a search and its "
    "choice for each test fold by that fold's replicas alone); this prompt is the choice for test fold {fold} only"
)
_INFERENCE = (
    "the mean of the replicas' probabilities, each the softmax of the method's logits over the given names; "
    "probabilities are not calibrated, and do not account for classes that are not among the names"
)
_METRICS = (
    "percent, mean over replicas: each replica alone on the clips of its own test fold. The mean of their "
    "probabilities, which predictions use, was not measured: with several folds no clip is new to all replicas. "
    "Base-to-new: base and new are clips ranked among the names of their own group, all_base and all_new the same "
    "clips ranked among all names, and all is both groups together"
)
_METRICS_OF_A_FOLD = (
    "percent, mean over replicas: each replica alone on the clips of the one test fold. The mean of their "
    "probabilities, which predictions use, was not measured. Other test folds have searches of their own"
)
_LICENCE = (
    "Learned from clips of the dataset with the encoder: the licences of both apply to the prompt. Those of mini, "
    "ESC10, FSDD and Synth12 are in sept_core/datasets/bundled/ATTRIBUTION.md"
)


def make_card(
    sweep: str,
    chosen: ForUse,
    row: Chosen | None,
    result: TrialResult,
    recorded: TrialResult,
    info: DatasetInfo,
    trained: Sequence[str],
    clips: Sequence[int],
    origin: Mapping[str, Any],
) -> dict[str, Any]:
    """The card's content, without format and digests.

    Args:
        sweep: Name of the sweep.
        chosen: The study and its best configuration.
        row: Its row in the table of the sweep; None if there is none.
        result: The accuracies of the exported parameters, measured again.
        recorded: The result of the trial in the store.
        info: The dataset (cross-dataset: the source).
        trained: The training classes, in the order of the learner.
        clips: Number of training clips of each replica.
        origin: Where the parameters come from, and how they were checked.
    """
    config = result.config
    learner = get_learner(config.baseline)
    versions, machine = software()
    strict = config.selection == "strict"
    caution = PAPER_WARNING if config.selection == "paper" else chosen.caution
    return {
        "study": chosen.study,
        "sweep": sweep,
        "trial": {"number": chosen.number, "signature": chosen.signature, "searched": dict(chosen.params)},
        "method": config.method,
        "baseline": config.baseline,
        "sept": config.sept,
        "hyper": dict(config.hyper),
        "protocol": config.protocol,
        "selection": config.selection,
        "chosen_by": _chosen_by(chosen),
        "encoder": {"name": config.encoder, "fingerprint": config.encoder_fingerprint},
        "dataset": {
            "name": config.dataset,
            "kind": info.kind,
            "template": info.template,
            "manifest_digest": config.manifest_digest,
            "embeddings_digest": config.embeddings_digest,
        },
        "classes": {"trained": list(trained), "all": list(info.classnames)},
        "training": {
            "shots": config.shots,
            "folds": list(config.folds),
            "seeds": list(config.seeds),
            "epochs": config.epochs,
            "batch_size": config.batch_size,
            "clips_seen": f"replica (fold F, seed S): {config.shots} clips per training class, or all if there are "
            "fewer, drawn from outside test fold F by (dataset, fold, seed, class)"
            if learner.reads_clips
            else "none: nothing is learned from clips",
            "clips_contained": "the features of the training clips, as the parameter keys"
            if learner.starts_from_clips
            else "none",
        },
        "replicas": [
            dict(row) | {"training_clips": count if learner.reads_clips else 0}
            for row, count in zip(result.replicas, clips, strict=True)
        ],
        "inference": _INFERENCE,
        "validation": dict(result.validation),
        "test": dict(result.test),
        "metrics_are": "; ".join(filter(None, (caution, _METRICS_OF_A_FOLD if strict else _METRICS))),
        "caution": caution,
        "procedure": _procedure(row, chosen),
        "data_warnings": list(result.warnings),
        "parameters": dict(origin),
        "trained_with": {"versions": dict(recorded.versions), "machine": recorded.machine},
        "exported_with": {"versions": dict(versions), "machine": machine},
        "licence": _LICENCE,
    }


def _chosen_by(chosen: ForUse) -> str:
    rule = _RULE[chosen.selection]
    if chosen.selection == "paper":
        return rule
    return f"{rule}; {chosen.caution or _UNSEEN}"


def _procedure(row: Chosen | None, use: ForUse) -> dict[str, Any] | None:
    """The accuracies of the row in the table, with their meaning."""
    if row is None:
        return None
    chosen = [
        {"folds": list(folds), "number": choice.number, "signature": choice.signature} for choice, folds in row.merged
    ]
    if all(choice.signature == use.signature for choice in row.choices):
        meaning = _PROCEDURE_SAME + (_SAME_OF_SEVERAL if use.caution else "")
    else:
        meaning = _PROCEDURE_STRICT.format(fold=use.folds[0]) if use.selection == "strict" else _PROCEDURE
    meaning = "; ".join(filter(None, (warning_of(row.selection), meaning)))
    return {"figures_are": meaning, **row.measured, "chosen": chosen, "trials": dict(row.trials)}
