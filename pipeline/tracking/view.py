"""The view of a sweep in MLflow's pages: studies with their trials below them, and the important columns.

MLflow stores a shared view as a tag of the experiment and finds it by a key in the address; the value of the tag is the
state of the page. Checked against MLflow 3.17. A page of another version that does not understand it shows its default
view and a message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sept_core.methods import declared_hyper

__all__ = ["VIEW_TAGS", "view_path"]

_KEY = "sept"

# Metrics that a sweep does not have are not shown.
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
        # MLflow nests runs only in this order.
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnWidths": dict.fromkeys(columns, _WIDTH),
    }
    return json.dumps(state, sort_keys=True)


VIEW_TAGS: Mapping[str, str] = {
    f"mlflow.sharedViewState.{_KEY}": _state(),
    # Otherwise MLflow may show the pages of a chat application.
    "mlflow.experimentKind": "custom_model_development",
}
"""Tags of the experiment for this view."""


def view_path(experiment: str, tags: Mapping[str, str]) -> str:
    """The path of a sweep's page on MLflow's server.

    Args:
        experiment: Id of the experiment.
        tags: Its tags: without the tag of the view, MLflow's default view is opened.
    """
    page = f"#/experiments/{experiment}/runs?workflowType=machine_learning"
    return page + (f"&viewStateShareKey={_KEY}" if f"mlflow.sharedViewState.{_KEY}" in tags else "")
