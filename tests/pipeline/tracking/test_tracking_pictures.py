from __future__ import annotations

import csv
from pathlib import Path
from xml.etree import ElementTree

import synthetic_results as made

from pipeline.tracking.pictures import draw_confusion, write_artifacts

NAMES = ("crackling <fire> & co", "rain", "never heard")
COUNTS = ((30, 2, 0), (0, 10, 30), (0, 0, 0))
SVG = "{http://www.w3.org/2000/svg}"


def test_a_confusion_matrix_shows_every_count_shaded_by_its_share_of_the_row() -> None:
    picture = ElementTree.fromstring(draw_confusion(COUNTS, NAMES, ("study #3", "base classes")))
    words = [text.text for text in picture.iter(f"{SVG}text")]
    assert [word for word in words if word and word.isdecimal()] == ["30", "2", "10", "30"]
    assert {*NAMES, "study #3", "base classes", "predicted", "true"} < {*words}
    # Behind all lies the ground, before all the frame; between them the cells in the order of their counts.
    shades = [cell.get("fill", "") for cell in picture.iter(f"{SVG}rect")][1:-1]
    darkness = [-sum(bytes.fromhex(shade[1:])) for shade in shades]
    assert sorted(range(4), key=darkness.__getitem__) == [1, 2, 3, 0]


def test_nothing_drawn_lies_outside_of_the_picture() -> None:
    names = [f"a class with a long name, number {number}" for number in range(25)]
    picture = ElementTree.fromstring(draw_confusion([[1] * 25] * 25, names, ("t" * 90,)))
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    for part in (*picture.iter(f"{SVG}rect"), *picture.iter(f"{SVG}text")):
        assert 0 <= float(part.get("x", 0)) + float(part.get("width", 0)) <= width
        assert 0 <= float(part.get("y", 0)) + float(part.get("height", 0)) <= height


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
