from __future__ import annotations

import csv
from pathlib import Path

import synthetic_results as made

from pipeline.tracking.artifacts import write_artifacts


def test_a_result_is_a_table_of_its_replicas_and_a_picture_per_group(tmp_path: Path) -> None:
    case = made.make_case("FSDD", "coop", 0)
    assert case.result is not None
    write_artifacts(case.result, "study #0", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confusion_base.svg",
        "confusion_new.svg",
        "replicas.csv",
    ]
    with (tmp_path / "replicas.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["fold"], row["test_h"]) for row in rows] == [
        (row["fold"], str(row["test_h"])) for row in case.result.replicas
    ]
