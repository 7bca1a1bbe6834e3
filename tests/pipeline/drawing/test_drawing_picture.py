from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pipeline.drawing import Drawing, Legend, colour_of, confusion_figure, look_of, picture_file
from sept_core.methods import known_methods

NAMES = ("crackling <fire> & co", "rain", "never heard")
COUNTS = ((30, 2, 0), (0, 10, 30), (0, 0, 0))
SVG = "{http://www.w3.org/2000/svg}"


def test_a_confusion_matrix_shows_every_count_shaded_by_its_share_of_the_row() -> None:
    picture = ElementTree.fromstring(picture_file([confusion_figure(COUNTS, NAMES, "base classes")], ["study #3"]))
    words = [text.text for text in picture.iter(f"{SVG}text")]
    assert sorted(word for word in words if word and word.isdecimal()) == ["10", "2", "30", "30"]
    assert {*NAMES, "study #3", "base classes", "predicted", "true"} < {*words}
    shades = {
        cell.attrib["d"].partition("h")[0]: float(cell.attrib["fill-opacity"])
        for cell in picture.iter(f"{SVG}path")
        if cell.get("class") == "heat"
    }
    assert sorted(shades.values()) == [0.08, 0.24, 0.76, 0.92]


def test_nothing_drawn_lies_outside_of_the_picture() -> None:
    names = [f"a class with a long name, number {number}" for number in range(25)]
    drawing = confusion_figure([[1] * 25] * 25, names, "t" * 90)
    legend = [Legend(Drawing(18, 18, "", name), name) for name in names]
    picture = ElementTree.fromstring(picture_file([drawing], ["h" * 120], legend))
    inner = picture.find(f"{SVG}svg")
    assert inner is not None
    for outer, own in ((picture, picture.findall("*")), (inner, list(inner.iter())[1:])):
        width, height = float(outer.attrib["width"]), float(outer.attrib["height"])
        for part in own:
            assert 0 <= float(part.get("x", 0)) + float(part.get("width", 0)) <= width
            assert 0 <= float(part.get("y", 0)) + float(part.get("height", 0)) <= height


@pytest.mark.parametrize(("count", "size"), [(1, (132, 82)), (3, (364, 82)), (4, (364, 148))])
def test_a_picture_file_holds_its_drawings_in_rows_of_three_and_all_its_colours(
    count: int, size: tuple[int, int]
) -> None:
    data = picture_file([Drawing(100, 50, '<path class="s0 method"/>', "a panel")] * count)
    picture = ElementTree.fromstring(data)
    assert (float(picture.attrib["width"]), float(picture.attrib["height"])) == size
    places = {(panel.attrib["x"], panel.attrib["y"]) for panel in picture.findall(f"{SVG}svg")}
    assert len(places) == count
    assert colour_of("coop+sept").encode() in data
    assert b"var(" not in data


def test_each_method_has_a_look_of_its_own_which_no_sweep_changes() -> None:
    methods = (*known_methods(), "palm", "linear-probe")
    plain = [method for method in methods if "+" not in method and f"{method}+sept" in methods]
    every = {*methods, *(f"{method}+zebra+sept" for method in plain)}
    assert len({look_of(method) for method in every}) == len(every)
    assert {look_of(method).shape for method in every if "+" not in method} == {"dot", "hexagon", "diamond", "star"}
    for method in every - {"zero-shot"}:
        # A method and its twin have two tones of one colour, in every cell of a sweep.
        assert look_of(f"{method.removesuffix('+sept')}+sept").colour == "s" + look_of(method).colour[1:]
        assert look_of(f"{method}@shots=4") == look_of(method)
        assert colour_of(method).startswith("#")
