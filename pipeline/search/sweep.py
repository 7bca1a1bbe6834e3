"""Launches a sweep; the same call, or command, resumes it.

    outcome = launch(load_sweep("quickstart"), Path("sept-runs"), observers=[...])

Existing results in the store are used; the rest is run. A sweep ends with the same trials and decisions however often
it was stopped, killed and launched again.
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
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.cluster.liveness import watched
from pipeline.cluster.ray_cluster import import_ray
from pipeline.data.stored_spec import stored_spec
from pipeline.search.driver import SweepDriver
from pipeline.search.inputs import Loader, load_inputs
from pipeline.search.messages import Assignment
from pipeline.search.observer import SweepObserver, SweepState
from pipeline.search.publisher import Publisher
from pipeline.search.sizing import trial_needs
from pipeline.spec import StudyInputs, SweepSpec, spec_differences
from pipeline.store.launch_messages import Noticeboard
from pipeline.store.lease import Lease
from pipeline.store.open_store import Files, open_files
from pipeline.store.records import Proposal
from pipeline.store.trials import TrialStore
from sept_core.errors import InputError
from sept_core.trial import TrialInputs

__all__ = ["INTERRUPTED_EXIT_CODE", "SweepOutcome", "check_spec", "launch"]

logger = logging.getLogger(__name__)

INTERRUPTED_EXIT_CODE = 75
"""Exit code of a process whose sweep was interrupted: EX_TEMPFAIL, run the same command again."""


@dataclass(frozen=True)
class SweepOutcome:
    """How a launch ended.

    Attributes:
        state: ``finished``, or ``stopped`` by a signal or a request: launch again to continue.
        trials: Ended trials of all studies, including earlier launches; the sum of the next three.
        started: Trials that a worker of this launch started or resumed; the others cost nothing.
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
    notify: Callable[[str], object] = lambda line: None,
) -> SweepOutcome:
    """Run a sweep to its end, or until SIGINT, SIGTERM or ``sept sweep stop``, continuing earlier launches.

    The first signal stops gracefully, like a request to stop: nothing new is started, running trials continue to their
    next checkpoint, the lease is released, and the outcome is ``stopped``. A second signal ends the process at once.

    Args:
        spec: The sweep. If the store has a sweep of this name, it may have larger budgets, narrower spaces, more
            datasets and methods, and other resources; see `spec_differences`.
        root: The results folder.
        observers: Tracking, progress display.
        address: Where Ray is: ``local`` starts a private one, ``auto`` or ``host:port`` use a running one. Ray is not
            started if nothing is left to run.
        provider: Loads what trials read, in this process and in the workers, which must be able to import it.
        retry_failed: Whether failed trials are run once more. Later proposals may depend on their failure; these
            proposals stay the same.
        leased: A context manager that needs the sweep's lease: entered once the lease is held, and left before it is
            released.
        notify: Called with a line before Ray starts, which takes seconds.

    Raises:
        InputError: The spec does not match the stored one, inputs are missing, or there is no cluster.
        LeaseHeld: Another process is running this sweep.
        RayLost: Ray is gone, or a private one does not start; the lease is released, and launching again continues.
        LeaseLost: Another process has taken it over, since this one did not renew it in time.
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
        inputs, need = wanted[proposal.study], needs[proposal.study]
        return {"assignment": Assignment(where, provider, inputs, proposal.config, *need)}

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
            # If existing results complete the sweep, Ray need not start.
            first = driver.ask()
            if first is not None:
                driver.release(first)
                notify("Starting Ray" if address == "local" else "Connecting to Ray")
                import_ray(address)
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
            # Ray's reaction to SIGTERM while it starts.
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
    """Check that the stored spec of a sweep, if there is one, may be changed to this one.

    Returns:
        The text of the stored spec.

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
            "this sweep was started with another spec: " + "; ".join(differences[:3]) + more,
            where=f"sweep '{spec.name}'",
            fix="undo the change, or make another sweep of it with --fork NAME",
        )
    return stored


def _settle_spec(store: TrialStore, spec: SweepSpec, lease: Lease) -> None:
    """Store the spec of a new sweep; refuse a different sweep with the same name.

    Raises:
        InputError: With the differences.
    """
    stored = check_spec(store, spec)
    if stored != spec.text():
        lease.check()
        store.write_spec(spec.name, spec.text(), before=stored)


@contextmanager
def _scratch(files: Files, sweep: str, lease: Lease) -> Iterator[Path]:
    """A folder for Tune, deleted at the end of this launch; the folder of a killed launch is deleted by the next."""
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
        """Handle the signals; again after Ray's start, which handles SIGTERM itself."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(number, self._handle)
                self._before.setdefault(number, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            # The next launch cleans up: the lease of a dead process is free.
            os._exit(INTERRUPTED_EXIT_CODE)
        self.asked = True

    def __enter__(self) -> _Interrupts:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
