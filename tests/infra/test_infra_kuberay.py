"""infra/kuberay-rayjob.yaml: what KubeRay and Kubernetes document, workers on spot nodes, a retry that resumes."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_check import read_lock
from kuberay_check import rayjob_faults

INFRA = Path(__file__).parents[2] / "infra"
TEXT = (INFRA / "kuberay-rayjob.yaml").read_text()
RAY = read_lock((INFRA / "requirements.lock").read_text())[0]["ray"][0]


def test_the_job_is_sound() -> None:
    assert rayjob_faults(TEXT, RAY) == []


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("ray.io/v1", "ray.io/v1alpha1", "apiVersion: 'ray.io/v1' was expected"),
        ("backoffLimit: 6", "backoffLimits: 6", "'backoffLimits' was unexpected"),
        ("  backoffLimit: 6\n", "", "nothing resumes it"),
        ("submissionMode: K8sJobMode", "submissionMode: Job", "submissionMode: 'Job' is not one of"),
        ("rayVersion: 2.60.0", "rayVersion: 2.9.0", "rayVersion is 2.9.0, and the image has"),
        ("rayVersion: 2.60.0", "rayVersion: 2.6", "2.6 is not of type 'string'"),
        ('num-cpus: "0"', "num-cpus: 0", "0 is not of type 'string'"),
        ('num-cpus: "0"', 'num-cpus: "2"', "the head runs trials"),
        ("minReplicas: 0", "minReplicas: 1", "replicas lie outside of their bounds"),
        ("        replicas: 0", "        replicas: 2", "each retry starts workers, also of a sweep that is refused"),
        ("enableInTreeAutoscaling: true", "enableInTreeAutoscaling: false", "no workers would come"),
        ("groupName: spot", "name: spot", "'groupName' is a required property"),
        ("sept sweep launch", "sept sweep lunch", "entrypoint: no command lunch"),
        ("--mlflow http", "--ml-flow http", "entrypoint: No such option: --ml-flow"),
        ("--address auto", "--address local", "entrypoint: not on this cluster"),
        ("restartPolicy: Never", "restartPolice: Never", "unknown field restartPolice"),
        ("containerPort: 8265", 'containerPort: "8265"', "'8265' is no int"),
        ("readOnly: true", "readonly: true", "unknown field readonly"),
        ("- name: ray-head\n", "- title: ray-head\n", "head.spec.containers[0]: unknown field title"),
        ("memory: 8Gi}\n                limits", "memory: 8Gigs}\n                limits", "8Gigs"),
        ("limits: {memory: 8Gi}", "limits: {memory: 9Gi}", "requests differ from limits"),
        ("runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
        ("drop: [ALL]", "drop: []", "keeps capabilities"),
        ("name: OMP_NUM_THREADS", "name: AWS_SECRET_ACCESS_KEY", "the secret AWS_SECRET_ACCESS_KEY stands in the file"),
        ("- secretRef:", "- configMapRef:", "no credentials for the bucket"),
        ("- name: shm\n", "- name: memory\n", "no volume shm"),
        ("mountPath: /dev/shm", "mountPath: /shm", "Ray's object store has no shared memory"),
        ("operator: DoesNotExist}", 'operator: In, values: ["true"]}', "head: may be put on spot nodes"),
        ("operator: In, values: [spot]}", "operator: Exists}", "spot: not only on spot nodes"),
        (
            "- {key: cloud.google.com/gke-spot, operator: Equal",
            "- {key: other, operator: Equal",
            "spot nodes refuse it",
        ),
        ("kind: RayJob", "kind: [", "no YAML"),
    ],
)
def test_a_broken_job_is_found(before: str, after: str, fault: str) -> None:
    assert before in TEXT
    assert fault in "\n".join(rayjob_faults(TEXT.replace(before, after, 1), RAY))
