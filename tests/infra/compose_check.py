"""What is wrong with a compose file, as lines: the rules of the Compose specification that ours relies on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

__all__ = ["compose_faults"]

SERVICE = {
    *(
        "build",
        "command",
        "depends_on",
        "deploy",
        "entrypoint",
        "environment",
        "healthcheck",
        "image",
        "ports",
        "restart",
        "shm_size",
        "stop_grace_period",
    ),
    "volumes",
}
HEALTH = {"interval", "retries", "start_period", "test", "timeout"}
CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
TIMES = re.compile(r"\d+(ms|s|m|h)")
# host interface : host port : container port
PORT = re.compile(r"127\.0\.0\.1:\$\{SEPT_\w+:-(\d+)\}:(\d+)")
RESTARTS = ("no", "always", "on-failure", "unless-stopped")


def compose_faults(text: str, folder: Path) -> list[str]:
    """Of a compose file that lies in ``folder``."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"no YAML: {error}"]
    faults = [
        f"unknown key {key}" for key in document if key not in ("name", "services", "volumes") and key[:2] != "x-"
    ]
    faults += [f"${{{name}}} has no default" for name in re.findall(r"(?<!\$)\$\{(\w+)\}", text)]
    faults += [f"${name} has no default" for name in re.findall(r"(?<!\$)\$([A-Za-z_]\w*)", text)]
    services: dict[str, dict[str, Any]] = document["services"]
    ending = {
        name
        for service in services.values()
        for name, wait in service.get("depends_on", {}).items()
        if wait.get("condition") == "service_completed_successfully"
    }
    hosts: list[str] = []
    for name, service in services.items():
        said = _service(service, services, ending, name, folder, document.get("volumes") or {})
        faults += [f"{name}: {fault}" for fault in said]
        for port in map(str, service.get("ports", ())):
            found = PORT.fullmatch(port)
            if found is None:
                faults.append(f"{name}: port {port} is open beyond this machine, or fixed")
            else:
                hosts.append(found[1])
    return faults + [
        f"port {port} is given twice" for port in sorted({port for port in hosts if hosts.count(port) > 1})
    ]


def _service(
    service: dict[str, Any],
    services: dict[str, Any],
    ending: set[str],
    name: str,
    folder: Path,
    volumes: dict[str, Any],
) -> list[str]:
    faults = [f"unknown key {key}" for key in service if key not in SERVICE]
    if not re.search(r":[^:/]+$", service.get("image", "")) or service["image"].endswith(":latest"):
        faults.append("no image with a version")
    if service.get("restart") not in RESTARTS:
        faults.append(f"restart is one of {', '.join(RESTARTS)}, in quotes")
    if build := service.get("build"):
        context = (folder / build["context"]).resolve()
        if not (context / build["dockerfile"]).is_file():
            faults.append(f"no {build['dockerfile']} in {build['context']}")
    for other, wait in service.get("depends_on", {}).items():
        if other not in services:
            faults.append(f"depends on {other}, which is no service")
        elif wait.get("condition") not in CONDITIONS:
            faults.append(f"unknown condition {wait.get('condition')}")
        elif wait["condition"] == "service_healthy" and "healthcheck" not in services[other]:
            faults.append(f"waits until {other} is healthy, which has no health check")
    health = service.get("healthcheck")
    if health is None and name not in ending:
        faults.append("no health check")
    if health is not None:
        faults += _health(health)
    if name in ending and service.get("restart") != "no":
        faults.append("is waited for to end, and started again")
    for mount in service.get("volumes", ()):
        if mount.split(":")[0] not in volumes:
            faults.append(f"volume {mount} is not declared")
    for variable, value in service.get("environment", {}).items():
        if not isinstance(value, str):
            faults.append(f"{variable} is no text")
        if re.search(r"PASSWORD|SECRET|TOKEN|KEY", variable) and value.strip() and "${" not in value:
            faults.append(f"{variable} cannot be changed from outside")
    if any("PASSWORD" in word or "TOKEN" in word for word in map(str, service.get("command", ()))):
        faults.append("a secret stands in its command")
    if "ray" in (service.get("command") or ())[:1] and "shm_size" not in service:
        faults.append("Ray's object store has no shared memory")
    return faults


def _health(health: dict[str, Any]) -> list[str]:
    faults = [f"healthcheck: unknown key {key}" for key in health if key not in HEALTH]
    test = health.get("test")
    if not isinstance(test, list) or test[0] not in ("CMD", "CMD-SHELL") or len(test) < 2:
        faults.append("healthcheck: no test")
    for key in ("interval", "timeout", "start_period"):
        if key in health and not TIMES.fullmatch(str(health[key])):
            faults.append(f"healthcheck: {key} is no time")
    return faults
