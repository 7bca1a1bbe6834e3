"""What is wrong with a file of Ray's cluster launcher for AWS, as lines: Ray's own validation, EC2's own parameters."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import botocore.session
import yaml
from botocore.validate import ParamValidator
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

__all__ = ["aws_faults", "prepared"]


def prepared(text: str) -> dict[str, Any]:
    """The configuration as `ray up` completes it."""
    return prepare_config(copy.deepcopy(yaml.safe_load(text)))


def aws_faults(text: str, root: Path) -> list[str]:
    """Of a file that is used from ``root``."""
    try:
        config = prepared(text)
        validate_config(config)
    except (ValidationError, ValueError, KeyError, RuntimeError, yaml.YAMLError) as error:
        return [f"Ray refuses it: {' '.join(str(error).split())[:200]}"]
    head, types = config["head_node_type"], config["available_node_types"]
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    faults = []
    for name, kind in types.items():
        node = kind["node_config"]
        report = ParamValidator().validate({**node, "MinCount": 1, "MaxCount": 1}, shape)
        if report.has_errors():
            faults.append(f"{name}: EC2 refuses it: {report.generate_report()}")
        spot = node.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        if spot is (name == head):
            faults.append(f"{name}: the head is on demand, workers are on spot")
        if not node.get("IamInstanceProfile", {}).get("Name"):
            faults.append(f"{name}: no instance profile")
        if node.get("MetadataOptions", {}).get("HttpTokens") != "required":
            faults.append(f"{name}: its metadata service gives credentials without a token")
        if not all(device["Ebs"].get("Encrypted") for device in node.get("BlockDeviceMappings", ())):
            faults.append(f"{name}: its disk is not encrypted")
        if name != head and kind["min_workers"] >= kind["max_workers"]:
            faults.append(f"{name}: nothing to scale")
    if types[head]["resources"].get("CPU") != 0 or types[head]["max_workers"] != 0:
        faults.append("the head runs trials, or is started again as a worker")
    starts = " ".join(config["head_start_ray_commands"])
    for wanted in ("--num-cpus=0", "--autoscaling-config=~/ray_bootstrap_config.yaml", "--dashboard-host=127.0.0.1"):
        if wanted not in starts:
            faults.append(f"the head is not started with {wanted}")
    if "--address=$RAY_HEAD_IP:6379" not in " ".join(config["worker_start_ray_commands"]):
        faults.append("workers do not join the head")
    faults += [
        f"mounts what is not there: {local}"
        for local in config["file_mounts"].values()
        if not (root / local / "infra" / "requirements.lock").is_file()
    ]
    if "sept-sweep" not in " ".join(config["setup_commands"]):
        faults.append("sept is not installed")
    return faults
