"""A launch whose trials are recorded in MLflow, which never stops it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

from pipeline.search import sweep
from pipeline.search.observer import SweepObserver
from pipeline.search.sweep import SweepOutcome
from pipeline.spec import SweepSpec
from pipeline.store import Lease, TrialStore, check_writable, open_files
from pipeline.text import one_line
from pipeline.tracking.client import default_target, prepare
from pipeline.tracking.failures import failure
from pipeline.tracking.tracker import MlflowTracker
from sept_core.errors import InputError

__all__ = ["tracked_launch"]

logger = logging.getLogger(__name__)


def tracked_launch(
    spec: SweepSpec,
    root: str,
    *,
    address: str = "local",
    mlflow: str | None = None,
    retry_failed: bool = False,
    observers: Sequence[SweepObserver] = (),
    notify: Callable[[str], object] | None = None,
    waiting: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> SweepOutcome:
    """See ``pipeline.launch``."""
    check_writable(root)
    target = default_target(root, mlflow)
    try:
        with waiting("Preparing MLflow (some seconds the first time)"):
            prepare(target)
    except Exception as error:
        # The tracker tries again as long as the sweep runs.
        known = failure(target, error)
        what = str(known) if isinstance(known, InputError) else f"MLflow cannot be reached yet ({one_line(error)})"
        (notify or logger.warning)(f"{what}; the sweep runs without it meanwhile")
    tracker = MlflowTracker(target, TrialStore(open_files(root)))

    @contextmanager
    def tracking(lease: Lease) -> Iterator[None]:
        # MLflow allows one writer: the holder of the lease.
        tracker.hold(lease)
        try:
            yield
        finally:
            with waiting("Writing the last records to MLflow"):
                tracker.close()

    outcome = sweep.launch(
        spec,
        root,
        observers=[*observers, tracker],
        address=address,
        retry_failed=retry_failed,
        leased=tracking,
        notify=notify or logger.info,
    )
    summary = tracker.close()
    if summary.complete:
        return outcome
    return replace(outcome, untracked=f"{summary.pending + summary.refused} updates ({summary.error})")
