"""Reads the YAML of a sweep and checks it against the code before anything runs.

spec = load_sweep("quickstart")              # a sweep that ships with the package
spec = load_sweep(Path("my.yaml"), {"trials": 32})
for study in spec.studies():
    print(study.key, study.trials)
"""

from pipeline.spec.ablation import VARIANTS, Ablation, AblationTrial, ablation_name, is_ablation
from pipeline.spec.changes import spec_differences
from pipeline.spec.load import load_sweep, parse_sweep
from pipeline.spec.models import Dimension, EncoderFiles, Pruner, Resources, Sampler, Training
from pipeline.spec.presets import preset_lines
from pipeline.spec.sweep import StudyInputs, StudySpec, SweepSpec

__all__ = [
    "VARIANTS",
    "Ablation",
    "AblationTrial",
    "Dimension",
    "EncoderFiles",
    "Pruner",
    "Resources",
    "Sampler",
    "StudyInputs",
    "StudySpec",
    "SweepSpec",
    "Training",
    "ablation_name",
    "is_ablation",
    "load_sweep",
    "parse_sweep",
    "preset_lines",
    "spec_differences",
]
