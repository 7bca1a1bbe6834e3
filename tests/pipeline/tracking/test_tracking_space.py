from __future__ import annotations

from pathlib import Path
from typing import Any

import synthetic_results as made
from places import MakePlace, Place

from pipeline.tracking import log_space, mlflow_client

METRICS = {"space/drift": 0.25, "space/violated_inter_new": 0.5}
PICTURES = {"space_distances.svg": b"<svg/>", "space_map.svg": b"<svg></svg>"}


def run_of(place: Place, case: made.Case) -> Any:
    client = mlflow_client(place.target)
    experiment = client.get_experiment_by_name(place.sweep)
    assert experiment is not None
    number = case.proposal.number
    wanted = f"tags.`sept.study` = '{case.proposal.study}' and tags.`sept.number` = '{number}'"
    (run,) = client.search_runs([experiment.experiment_id], wanted)
    return run


def test_the_run_of_a_trial_shows_its_prompt_space_once(sqlite: MakePlace) -> None:
    place, cases = sqlite(), made.make_cases()
    place.keep(cases)
    place.play(cases)
    client = mlflow_client(place.target)
    case = next(case for case in cases if case.decision.state == "finished" and case.proposal.config.sept)
    where = (place.sweep, case.proposal.study, case.proposal.number)
    before = run_of(place, case)
    assert log_space(client, *where, METRICS, PICTURES)
    assert not log_space(client, *where, METRICS, PICTURES)
    run = run_of(place, case)
    added = {name: value for name, value in run.data.metrics.items() if name not in before.data.metrics}
    assert added == METRICS
    assert (run.info.status, run.info.end_time) == (before.info.status, before.info.end_time)
    for name in METRICS:
        (point,) = client.get_metric_history(run.info.run_id, name)
        assert (point.step, point.timestamp) == (case.proposal.config.epochs, run.info.end_time)
    for name, data in PICTURES.items():
        assert Path(client.download_artifacts(run.info.run_id, name)).read_bytes() == data
    # Writing the sweep again takes none of it away.
    place.play(cases)
    assert run_of(place, case).data.metrics == run.data.metrics


def test_a_trial_without_a_run_is_left_alone(sqlite: MakePlace) -> None:
    place = sqlite()
    client = mlflow_client(place.target)
    assert not log_space(client, "nosuch", "ESC10.mini.base-to-new.coop", 0, METRICS, PICTURES)
