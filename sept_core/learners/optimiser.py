"""The optimiser's options, which every learner that trains has in addition to its own hyper-parameters.

The defaults are ours; the settings of published code are in ``search_spaces/presets.yaml`` and docs/presets.md. Method
version 2 behaved like these defaults, so its stored configurations do not name them.
"""

from __future__ import annotations

from collections.abc import Mapping

from sept_core.errors import InputError
from sept_core.hyper import HyperParameter, Value

__all__ = ["LAST_BATCH", "LR", "OPTIMISER", "SCHEDULE", "WARMUP_EPOCHS", "WEIGHT_DECAY", "check_warmup"]

LR = HyperParameter("lr", float, "learning rate of SGD", 0.002, low=1e-8, high=10.0, column=True)
SCHEDULE = HyperParameter(
    "schedule",
    str,
    "learning rate by epoch: a cosine from lr towards 0 (CoOp), or constant (PALM)",
    "cosine",
    choices=("cosine", "constant"),
    before="cosine",
)
WARMUP_EPOCHS = HyperParameter(
    "warmup_epochs", int, "first epochs, at a learning rate of 1e-5; CoOp has 1", 0, low=0, high=1000, before=0
)
WEIGHT_DECAY = HyperParameter(
    "weight_decay", float, "weight decay, as in torch.optim.SGD; CoOp has 5e-4", 0.0, low=0.0, high=1.0, before=0.0
)
LAST_BATCH = HyperParameter(
    "last_batch",
    str,
    "an epoch's last batch if it is not full: keep (PALM) or drop (CoOp), unless it is the only one",
    "keep",
    choices=("keep", "drop"),
    before="keep",
)

OPTIMISER = (LR, SCHEDULE, WARMUP_EPOCHS, WEIGHT_DECAY, LAST_BATCH)


def check_warmup(hyper: Mapping[str, Value], epochs: int, method: str) -> None:
    """Check that something is trained after the warm-up.

    Raises:
        InputError: All epochs are warm-up.
    """
    if int(WARMUP_EPOCHS.of(hyper)) >= epochs:
        raise InputError(
            f"all {epochs} epochs are warm-up, so nothing is trained at lr",
            where=f"{method}: warmup_epochs",
            fix="lower warmup_epochs, or train longer",
        )
