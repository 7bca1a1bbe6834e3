"""The saved views of a sweep in MLflow's pages: which rows, columns and charts are shown, and in which order.

MLflow stores a saved view as a tag of the experiment (its own "Save view" does so) and finds it by a key in the
address. The value of the tag is the state of the page. What is not part of that state, such as whether the table or the
charts are shown, is in the address. Checked against MLflow 3.17. A page of another version that does not understand it
shows its default view and a message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sept_core.methods import declared_hyper

__all__ = ["CHARTS", "STUDIES", "TABLE", "view_path", "view_tags"]

TABLE, STUDIES, CHARTS = "sept", "sept-studies", "sept-charts"
"""Keys of the views."""

_VIEW = "mlflow.sharedViewState."
_STATE = "tags.`sept.state`"
_TRIALS = "tags.`sept.role` = 'trial'"

# What the search may see comes first. Metrics that a sweep does not have are not shown.
_METRICS = ("val/h", "val/accuracy", "val/source", "val/base", "val/new")
_TESTS = ("test/h", "test/base", "test/new", "test/all", "test/accuracy", "test/source", "test/targets")
_WIDTHS = {"attributes.`Run Name`": 250, "runDateAndNestInfo": 130, _STATE: 145}
_WIDTH = 82


def view_tags(objective: str) -> dict[str, str]:
    """Tags of the experiment for its views.

    Args:
        objective: The metric that the search maximizes: ``val/h``, ``val/accuracy`` or ``val/source``.
    """
    by_objective = {"orderByKey": f"metrics.`{objective}`", "orderByAsc": False}
    # MLflow shows trials below their studies in this order only.
    by_time = {"orderByKey": "attributes.start_time", "orderByAsc": True}
    charts = _charts(objective)
    views = {
        TABLE: ("Best first", by_objective | charts),
        STUDIES: ("Studies, and their trials below them", by_time | charts),
        CHARTS: ("Trials, for charts", by_objective | charts | {"searchFilter": _TRIALS}),
    }
    tags = {}
    for place, (key, (name, state)) in enumerate(views.items()):
        # MLflow lists the newest first.
        created = len(views) - place
        told = {"name": name, "createdAt": created, "updatedAt": created, "state": json.dumps(_columns() | state)}
        tags[_VIEW + key] = json.dumps(told, sort_keys=True)
    # Otherwise MLflow may show the pages of a chat application.
    return tags | {"mlflow.experimentKind": "custom_model_development"}


def _columns() -> dict[str, Any]:
    params = [f"params.`{name}`" for name in _searched()]
    metrics = [f"metrics.`{name}`" for name in (*_METRICS, *_TESTS)]
    columns = [_STATE, *metrics[: len(_METRICS)], *params, *metrics[len(_METRICS) :]]
    # MLflow applies the width of a column only if the order names it.
    order = list(dict.fromkeys([*_WIDTHS, *columns]))
    return {
        "selectedColumns": columns,
        "columnOrder": order,
        "columnWidths": {column: _WIDTHS.get(column, _WIDTH) for column in order},
    }


def _searched() -> list[str]:
    return [name for name, parameter in declared_hyper().items() if parameter.column]


def _charts(objective: str) -> dict[str, Any]:
    """The charts, in the colours of the methods; those that MLflow adds for other metrics follow, tests folded away."""
    first, search, test = "What to look at", "search", "test"
    charts: list[dict[str, Any]] = []
    if objective == "val/h":
        axes = {"xaxis": {"key": "val/base", "type": "METRIC"}, "yaxis": {"key": "val/new", "type": "METRIC"}}
        charts.append(
            {"type": "SCATTER", "displayName": "Validation: base classes against new classes"}
            | axes
            | {"runsCountToCompare": 1000}
        )
    charts.append(
        {
            "type": "LINE",
            "displayName": f"{objective} by epoch",
            "metricKey": objective,
            "selectedMetricKeys": [objective],
            "lineSmoothness": 0,
            "scaleType": "linear",
            "xAxisKey": "step",
            "yAxisKey": "metric",
            "yAxisExpressions": [],
            "range": {},
            "useGlobalXaxisKey": True,
        }
    )
    searched = [name for name in _searched() if name in ("lr", "n_ctx", "lambda_se")]
    charts.append(
        {
            "type": "PARALLEL",
            "displayName": "What was searched",
            "selectedParams": searched,
            "selectedMetrics": [objective],
            "showAllRuns": True,
        }
    )
    for number, chart in enumerate(charts):
        chart |= {"uuid": f"sept-{number}", "metricSectionId": first, "deleted": False, "isGenerated": False}
    sections = [
        {"uuid": name, "name": name, "display": name != test, "isReordered": True, "deleted": False}
        for name in (first, "val", "loss", search, "trials", "time", test)
    ]
    return {
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
    }


def view_path(experiment: str, tags: Mapping[str, str], view: str = TABLE) -> str:
    """The path of a sweep's page on MLflow's server.

    Args:
        experiment: Id of the experiment.
        tags: Its tags: without the tag of the view, MLflow's default view is opened.
        view: Key of the view.
    """
    page = f"#/experiments/{experiment}/runs?workflowType=machine_learning"
    if view == CHARTS:
        page += "&compareRunsMode=CHART"
    return page + (f"&viewStateShareKey={view}" if _VIEW + view in tags else "")
