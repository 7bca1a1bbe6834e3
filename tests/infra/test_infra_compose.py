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
