"""The ablation of a study: variants of its chosen configurations, as a sweep with fixed configurations.

Each test fold has a chosen configuration of its own (``pipeline.search.selection``), and its variants are trained for
this fold. So a variant costs one trial in all, and compares with the row of the report, whose choice has used no test
clip of the fold. Nothing is chosen among the variants.

The variants of SEPT with one hinge use its ordinary hyper-parameters, at values that switch the other hinge off:
distances of unit vectors are between 0 and 2, so a margin of 0 never pushes (its loss and gradient are exactly 0), and
a margin above 2 never pulls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.search.sizing import trial_config
from pipeline.spec import VARIANTS, Ablation, AblationTrial, SweepSpec, ablation_name
from pipeline.spec.models import EncoderFiles
from sept_core.datasets import trained_classes
from sept_core.errors import InputError
from sept_core.hyper import Value
from sept_core.protocol_facts import protocol_of
from sept_core.semantic import SEPT_HYPER, load_templates, margins
from sept_core.trial_config import TrialConfig, parts_of_key
from sept_core.trial_inputs import check_names_apart, trial_neighbors

if TYPE_CHECKING:
    from sept_core.trial import TrialInputs

__all__ = ["ablation_spec", "check_unchanged"]

NEVER_PULLS = 1e6
"""As ``margin_intra``: a margin above 2, the largest distance, even for hand-crafted distances down to 2e-6."""
_NEVER_PUSHES = 0.0
_FARTHEST = 2.0

_Hyper = dict[str, Value]


@dataclass(frozen=True)
class _Limits:
    """The available numbers of neighbours and templates, and the mean margins with factors of 1."""

    neighbors: int
    templates: int
    intra: float
    inter: float


def check_unchanged(spec: SweepSpec, key: str, config: TrialConfig, inputs: TrialInputs) -> None:
    """Check that everything that a chosen trial has read is still the same, so that variants differ in nothing else.

    Args:
        spec: The sweep that has chosen it.
        key: The key of its study.
        config: Its configuration.
        inputs: What a trial of its study would read now.

    Raises:
        InputError: Something has changed, or its study is not in the sweep any more.
    """
    study = next((one for one in spec.studies() if one.key == key), None)
    place = f"sweep '{spec.name}', {key}"
    if study is None:
        raise InputError("the study is not in the sweep any more", where=place, fix="launch the sweep with it again")
    now = trial_config(spec, study, inputs, config.hyper)
    for name, before in config:
        if getattr(now, name) != before:
            what = f"its {name} was {before} when trial {config.signature} was trained and is {getattr(now, name)} now"
            fix = "a variant would differ in that as well: launch the sweep under another name (--fork NAME) first"
            raise InputError(what, where=place, fix=fix)


def ablation_spec(row: str, spec: SweepSpec, chosen: Mapping[str, TrialConfig], inputs: TrialInputs) -> SweepSpec:
    """The sweep that trains the variants.

    Args:
        row: Key of the row, of a method with SEPT.
        spec: The sweep of the row.
        chosen: By test fold the chosen configuration.
        inputs: What the trials read.

    Raises:
        InputError: Inputs are missing.
    """
    made: dict[str, tuple[str, _Hyper, dict[str, str]]] = {}
    remarks: dict[str, dict[str, list[str]]] = {}
    for fold, config in chosen.items():
        found, said = _variants(config, inputs)
        for name, (method, hyper) in found.items():
            made.setdefault(json.dumps([method, hyper], sort_keys=True), (method, hyper, {}))[2][fold] = name
        for name, remark in said.items():
            remarks.setdefault(name, {}).setdefault(remark, []).append(fold)
    order = {name: at for at, name in enumerate(VARIANTS)}
    trials = [AblationTrial(method=method, hyper=hyper, folds=folds) for method, hyper, folds in made.values()]
    trials.sort(key=lambda one: min(order[name] for name in one.folds.values()))
    sept = next(iter(chosen.values())).method
    ablation = Ablation(
        sweep=spec.name,
        row=row,
        trials=tuple(trials),
        remarks={
            name: "; ".join(_of_folds(remark, folds, len(chosen)) for remark, folds in remarks[name].items())
            for name in VARIANTS
            if name in remarks
        },
    )
    return _spec(spec, ablation_name(spec.name, row, chosen), sept, tuple(chosen), ablation)


def _of_folds(remark: str, folds: list[str], count: int) -> str:
    if len(folds) == count:
        return remark
    return f"{remark} (fold{'' if len(folds) == 1 else 's'} {', '.join(folds)})"


def _spec(spec: SweepSpec, name: str, method: str, folds: tuple[str, ...], ablation: Ablation) -> SweepSpec:
    """The spec of the source with one dataset, without search."""
    dataset = parts_of_key(ablation.row).dataset
    # What the cell of the row sets becomes a setting of the sweep.
    study = next(one for one in spec.studies() if one.row_key == ablation.row)
    neighbors = {} if study.inputs.neighbors is None else {dataset: study.inputs.neighbors}
    methods = tuple(dict.fromkeys(one.method for one in ablation.trials))
    source = {protocol_of(spec.protocol).data[0]: (dataset,)}
    resources = {
        key: own for key, own in spec.resources.by_method.items() if key in (*methods, method.removesuffix("+sept"))
    }
    parts = {part for one in methods for part in one.split("+")}
    changes: dict[str, Any] = source | {
        "name": name,
        "methods": methods,
        "trials": max(sum(one.method == method for one in ablation.trials) for method in methods),
        "parallel": len(ablation.trials),
        "folds": {dataset: folds} if spec.selection == "strict" or isinstance(spec.folds, dict) else "all",
        "accept_faulty_splits": tuple(
            one for one in spec.accept_faulty_splits if one in (dataset, *spec.targets_of(dataset))
        ),
        "neighbors": neighbors,
        "shots": study.shots,
        "encoder": EncoderFiles(name=study.encoder, weights=study.inputs.weights, text_model=study.inputs.text_model),
        "resources": spec.resources.model_copy(update={"by_method": resources}),
        "pruner": type(spec.pruner)(name="none"),
        "spaces": {part: space for part, space in spec.spaces.items() if part in parts},
        "ablation": ablation,
        **{key: {} for key in ("budgets", "priorities", "presets", "axes", "variants")},
    }
    return spec.model_copy(update=changes)


def _variants(config: TrialConfig, inputs: TrialInputs) -> tuple[dict[str, tuple[str, _Hyper]], dict[str, str]]:
    """Method and hyper-parameters of each variant, and remarks about those that are left out or limited."""
    hyper, limits = config.hyper, _limits(config, inputs)
    mode, count, templates = str(hyper["margin_mode"]), int(hyper["n_neighbors"]), int(hyper["n_templates"])
    constant: _Hyper = {"margin_mode": "constant"}
    if mode == "none":
        # It pulls to distance 0 and pushes to distance 2, whatever the factors.
        intra: _Hyper = constant | {"margin_intra": 0.0, "margin_inter": _NEVER_PUSHES}
        inter: _Hyper = constant | {"margin_intra": NEVER_PULLS, "margin_inter": _FARTHEST}
    else:
        intra, inter = {"margin_inter": _NEVER_PUSHES}, {"margin_intra": NEVER_PULLS}
    level: _Hyper = {
        "margin_intra": round(float(hyper["margin_intra"]) * limits.intra, 3),
        "margin_inter": round(float(hyper["margin_inter"]) * limits.inter, 3),
    }
    changes: dict[str, _Hyper] = {
        "intra only": intra,
        "inter only": inter,
        "no margins": {"margin_mode": "none"},
        "constant margins": {} if mode == "constant" else constant | level,
        "N halved": {"n_neighbors": max(1, count // 2)},
        "N doubled": {"n_neighbors": min(2 * count, limits.neighbors)},
        "T halved": {"n_templates": max(1, templates // 2)},
        "T doubled": {"n_templates": min(2 * templates, limits.templates)},
    }
    off = {name: value for name, value in hyper.items() if name not in {one.name for one in SEPT_HYPER}}
    made: dict[str, tuple[str, _Hyper]] = {"SEPT off": (config.baseline, off)}
    remarks: dict[str, str] = {}
    same: list[tuple[_Hyper, str]] = [(dict(hyper), "the chosen configuration")]
    for name, change in changes.items():
        variant = dict(hyper) | change
        known = next((what for other, what in same if other == variant), None)
        if name.startswith("T ") and mode != "handcrafted":
            remarks[name] = f"left out: margin_mode {mode} uses no templates"
        elif known is not None:
            remarks[name] = f"left out: equal to {known}{_why(name, count, templates, limits)}"
        elif name == "N doubled" and (problem := _indistinct(config, inputs, variant)):
            remarks[name] = f"left out: {problem}"
        else:
            made[name] = (config.method, variant)
            same.append((variant, name))
            if name == "N doubled" and limits.neighbors < 2 * count:
                remarks[name] = f"{limits.neighbors} instead of {2 * count} neighbours: there are no more"
            if name == "T doubled" and limits.templates < 2 * templates:
                remarks[name] = f"{limits.templates} instead of {2 * templates} templates: there are no more"
    return made, remarks


def _why(name: str, count: int, templates: int, limits: _Limits) -> str:
    reasons = {
        "N halved": f", which has {count} neighbour per class",
        "N doubled": f": no more than {limits.neighbors} neighbours per class are available",
        "T halved": f", which has {templates} template",
        "T doubled": f": no more than {limits.templates} templates are available",
    }
    return reasons.get(name, "")


def _limits(config: TrialConfig, inputs: TrialInputs) -> _Limits:
    """The available neighbours and templates, and the mean hand-crafted margins of the chosen N and T."""
    neighbors = trial_neighbors(inputs, config.protocol, config.neighbors_naming_new)
    if neighbors is None:
        raise InputError(f"SEPT needs semantic neighbours of {config.dataset}'s classes, and there are none")
    info, highest = inputs.table.info, {one.name: int(one.high) for one in SEPT_HYPER if one.kind is int}
    classes = trained_classes(info.classnames, config.protocol)
    templates = load_templates(info.kind)
    fewest = min(len(neighbors.by_class[name]) for name in neighbors.only(classes).by_class)
    intra, inter = margins(
        "handcrafted",
        margin_intra=1.0,
        margin_inter=1.0,
        tower=inputs.encoder.text,
        classes=classes,
        neighbors=neighbors.first(classes, int(config.hyper["n_neighbors"])),
        templates=templates[: int(config.hyper["n_templates"])],
    )
    size = len(classes)
    own = inter[range(size), range(size)].sum()
    others = float(inter.sum() - own) / max(1, (size - 1) * inter[0].numel())
    return _Limits(
        min(fewest, highest["n_neighbors"]), min(len(templates), highest["n_templates"]), float(intra.mean()), others
    )


def _indistinct(config: TrialConfig, inputs: TrialInputs, hyper: Mapping[str, Value]) -> str:
    """Why more neighbours cannot be used, although they exist: two of them have the same tokens."""
    used = trial_neighbors(inputs, config.protocol, config.neighbors_naming_new)
    try:
        check_names_apart(inputs, config.protocol, hyper, used)
    except InputError as error:
        return error.what
    return ""
