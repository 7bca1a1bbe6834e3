"""infra/compose.yaml: every service healthy or ended before what needs it, nothing open beyond this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from compose_check import compose_faults
from moto import mock_aws

INFRA = Path(__file__).parents[2] / "infra"
TEXT = (INFRA / "compose.yaml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]


def test_the_services_are_sound() -> None:
    assert compose_faults(TEXT, INFRA) == []
    assert set(SERVICES) == {"postgres", "seaweedfs", "buckets", "mlflow", "ray-head", "ray-worker"}


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("127.0.0.1:${SEPT_RAY_PORT:-8265}:8265", "8265:8265", "ray-head: port 8265:8265 is open beyond this machine"),
        ("${SEPT_RAY_PORT:-8265}", "${SEPT_RAY_PORT:-5000}", "port 5000 is given twice"),
        ("${SEPT_WORKERS:-2}", "${SEPT_WORKERS}", "${SEPT_WORKERS} has no default"),
        ("      seaweedfs:\n        condition", "      weed:\n        condition", "depends on weed, which"),
        ("condition: service_healthy", "condition: healthy", "unknown condition healthy"),
        ("    healthcheck:", "    x-check:", "postgres: no health check"),
        ("interval: 5s", "interval: 5", "interval is no time"),
        ("    shm_size: 2gb\n", "", "ray-worker: Ray's object store has no shared memory"),
        ("restart: \"no\"", "restart: no", "buckets: restart is one of"),
        ("restart: \"no\"", "restart: always", "is waited for to end, and started again"),
        ("    healthcheck:", "    health_check:", "unknown key health_check"),
        ("image: postgres:17-bookworm", "image: postgres", "postgres: no image with a version"),
        ("dockerfile: infra/Dockerfile", "dockerfile: Dockerfile", "no Dockerfile in .."),
        ("POSTGRES_PASSWORD: ${SEPT_DB_PASSWORD:-change-me}", "POSTGRES_PASSWORD: mlflow", "cannot be changed"),
        ("volumes:\n  postgres:\n", "volumes:\n  database:\n", "is not declared"),
        ("services:\n", "services:\n  - a: [\n", "no YAML"),
    ],
)  # fmt: skip
def test_a_broken_file_is_found(before: str, after: str, fault: str) -> None:
    assert before in TEXT
    assert fault in "\n".join(compose_faults(TEXT.replace(before, after, 1), INFRA))


def test_the_commands_are_ones_that_the_image_knows() -> None:
    import click
    from mlflow.cli import cli as mlflow
    from ray.scripts.scripts import cli as ray

    known: dict[str, Any] = {"mlflow": mlflow, "ray": ray}
    for name in ("mlflow", "ray-head", "ray-worker"):
        program, command, *options = SERVICES[name]["command"]
        known[program].commands[command].make_context(command, options, resilient_parsing=False)
        with pytest.raises(click.UsageError):
            known[program].commands[command].make_context(command, [*options, "--no-such-option"])
    variables = {parameter.envvar for parameter in mlflow.commands["server"].params}
    assert {name for name in SERVICES["mlflow"]["environment"] if name.startswith("MLFLOW_")} <= variables


def test_the_buckets_are_made_once_and_those_that_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    program = SERVICES["buckets"]["command"][-1]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", SERVICES["buckets"]["environment"]["AWS_DEFAULT_REGION"])
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        for _ in range(2):
            exec(compile(program, "buckets", "exec"), {})
        made = {bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]}
    assert made == {"sept", "mlflow"}
    used = re.findall(r"--artifacts-destination=s3://(\w+)", TEXT) + re.findall(r"--root s3://(\w+)", TEXT)
    assert set(used) == made
