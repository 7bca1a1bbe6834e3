"""Writes the store that `test_search_frozen.py` reads: a sweep of the tiny inputs, stopped with a trial half done.

python freeze_store.py FOLDER

Run it only to freeze a *new* version beside the old ones, after METHOD_VERSION or a format was changed on purpose.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from tiny_inputs import provide
from tiny_sweep import make_spec

from pipeline.search.driver import SweepDriver
from pipeline.search.messages import Assignment
from pipeline.search.worker import TrialProcess
from pipeline.store import LocalFiles, TrialStore

STOP_AT = 8
"""So many trials end at least before the sweep is stopped; one more is at epoch 2 of 4."""


def freeze(root: Path) -> None:
    spec, store = make_spec(parallel=1), TrialStore(LocalFiles(root))
    store.write_spec(spec.name, spec.text())
    driver = SweepDriver(spec, store, [], partial(provide, str(root)))
    driver.replay()
    inputs = {study.key: study.inputs for study in spec.studies()}
    ended = 0
    while (proposal := driver.ask()) is not None:
        trial = TrialProcess(Assignment(str(root), provide, inputs[proposal.study], proposal.config))
        go_on = driver.begun(proposal, trial.step().curve)
        while go_on:
            message = trial.step()
            if message.phase == "ended":
                driver.concluded(proposal)
                break
            go_on = driver.reported(proposal, message.curve)
            if ended >= STOP_AT and message.curve[-1].epoch == 2 and go_on:
                return
        ended += 1


if __name__ == "__main__":
    freeze(Path(sys.argv[1]))
