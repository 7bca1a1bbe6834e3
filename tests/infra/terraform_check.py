"""What is wrong with Terraform files, as lines: syntax, names that are not declared, and what is open too far."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hcl2
import yaml
from lark.exceptions import LarkError

__all__ = ["terraform_faults"]

NAMED = re.compile(r"(?<![\w.])(data\.\w+|var|local|aws_\w+)\.(\w+)")
FILES = re.compile(r'file\("\$\{path\.module\}/([^"]+)"\)')
PUBLIC = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
# May only be had for everything: AWS knows no narrower resource for looking, nor for what does not exist yet.
EVERYWHERE = re.compile(r"\w+:Describe\*|ssm:GetParameters|iam:GetInstanceProfile|ec2:RunInstances|ec2:CreateTags")


def terraform_faults(files: Mapping[str, str], folder: Path) -> list[str]:
    """Of the files of one module, by name, that lie in ``folder``."""
    documents = []
    for name, text in files.items():
        try:
            documents.append(_plain(hcl2.loads(text)))
        except LarkError as error:
            return [f"{name}: no HCL: {str(error).splitlines()[0]}"]
    declared: set[str] = set()
    resources: dict[str, dict[str, Any]] = {}
    statements: list[dict[str, Any]] = []
    for document in documents:
        declared |= {f"var.{name}" for block in document.get("variable", ()) for name in block}
        declared |= {f"local.{name}" for block in document.get("locals", ()) for name in block}
        for block in document.get("resource", ()):
            resources |= {f"{kind}.{name}": body for kind, named in block.items() for name, body in named.items()}
        for block in document.get("data", ()):
            for kind, named in block.items():
                declared |= {f"data.{kind}.{name}" for name in named}
                statements += [line for body in named.values() for line in body.get("statement", ())]
    declared |= set(resources)
    said = [text for document in documents for text in _texts(document)]
    faults = [
        f"{kind}.{name} is not declared"
        for kind, name in sorted({found for text in said for found in NAMED.findall(text)})
        if f"{kind}.{name}" not in declared
    ]
    used = " ".join(said)
    faults += [f"{name} is not used" for name in sorted(declared) if name[:4] == "var." and name not in used]
    paths = [path for text in said for path in FILES.findall(text.replace('\\"', '"'))]
    faults += [f"no file {path}" for path in paths if not (folder / path).is_file()]
    if {Path(path).name for path in paths} != {"s3-policy.json", "s3-lifecycle.json"}:
        faults.append("the policy or the rules are not those beside it")
    return faults + _bucket_faults(resources) + _role_faults(resources, statements, folder)


def _bucket_faults(resources: dict[str, dict[str, Any]]) -> list[str]:
    faults = []
    kinds = {name.partition(".")[0]: body for name, body in resources.items()}
    wanted = ("public_access_block", "server_side_encryption_configuration", "lifecycle_configuration", "policy")
    faults += [f"no aws_s3_bucket_{kind}" for kind in wanted if f"aws_s3_bucket_{kind}" not in kinds]
    block = kinds.get("aws_s3_bucket_public_access_block", {})
    faults += [f"{name} is not on" for name in PUBLIC if block.get(name) is not True]
    if kinds["aws_s3_bucket"].get("force_destroy") is not False:
        faults.append("a bucket with results would be destroyed")
    return faults


def _role_faults(resources: dict[str, dict[str, Any]], statements: list[dict[str, Any]], folder: Path) -> list[str]:
    faults = []
    for statement in statements:
        if statement.get("effect") == "Deny" or "resources" not in statement:
            continue
        for action in statement["actions"]:
            if "*" in statement["resources"] and not EVERYWHERE.fullmatch(action):
                faults.append(f"{action} is allowed for everything")
            if action.endswith(":*"):
                faults.append(f"all of {action} is allowed")
    roles = resources.get("aws_iam_role.node", {})
    made = {f"sept-{kind}" for kind in re.findall(r'"(\w+)"', str(roles.get("for_each")))}
    types = yaml.safe_load((folder.parent / "ray-aws.yaml").read_text())["available_node_types"].values()
    named = {kind["node_config"]["IamInstanceProfile"]["Name"] for kind in types}
    if roles.get("name") != "sept-${each.key}" or made != named:
        faults.append(f"ray-aws.yaml names the profiles {', '.join(sorted(named))}")
    return faults


def _plain(value: Any) -> Any:
    """What was read, without the quotes and marks of the reader."""
    if isinstance(value, dict):
        return {key.strip('"'): _plain(inner) for key, inner in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
