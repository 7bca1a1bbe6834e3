"""A cluster that has no room yet: a sweep waits until it has grown, as an autoscaler's does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from launching import launched, said, sept
from monkey import CLUSTER, Nodes
from tiny_sweep import SWEEP, outcome_of, run_inline

from pipeline.spec import load_sweep

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    nodes = Nodes(0, tmp_path / "nodes.txt")
    yield nodes
    nodes.close()


def test_what_it_is_said_to_grow_to_is_waited_for_and_anything_else_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    content = SWEEP | {"methods": ["zero-shot", "coop"], "trials": 2, "spaces": {"coop": SWEEP["spaces"]["coop"]}}
    content |= {"resources": {"workers": "auto"}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    launch = ("sweep", "launch", "tiny.yaml", "--root", "runs", "--address", nodes.address)
    with launched(tmp_path, "tiny_inputs:provide", *launch, variables=CLUSTER) as process:
        assert process.wait(60) == 2
    refused = said(tmp_path).splitlines()[-1]
    assert "it needs 1 CPUs and 0 GPUs, the cluster has 0 and 0" in refused
    assert refused.endswith("if the cluster autoscales, state its maximum size (--cpus N, --gpus N)")
    with launched(tmp_path, "tiny_inputs:provide", *launch, "--cpus", "1", variables=CLUSTER) as process:
        deadline = time.monotonic() + 60
        while "wait until the cluster has grown" not in said(tmp_path):
            assert time.monotonic() < deadline, said(tmp_path)
            time.sleep(0.2)
        nodes.add()
        assert process.wait(120) == 0, said(tmp_path)
    assert "finished" in sept(tmp_path, "sweep", "status", "tiny", "--root", "runs").stdout
    run_inline(load_sweep(tmp_path / "tiny.yaml"), tmp_path / "undisturbed")
    assert outcome_of(tmp_path / "runs") == outcome_of(tmp_path / "undisturbed")
