"""What is wrong with a RayJob, as lines.

Pod templates are checked against the models of Kubernetes' own Python client, field by field; the fields of RayJob and
RayCluster against what KubeRay 1.4's API reference documents (docs/reference/api.md, ray.io/v1), of which those that we
use or might use are written down here.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from command_check import parameters
from jsonschema import Draft202012Validator
from kubernetes import client as kubernetes
from kubernetes.utils import parse_quantity

__all__ = ["rayjob_faults"]

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
FLAG = {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def _only(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


HEAD = _only(
    ["rayStartParams", "template"],
    rayStartParams=TEXTS,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    enableIngress=FLAG,
    headService={"type": "object"},
    template={"type": "object"},
)
WORKERS = _only(
    ["groupName", "rayStartParams", "template"],
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    idleTimeoutSeconds=COUNT,
    rayStartParams=TEXTS,
    template={"type": "object"},
)
AUTOSCALER = _only(
    [],
    idleTimeoutSeconds=COUNT,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    version={"enum": ["v1", "v2"]},
    image=TEXT,
    imagePullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
    resources={"type": "object"},
)
CLUSTER = _only(
    ["headGroupSpec", "workerGroupSpecs", "rayVersion"],
    rayVersion=TEXT,
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=TEXTS,
    suspend=FLAG,
    managedBy=TEXT,
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": WORKERS, "minItems": 1},
)
JOB = _only(
    ["entrypoint", "rayClusterSpec"],
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
    entrypoint=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    metadata=TEXTS,
    backoffLimit=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    suspend=FLAG,
    managedBy=TEXT,
    submitterConfig=_only([], backoffLimit=COUNT),
    submitterPodTemplate={"type": "object"},
    rayClusterSpec=CLUSTER,
)
RAYJOB = _only(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=_only(
        ["name"], name={"type": "string", "pattern": "^[a-z][a-z0-9-]{0,46}$"}, labels=TEXTS, namespace=TEXT
    ),
    spec=JOB,
)
PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float)}


def model_faults(value: Any, kind: str, where: str) -> list[str]:
    """Of a value that is to be of a type of the client's, such as ``V1PodSpec`` or ``list[V1Container]``."""
    if kind in PLAIN:
        wrong = not isinstance(value, PLAIN[kind]) or (kind == "int" and isinstance(value, bool))
        return [f"{where}: {value!r} is no {kind}"] if wrong else []
    if found := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{where}: no list"]
        return [line for at, item in enumerate(value) for line in model_faults(item, found[1], f"{where}[{at}]")]
    if found := re.fullmatch(r"[Dd]ict[(\[]str, (.+)[)\]]", kind):
        if not isinstance(value, dict):
            return [f"{where}: no mapping"]
        return [line for key, item in value.items() for line in model_faults(item, found[1], f"{where}.{key}")]
    model = getattr(kubernetes, kind, None)
    if model is None:
        return []  # object, datetime: anything goes
    if not isinstance(value, dict):
        return [f"{where}: no mapping"]
    names = {key: name for name, key in model.attribute_map.items()}
    faults = [f"{where}: unknown field {key}" for key in value if key not in names]
    known = {names[key]: item for key, item in value.items() if key in names}
    for name, item in known.items():
        faults += model_faults(item, model.openapi_types[name], f"{where}.{model.attribute_map[name]}")
    try:
        model(**known)
    except ValueError as error:
        faults.append(f"{where}: {error}")
    return faults


def rayjob_faults(text: str, ray_version: str) -> list[str]:
    """Of a RayJob whose image has this version of Ray."""
    try:
        job = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"no YAML: {error}"]
    faults = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message[:150]}"
        for error in Draft202012Validator(RAYJOB).iter_errors(job)
    ]
    if faults:
        return faults
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    if cluster["rayVersion"] != ray_version:
        faults.append(f"rayVersion is {cluster['rayVersion']}, and the image has {ray_version}")
    if not spec.get("backoffLimit"):
        faults.append("backoffLimit: a lost head would end it, for nothing resumes it")
    if spec.get("backoffLimit") and not cluster.get("enableInTreeAutoscaling"):
        faults.append("enableInTreeAutoscaling: no workers would come")
    if not spec.get("shutdownAfterJobFinishes"):
        faults.append("shutdownAfterJobFinishes: its machines would stay")
    faults += _command_faults(spec["entrypoint"])
    head = cluster["headGroupSpec"]
    if head["rayStartParams"].get("num-cpus") != "0":
        faults.append("the head runs trials")
    faults += _pod_faults(head["template"], "head", spot=False)
    for group in cluster["workerGroupSpecs"]:
        faults += _pod_faults(group["template"], group["groupName"], spot=True)
        if not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            faults.append(f"{group['groupName']}: replicas lie outside of their bounds")
        if group["replicas"] and spec.get("backoffLimit"):
            faults.append(f"{group['groupName']}: each retry starts workers, also of a sweep that is refused")
    return faults


def _command_faults(entrypoint: str) -> list[str]:
    """Of a command line of ours."""
    try:
        given = parameters(entrypoint)
    except ValueError as error:
        return [f"entrypoint: {error}"]
    if given.get("address") != "auto" or not str(given.get("root")).startswith("s3://"):
        return ["entrypoint: not on this cluster, or without a bucket for its results"]
    return []


def _pod_faults(template: dict[str, Any], where: str, *, spot: bool) -> list[str]:
    faults = model_faults(template, "V1PodTemplateSpec", where)
    if faults:
        return faults
    pod = template["spec"]
    [container] = pod["containers"]
    security, own = pod.get("securityContext", {}), container.get("securityContext", {})
    if not (security.get("runAsNonRoot") and own.get("allowPrivilegeEscalation") is False):
        faults.append(f"{where}: may run as root")
    if own.get("capabilities", {}).get("drop") != ["ALL"]:
        faults.append(f"{where}: keeps capabilities")
    for variable in container.get("env", ()):
        if re.search(r"SECRET|TOKEN|PASSWORD|KEY", variable["name"]) and "value" in variable:
            faults.append(f"{where}: the secret {variable['name']} stands in the file")
    if not any("secretRef" in source for source in container.get("envFrom", ())):
        faults.append(f"{where}: no credentials for the bucket")
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    mounts = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", ())}
    faults += [f"{where}: no volume {name}" for name in mounts if name not in volumes]
    if "/dev/shm" not in mounts.values():
        faults.append(f"{where}: Ray's object store has no shared memory")
    resources = container.get("resources", {})
    for amount in (*resources.get("requests", {}).values(), *resources.get("limits", {}).values()):
        try:
            parse_quantity(amount)
        except ValueError as error:
            faults.append(f"{where}: {error}")
    if resources.get("requests", {}).get("memory") != resources.get("limits", {}).get("memory"):
        faults.append(f"{where}: Ray counts on memory that may be taken away (requests differ from limits)")
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    wanted = {rule["operator"] for term in terms for rule in term["matchExpressions"]}
    if not (wanted == {"In"} if spot else wanted <= {"DoesNotExist", "NotIn"} and len(terms) == 1):
        faults.append(f"{where}: {'not only on spot nodes' if spot else 'may be put on spot nodes'}")
    if spot and not any("spot" in rule.get("key", "") for rule in pod.get("tolerations", ())):
        faults.append(f"{where}: spot nodes refuse it")
    return faults
