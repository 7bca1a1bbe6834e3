"""Launches the tiny sweep as the command line does, in a process of its own that may be killed.

python tiny_launch.py ROOT
"""

from __future__ import annotations

import sys
from pathlib import Path

import tiny_inputs
from tiny_sweep import make_spec

from pipeline.search.sweep import INTERRUPTED_EXIT_CODE, launch
from pipeline.store import Decision, Proposal
from sept_core.results import Report, TrialResult


class Listener:
    """Notes on which addresses the private Ray of this process can be reached."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def sweep_started(self, sweep: str, studies: object) -> None: ...

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None:
        import ray

        self.path.write_text(" ".join(node["NodeManagerAddress"] for node in ray.nodes()))

    def reported(self, proposal: Proposal, report: Report) -> None: ...

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None: ...

    def sweep_ended(self, state: str) -> None: ...


if __name__ == "__main__":
    root = Path(sys.argv[1])
    outcome = launch(make_spec(), root, observers=[Listener(root / "addresses")], provider=tiny_inputs.provide_slowly)
    sys.exit(0 if outcome.state == "finished" else INTERRUPTED_EXIT_CODE)
