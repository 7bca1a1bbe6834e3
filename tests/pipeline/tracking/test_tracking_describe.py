"""What is written of a trial and a study, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest
import synthetic_results as made

from pipeline.tracking import default_target
from pipeline.tracking.describe import Tally, final_points, rounded
from pipeline.tracking.view import view_tags
from sept_core.errors import InputError


def test_a_tracking_uri_of_no_known_kind_is_refused() -> None:
    with pytest.raises(InputError, match="ftp://here"):
        default_target(Path("runs"), "ftp://here")


def test_accuracies_among_all_classes_are_metrics_of_trials_and_studies_that_have_them() -> None:
    older = made.make_case("FSDD", "coop", 0)
    case = made.among_all(older)
    assert case.result is not None
    values = {point.key: point.value for point in final_points(case.decision, case.result)}
    for name in ("all", "all_base", "all_new", "all_h", "all_f1", "all_std"):
        assert values[f"test/{name}"] == rounded(case.result.test[name])
    tally = Tally()
    tally.add(case.decision)
    best = {point.key: point.value for point in tally.points(case.result)}
    assert best["test/all"] == rounded(case.result.test["all"])
    assert "test/all" not in {point.key for point in tally.points(older.result)}
    assert "metrics.`test/all`" in "".join(view_tags("val/h").values())


@pytest.mark.parametrize(
    ("value", "shown"),
    [(81.66667, 81.67), (100.0, 100.0), (0.00412345, 0.004123), (12345.6, 12346.0), (0.0, 0.0), (-1.23456, -1.235)],
)
def test_numbers_are_rounded_for_people(value: float, shown: float) -> None:
    assert rounded(value) == shown
    assert rounded(float("inf")) == float("inf")
