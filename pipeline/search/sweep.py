"""Launching a sweep, which is also resuming it: the same call, the same command.

    outcome = launch(load_sweep("quickstart"), Path("sept-runs"), observers=[...])

Whatever is in the store already is taken from there; the rest is run. A sweep ends with the same trials and the same
decisions however often it was stopped, killed and launched again in between.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.cluster.liveness import watched
from pipeline.cluster.ray_cluster import prepare_import
from pipeline.data.stored_spec import stored_spec
from pipeline.search.driver import SweepDriver
from pipeline.search.inputs import Loader, load_inputs
from pipeline.search.messages import Assignment
from pipeline.search.observer import SweepObserver, SweepState
from pipeline.search.publisher import Publisher
from pipeline.search.sizing import trial_needs
from pipeline.spec import StudyInputs, SweepSpec, spec_differences
from pipeline.store.files import Files, open_files
from pipeline.store.lease import Lease
from pipeline.store.notices import Noticeboard
from pipeline.store.records import Proposal
from pipeline.store.trials import TrialStore
from sept_core.errors import InputError
from sept_core.trial import TrialInputs

__all__ = ["INTERRUPTED_EXIT_CODE", "SweepOutcome", "check_spec", "launch"]

logger = logging.getLogger(__name__)

INTERRUPTED_EXIT_CODE = 75
"""What a process should exit with when its sweep was interrupted: EX_TEMPFAIL, run the same command again."""


@dataclass(frozen=True)
class SweepOutcome:
    """How a launch ended.

    Attributes:
        state: ``finished``, or ``stopped`` by a signal or a request: launch again to go on.
        trials: Trials that have ended, all studies, earlier launches included; the three below add up to it.
        started: Trials that this launch had a worker begin, resumed ones included; the others cost nothing.
        seconds: Wall time of this launch.
        on_request: Whether somebody asked for the stop with ``sept sweep stop``.
        untracked: What MLflow has not taken, and why; empty where it has everything.
    """

    sweep: str
    state: SweepState
    trials: int
    finished: int
    pruned: int
    failed: int
    started: int
    seconds: float
    on_request: bool = False
    untracked: str = ""


def launch(
    spec: SweepSpec,
    root: Path | str,
    *,
    observers: Sequence[SweepObserver] = (),
    address: str = "local",
    provider: Loader = load_inputs,
    retry_failed: bool = False,
    leased: Callable[[Lease], AbstractContextManager[object]] = nullcontext,
) -> SweepOutcome:
    """Run a sweep to its end, or until SIGINT, SIGTERM or ``sept sweep stop``, from wherever earlier launches left it.

    The first signal stops gracefully, as a request to stop does: nothing new is started, trials in flight go on to
    their next checkpoint, the lease is released, and the outcome is ``stopped``. A second one ends the process at once.

    Args:
        spec: The sweep; under a name that the store has already, it may have larger budgets, narrower spaces, more
            datasets and methods, and other resources; see `spec_differences`.
        root: The results folder.
        observers: Tracking, progress display.
        address: Where Ray is: ``local`` starts a private one, ``auto`` or ``host:port`` use a running one. Ray is not
            started at all when nothing is left to run.
        provider: Loads what trials read, in this process and in the workers, which must be able to import it.
        retry_failed: Whether trials that failed for good are run once more. Their failure was an outcome that later
            proposals may have been computed from; these stay as they are.
        leased: What else needs the sweep's lease: entered once it is held, and left before it is given back.

    Raises:
        InputError: A spec that is not the sweep's, missing inputs, no cluster.
        LeaseHeld: Another process is running this sweep.
        RayLost: Ray is gone, or a private one does not start; the lease is released, and launching again goes on.
        LeaseLost: Another process has taken it over, for this one was not heard of for too long.
    """
    began = time.monotonic()
    where = str(Path(root).expanduser().resolve()) if "://" not in str(root) else str(root)
    files = open_files(where)
    store = TrialStore(files)

    wanted = {study.key: study.inputs for study in spec.studies()}
    needs: dict[str, tuple[float, float]] = {}

    def load(inputs: StudyInputs) -> TrialInputs:
        return provider(where, inputs)

    def assign(proposal: Proposal) -> dict[str, Any]:
        return asdict(Assignment.of(where, provider, wanted[proposal.study], proposal.config, *needs[proposal.study]))

    with (
        _Interrupts() as interrupts,
        Lease(files, spec.name, give_up=lambda: interrupts.asked) as lease,
        leased(lease),
        Publisher(Noticeboard(files, spec.name), lease.token, lease.check) as publisher,
    ):
        _settle_spec(store, spec, lease)
        if retry_failed:
            store.forget_failures(spec.name, lease.check)
        driver = SweepDriver(spec, store, [*observers, publisher], load, lease.check, publisher.heard)

        def stopping() -> bool:
            return interrupts.asked or publisher.stop_asked or lease.lost

        try:
            driver.replay()
            # Results that are there already may be all that was missing; then Ray need not start.
            first = driver.ask()
            if first is not None:
                driver.release(first)
                prepare_import(address)
                from pipeline.search.tune import gpu_count, run_proposals, sweep_cluster, worker_count

                methods = [study.method for study in spec.studies()]
                with (
                    _scratch(files, spec.name, lease) as scratch,
                    sweep_cluster(address, spec.resources, methods, interrupts.install),
                ):
                    lost = threading.Event()

                    def run() -> None:
                        needs.update(trial_needs(spec, gpu_count(spec.resources, address), load))
                        publisher.workers = workers = worker_count(needs, spec.resources, address)
                        run_proposals(driver, workers, needs, assign, stopping, scratch, lost.is_set)

                    watched(run, lost)
        except SystemExit:
            # Ray's own answer to SIGTERM while it starts.
            interrupts.asked = True
        finally:
            driver.close()
        lease.check()
    return SweepOutcome(
        sweep=spec.name,
        state="finished" if driver.finished else "stopped",
        trials=sum(driver.ended.values()),
        finished=driver.ended["finished"],
        pruned=driver.ended["pruned"],
        failed=driver.ended["failed"],
        started=driver.started,
        seconds=time.monotonic() - began,
        on_request=not driver.finished and publisher.stop_asked and not interrupts.asked,
    )


def check_spec(store: TrialStore, spec: SweepSpec) -> str | None:
    """See that a sweep's stored spec, if there is one, may become this one.

    Returns:
        The stored one's text.

    Raises:
        InputError: With the differences.
    """
    stored = store.read_spec(spec.name)
    if stored is None:
        return None
    differences = spec_differences(stored_spec(store, spec.name, stored), spec)
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise InputError(
            "this sweep was begun with another spec: " + "; ".join(differences[:3]) + more,
            where=f"sweep '{spec.name}'",
            fix="undo the change, or make another sweep of it with --fork NAME",
        )
    return stored


def _settle_spec(store: TrialStore, spec: SweepSpec, lease: Lease) -> None:
    """Keep the spec of a new sweep; refuse another one under the same name.

    Raises:
        InputError: With the differences.
    """
    stored = check_spec(store, spec)
    if stored != spec.text():
        lease.check()
        store.write_spec(spec.name, spec.text(), before=stored)


@contextmanager
def _scratch(files: Files, sweep: str, lease: Lease) -> Iterator[Path]:
    """A folder for Tune, this launch's own and gone at the end; a killed launch leaves its own behind till the next."""
    spec = files.local_path(f"sweeps/{sweep}/spec.yaml")
    if spec is None:
        folder = Path(tempfile.mkdtemp(prefix="sept-tune-"))
    else:
        lease.check()
        for left in spec.parent.glob(".tune*"):
            shutil.rmtree(left, ignore_errors=True)
        # Hidden, so that the store does not list it.
        folder = spec.with_name(f".tune-{lease.token}")
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Interrupts:
    """SIGINT and SIGTERM while a sweep runs: the first asks for a stop, the second ends the process at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take the signals; again after Ray's start, which takes SIGTERM for itself."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(number, self._handle)
                self._before.setdefault(number, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            # Nothing to clean up that the next launch would not: the lease of a dead process is free.
            os._exit(INTERRUPTED_EXIT_CODE)
        self.asked = True

    def __enter__(self) -> _Interrupts:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
