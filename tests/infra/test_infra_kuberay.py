"""infra/kuberay-rayjob.yaml: what KubeRay and Kubernetes document, workers on spot nodes, a retry that resumes."""

from __future__ import annotations

from pathlib import Path

from image_check import read_lock
from kuberay_check import rayjob_faults

INFRA = Path(__file__).parents[2] / "infra"
TEXT = (INFRA / "kuberay-rayjob.yaml").read_text()
RAY = read_lock((INFRA / "requirements.lock").read_text())[0]["ray"][0]


def test_the_job_is_sound() -> None:
    assert rayjob_faults(TEXT, RAY) == []
