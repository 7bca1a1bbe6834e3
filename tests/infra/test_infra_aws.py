"""infra/ray-aws.yaml: what Ray's launcher and EC2 take, a head on demand and workers on spot. (No account is used.)"""

from __future__ import annotations

from pathlib import Path

import pytest
from aws_check import aws_faults, prepared
from moto import mock_aws

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "infra" / "ray-aws.yaml").read_text()


def test_the_launcher_takes_it() -> None:
    assert aws_faults(TEXT, ROOT) == []


def test_ray_makes_instances_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher's own steps against a simulated account: keys, network, and a node of each kind."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        import boto3
        from ray.autoscaler._private.aws.config import bootstrap_aws
        from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

        iam = boto3.client("iam")
        for profile in ("sept-head", "sept-worker"):
            iam.create_instance_profile(InstanceProfileName=profile)
        config = bootstrap_aws(prepared(TEXT))
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        for kind in ("head", "worker"):
            node = config["available_node_types"][kind]["node_config"]
            provider.create_node(node, {"ray-cluster-name": "sept", "ray-node-type": kind}, 1)
        reservations = boto3.client("ec2", region_name="us-east-1").describe_instances()["Reservations"]
    made = {
        tag["Value"]: (instance["InstanceType"], instance.get("InstanceLifecycle"))
        for reservation in reservations
        for instance in reservation["Instances"]
        for tag in instance["Tags"]
        if tag["Key"] == "ray-node-type"
    }
    assert made == {"head": ("m7i.large", None), "worker": ("g6.xlarge", "spot")}
