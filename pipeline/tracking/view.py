"""The view in which MLflow's pages show a sweep: studies with their trials below them, the columns that matter.

MLflow keeps a view that somebody shares as a tag of the experiment and finds it by a key in the address; the tag's
value is the page's own state. Checked against MLflow 3.17. A page of another version that does not understand it says
so and shows its default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sept_core.methods import declared_hyper

__all__ = ["VIEW_TAGS", "view_path"]

_KEY = "sept"

# Those that a sweep does not have are not shown.
_METRICS = (
    *("best/test_all", "best/test_base", "best/test_h", "best/test_new", "best/val_h"),
    *("best/test_source", "best/test_targets", "best/val_source"),
    *("test/all", "test/base", "test/h", "test/new", "val/h"),
    *("test/source", "test/targets", "val/source"),
)
_WIDTH = 100


def _state() -> str:
    params = [name for name, parameter in declared_hyper().items() if parameter.column]
    columns = [f"metrics.`{name}`" for name in _METRICS] + [f"params.`{name}`" for name in params]
    state = {
        # Runs are nested only in this order.
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnWidths": dict.fromkeys(columns, _WIDTH),
    }
    return json.dumps(state, sort_keys=True)


VIEW_TAGS: Mapping[str, str] = {
    f"mlflow.sharedViewState.{_KEY}": _state(),
    # Not a chat application, whose pages MLflow shows otherwise.
    "mlflow.experimentKind": "custom_model_development",
}
"""Tags of the experiment that the view needs."""


def view_path(experiment: str, tags: Mapping[str, str]) -> str:
    """What stands behind a server's address to open a sweep.

    Args:
        experiment: Its id.
        tags: What it is tagged with: without the view's tag, MLflow's default is opened.
    """
    page = f"#/experiments/{experiment}/runs?workflowType=machine_learning"
    return page + (f"&viewStateShareKey={_KEY}" if f"mlflow.sharedViewState.{_KEY}" in tags else "")
