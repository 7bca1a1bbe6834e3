"""Thin adapters: Ray Tune asks, executes and reports; the driver makes all decisions.

Checked against Ray 2.60. Deliberately not used:

* Tune's restore, checkpoints and experiment state: starting and resuming a sweep are the same here, a replay of the
  trial store, and Tune's files are deleted after each launch.
* ``max_failures``: it never retries a worker that is lost while it is reset for its next trial. Here every loss ends
  Tune's trial, and the driver returns the trial again as a new one.
* ``Tuner``: its constructor pickles the searcher, and ours contains the driver. ``tune.run`` does not.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Stopper
from ray.tune.execution import class_cache
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from pipeline.cluster.faults import raised_there
from pipeline.cluster.ray_cluster import cluster, environment_variables
from pipeline.cluster.tune_patches import bearing_every_loss, settle_loss
from pipeline.search.driver import SweepDriver
from pipeline.search.messages import Message
from pipeline.search.sizing import fitting
from pipeline.search.worker import TrialWorker
from pipeline.spec import Resources
from pipeline.store.records import Proposal
from sept_core.errors import InputError

__all__ = ["gpu_count", "run_proposals", "sweep_cluster", "worker_count"]

logger = logging.getLogger(__name__)

# Seconds for running trials to reach their next checkpoint after a request to stop.
_GRACE_S = 20.0
_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a table at any verbosity
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


@contextmanager
def sweep_cluster(
    address: str, resources: Resources, methods: Sequence[str], started: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """The Ray of a sweep; see `pipeline.cluster.ray_cluster.cluster`.

    Args:
        address: Address of Ray.
        resources: Determine the number of workers of a private one.
        methods: The methods that they run.
        started: Called once Ray has started.

    Raises:
        InputError: The driver cannot use the address, or there is no Ray.
    """
    cpus = None
    if resources.workers != "auto":
        cpus = max(1, math.ceil(resources.workers * max(resources.of(method)[0] for method in methods)))
    with (
        environment_variables(_QUIET),
        # Trials exchange a few kilobytes: about the smallest object store that Ray takes does.
        cluster(address, cpus=cpus, object_store_bytes=100_000_000, started=started),
    ):
        yield


def gpu_count(resources: Resources, address: str) -> int:
    """GPUs of the cluster, or the maximum of an autoscaling one."""
    return int(_capacity(resources, address)[1])


def worker_count(needs: Mapping[str, tuple[float, float]], resources: Resources, address: str) -> int:
    """Number of parallel trials: as specified, or as many of the smallest as fit into the cluster.

    Ray makes larger ones wait for resources. Ray does not report what an autoscaler could start: the spec may state the
    maximum size of a running cluster.

    Args:
        needs: By study: CPUs and share of a GPU that a trial occupies.
        resources: Resources in the spec.
        address: Address of the cluster.

    Raises:
        InputError: Not even one trial of some study fits.
    """
    have, grown = _now(), _capacity(resources, address)
    rooms = {}
    for study, need in needs.items():
        # The number of CPUs that come with future GPUs is unknown.
        unknown = need[1] > 0 and grown[1] > have[1] and resources.cpus == "auto"
        rooms[study] = fitting(need, math.inf if unknown else grown[0], grown[1])
        if rooms[study] < 1:
            fix = "lower cpus_per_trial or gpus_per_trial"
            if address != "local":
                fix += "; if the cluster autoscales, state its maximum size (--cpus N, --gpus N)"
            raise InputError(
                f"no trial of {study} fits: it needs {need[0]:g} CPUs and {need[1]:g} GPUs, the cluster has "
                f"{grown[0]:g} and {grown[1]:g}",
                where="resources",
                fix=fix,
            )
    waiting = [study for study, need in needs.items() if fitting(need, *have) < 1]
    if waiting:
        more = f" and of {len(waiting) - 1} more studies" if len(waiting) > 1 else ""
        logger.warning(
            "trials of %s%s wait until the cluster has grown: it now has %g CPUs and %g GPUs", waiting[0], more, *have
        )
    return int(min(max(rooms.values()), math.inf if resources.workers == "auto" else resources.workers))


def _now() -> tuple[float, float]:
    """CPUs and GPUs that the cluster has."""
    have = ray.cluster_resources()
    return float(have.get("CPU", 0.0)), float(have.get("GPU", 0.0))


def _capacity(resources: Resources, address: str) -> tuple[float, float]:
    """CPUs and GPUs that the cluster has, or its maximum."""
    cpus, gpus = _now()
    if address == "local":
        return cpus, gpus
    return (
        cpus if resources.cpus == "auto" else max(cpus, resources.cpus),
        gpus if resources.gpus == "auto" else max(gpus, resources.gpus),
    )


def run_proposals(
    driver: SweepDriver,
    workers: int,
    needs: Mapping[str, tuple[float, float]],
    assign: Callable[[Proposal], dict[str, Any]],
    stopping: Callable[[], bool],
    scratch: Path,
    lost: Callable[[], bool] = lambda: False,
) -> None:
    """Run the trials of the driver until none is left, or until a stop is requested.

    Args:
        driver: Makes all decisions.
        workers: Number of parallel trials.
        needs: By study: CPUs and share of a GPU that a trial occupies.
        assign: Makes the configuration of `TrialWorker` for a trial: its ``assignment``.
        stopping: Whether a stop was requested; running trials then continue to their next checkpoint.
        scratch: Folder for the files that Tune must write.
        lost: Whether Ray is gone: then nothing more from Tune reaches the driver.

    Raises:
        SeptError: A worker found something unusable, or the store or an observer raised an error.
    """
    link = _Link(driver, needs, assign, stopping, lost)
    # At the end it reports a lost worker as an error, although another worker has run the trial.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with bearing_every_loss(), _keys_kept():
        tune.run(
            TrialWorker,
            name="tune",
            config={},
            search_alg=_ProposalSearcher(link),
            scheduler=_DriverScheduler(link),
            stop=_DriverStopper(link),
            num_samples=-1,
            max_concurrent_trials=workers,
            reuse_actors=True,
            storage_path=str(scratch),
            trial_name_creator=lambda trial: str(trial.trial_id),
            trial_dirname_creator=lambda trial: str(trial.trial_id),
            raise_on_failed_trial=False,
            verbose=0,
        )
    if link.error is not None:
        raise link.error


@contextmanager
def _keys_kept() -> Iterator[None]:
    """In the block, Tune does not pass AWS keys of this process to its workers.

    It would put them into their runtime environment, which Ray writes to its logs and shows on its dashboard. Workers
    find keys like other processes of their node; those of a private Ray inherit the environment of this process.
    """
    before = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in before if not name.startswith("AWS_")}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE = before


class _Link:
    """State shared by searcher, scheduler and stopper: which Tune trial is which of ours.

    An exception of the driver must not be raised into Tune, which would wrap or swallow it: it is stored, everything is
    stopped, and `run_proposals` raises it.
    """

    def __init__(
        self,
        driver: SweepDriver,
        needs: Mapping[str, tuple[float, float]],
        assign: Callable[[Proposal], dict[str, Any]],
        stopping: Callable[[], bool],
        lost: Callable[[], bool],
    ) -> None:
        self.error: BaseException | None = None
        self._driver = driver
        self._needs = needs
        self._idle: Counter[tuple[float, float]] = Counter()  # workers that have ended their trial, by resources
        self._assign = assign
        self._stopping = stopping
        self._lost = lost
        self._proposals: dict[str, Proposal] = {}
        self._why: dict[str, str] = {}
        self._deadline = math.inf

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        # After FINISHED Tune never asks again: return it only if no lost worker can return a trial.
        if self._halted():
            return str(Searcher.FINISHED)
        try:
            # A worker that is replaced by one of another size loses its loaded encoder and data.
            proposal = self._driver.ask({study for study, need in self._needs.items() if self._idle[need] > 0})
            if proposal is None:
                return str(Searcher.FINISHED) if self._driver.finished else None
            self._proposals[trial_id] = proposal
            need = self._needs[proposal.study]
            self._idle[need] = max(0, self._idle[need] - 1)
            return self._assign(proposal)
        except Exception as error:
            return self._fail(error)

    def result(self, trial_id: str, result: dict[str, Any]) -> str:
        if self._lost():
            return str(TrialScheduler.STOP)
        try:
            message, proposal = Message.from_tune(result), self._proposals[trial_id]
            tell = self._driver.begun if message.phase == "begun" else self._driver.reported
            if tell(proposal, message.curve) and not self._halted():
                return str(TrialScheduler.CONTINUE)
        except Exception as error:
            self._fail(error)
        return str(TrialScheduler.STOP)

    def gone(self, trial_id: str, why: str) -> None:
        """A trial's worker is gone; `complete` comes next."""
        self._why[trial_id] = why

    def complete(self, trial_id: str, result: dict[str, Any] | None, lost: bool) -> None:
        proposal = self._proposals.pop(trial_id, None)
        if proposal is None or self._lost():
            return
        try:
            if lost or not result:
                self._driver.lost(proposal, self._why.pop(trial_id, "its worker is gone"))
                return
            self._idle[self._needs[proposal.study]] += 1
            message = Message.from_tune(result)
            if message.phase == "ended":
                self._driver.concluded(proposal)
            elif message.phase == "unusable":
                raise raised_there(message.fault, message.error)
        except Exception as error:
            self._fail(error)

    def stop_all(self) -> bool:
        if not self._halted():
            return False
        if self._deadline == math.inf:
            self._deadline = time.monotonic() + _GRACE_S
        return self.error is not None or self._lost() or not self._proposals or time.monotonic() > self._deadline

    def _halted(self) -> bool:
        return self.error is not None or self._lost() or self._stopping()

    def _fail(self, error: Exception) -> str:
        self.error = self.error or error
        return str(Searcher.FINISHED)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles everything into its experiment state, which nobody reads.
        return {}


class _ProposalSearcher(Searcher):
    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link

    def suggest(self, trial_id: str) -> Any:
        return self._link.suggest(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._link.complete(trial_id, result, error)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the store is the state."""


class _DriverScheduler(FIFOScheduler):
    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self._link.result(trial.trial_id, result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._link.gone(trial.trial_id, settle_loss(trial))
        super().on_trial_error(tune_controller, trial)


class _DriverStopper(Stopper):
    def __init__(self, link: _Link) -> None:
        self._link = link

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._link.stop_all()
