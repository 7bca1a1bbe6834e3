"""infra/terraform: sound by itself, and by Terraform where there is one (and its provider, where that can be had)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from terraform_check import terraform_faults

INFRA = Path(__file__).parents[2] / "infra"
MODULE = INFRA / "terraform"
FILES = {path.name: path.read_text() for path in sorted(MODULE.glob("*.tf"))}


@pytest.fixture
def terraform(tmp_path: Path) -> Any:
    """Runs Terraform in a folder of its own, beside the JSON files that the module reads."""
    found = shutil.which("terraform")
    if found is None:
        pytest.skip("no terraform here")
    folder = tmp_path / "infra" / "terraform"
    folder.mkdir(parents=True)
    for path in INFRA.glob("s3-*.json"):
        shutil.copy(path, tmp_path / "infra")
    (tmp_path / "rc").touch()
    quiet = {"TF_CLI_CONFIG_FILE": str(tmp_path / "rc"), "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}

    def run(files: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        for name, text in files.items():
            (folder / name).write_text(text)
        return subprocess.run(
            [found, *arguments, "-no-color"], cwd=folder, env=os.environ | quiet, capture_output=True, text=True
        )

    return run


def test_the_module_is_sound() -> None:
    assert terraform_faults(FILES, MODULE) == []


def test_terraform_reads_policy_and_rules_for_the_bucket_and_the_prefix_that_it_is_given(terraform: Any) -> None:
    """With Terraform's own language, without a provider: only the module's variables and locals."""
    [values] = re.findall(r"^locals \{.*?^\}\n", FILES["main.tf"], re.DOTALL | re.MULTILINE)
    given = ("-var", "bucket=my-results", "-var", "prefix=team/sept")
    output = 'output "all" {\n  value = { policy = local.policy, rules = local.lifecycle.Rules }\n}\n'
    # A variable of the whole module that these two files do not use is none the less one of them.
    files = {"variables.tf": FILES["variables.tf"], "main.tf": values + output}
    ran = terraform(files, "apply", "-auto-approve", "-input=false", *given)
    assert ran.returncode == 0, ran.stderr
    got = json.loads(terraform({}, "output", "-json", "all").stdout)
    assert got["policy"]["Statement"][0]["Resource"] == "arn:aws:s3:::my-results"
    assert got["policy"]["Statement"][1]["Resource"] == "arn:aws:s3:::my-results/team/sept/*"
    assert {rule["Filter"]["Prefix"] for rule in got["rules"]} == {"team/sept/", "team/sept/quarantine/"}
    assert "PREFIX" not in json.dumps(got)
    refused = terraform(files, "apply", "-auto-approve", "-input=false", "-var", "bucket=My_Results")
    assert refused.returncode != 0
    assert "3 to 63 lower-case letters" in refused.stderr


def test_the_files_are_formatted_as_terraform_does(terraform: Any) -> None:
    checked = terraform(FILES, "fmt", "-check", "-diff")
    assert checked.returncode == 0, checked.stdout
    assert terraform({"outputs.tf": FILES["outputs.tf"] + "x = {\n"}, "fmt", "-check").returncode != 0


def test_terraform_validates_the_module_with_its_provider(terraform: Any) -> None:
    ready = terraform(FILES, "init", "-backend=false", "-input=false")
    if ready.returncode:
        pytest.skip("Terraform's provider for AWS cannot be fetched here")
    checked = terraform({}, "validate")
    assert checked.returncode == 0, checked.stdout + checked.stderr
