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


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("upscaling_speed: 100.0", "upscaling_speed: fast", "Ray refuses it"),
        ("max_workers: 8\n# Spot", "max_worker: 8\n# Spot", "Ray refuses it"),
        ("head_node_type: head", "head_node_type: main", "Ray refuses it"),
        ("    resources: {}\n", "    resource: {}\n", "Ray refuses it"),
        ("min_workers: 0", "min_workers: many", "Ray refuses it"),
        ("MarketType: spot", "MarketType: on-demand", "worker: the head is on demand, workers are on spot"),
        ("InstanceMarketOptions:", "MarketOptions:", "worker: EC2 refuses it"),
        ("VolumeSize: 100,", "VolumeSize: large,", "head: EC2 refuses it"),
        ("        Name: sept-worker", "        Nam: sept-worker", "worker: EC2 refuses it"),
        ("HttpTokens: required", "HttpTokens: optional", "credentials without a token"),
        ("Encrypted: true, ", "", "its disk is not encrypted"),
        ('{"CPU": 0}', '{"CPU": 2}', "the head runs trials"),
        ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "not started with --dashboard-host=127.0.0.1"),
        ("--address=$RAY_HEAD_IP:6379", "--address=auto", "workers do not join the head"),
        ("/home/ubuntu/sept-sweep: .", "/home/ubuntu/sept-sweep: ./sept", "mounts what is not there"),
    ],
)
def test_a_broken_file_is_found(before: str, after: str, fault: str) -> None:
    assert before in TEXT
    assert fault in "\n".join(aws_faults(TEXT.replace(before, after, 1), ROOT))


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
