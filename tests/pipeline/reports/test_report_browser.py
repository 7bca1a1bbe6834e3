"""The report as a browser shows it: desktop, phone, dark, and on paper."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic_results as made
from browser import Browser, browser, chromium
from PIL import Image

from pipeline.drawing import colour_of
from pipeline.reports import write_report
from pipeline.store import LocalFiles, TrialStore

pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")

# Boxes of what has to be seen: everything that is drawn, but what is folded away.
BOXES = """[...document.querySelectorAll('figure svg')].map(svg => {
  const box = svg.getBoundingClientRect();
  return [box.width, box.height, svg.querySelectorAll('circle, rect, path, polyline').length];
})"""
OVERLAPPING = """[...document.querySelectorAll('figure svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text.tick:not([transform]), text.title')];
  const boxes = texts.map(text => text.getBoundingClientRect());
  return boxes.flatMap((one, index) => boxes.slice(index + 1).filter(other =>
    one.left < other.right - 1 && other.left < one.right - 1 && one.top < other.bottom - 3 && other.top < one.bottom - 3
  ).map(() => svg.getAttribute('aria-label')));
})"""
OUTSIDE = """[...document.querySelectorAll('figure svg')].filter(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].some(text => {
    const box = text.getBoundingClientRect();
    const aside = box.left < frame.left - 1 || box.right > frame.right + 1;
    return aside || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  });
}).map(svg => svg.getAttribute('aria-label'))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a sweep with 25 long class names in one dataset, and a long reason for a failure."""
    root = tmp_path_factory.mktemp("page")
    store = TrialStore(LocalFiles(root))
    cases = [*made.make_cases(12), made.make_case("FSDD", "coop", 12, "failed")]
    names = [f"sound of a thing {number}" for number in range(25)]
    counts = [[40 if row == column else (row * column) % 3 for column in range(25)] for row in range(25)]
    for index, case in enumerate(cases):
        if case.result is not None and case.result.state == "finished" and case.proposal.config.dataset == "ESC10":
            parts = ("base", "new")
            result = replace(
                case.result, confusion=dict.fromkeys(parts, counts), classnames=dict.fromkeys(parts, names)
            )
            cases[index] = replace(case, result=result)
    made.fill_store(store, cases)
    _, files = write_report(store, made.SWEEP)
    return root / files.page


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def seen(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("RGB")


def width_of(tab: Browser) -> tuple[int, int]:
    return tab.evaluate("document.documentElement.scrollWidth"), tab.evaluate("innerWidth")


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
def test_nothing_but_tables_and_wide_figures_scrolls_sideways(
    tab: Browser, page: Path, width: int, phone: bool
) -> None:
    tab.open(page, width, 844, phone=phone)
    assert width_of(tab) == (width, width)
    outside: list[Any] = tab.evaluate(
        "[...document.querySelectorAll('h1, h2, p, li, summary, figure, .scroll')].filter(one => "
        "one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"
    )
    assert outside == []
    boxes = tab.evaluate(BOXES)
    assert len(boxes) > 15
    for across, down, marks in boxes:
        assert across > 100
        assert down > 100
        # At least three: a confusion matrix of two classes draws no cell where nothing is counted.
        assert marks > 2
    if phone:
        # Small print stays legible: figures may shrink a little, not to a stamp.
        assert tab.evaluate("Math.min(...[...document.querySelectorAll('.figures svg .tick')]"
                            ".map(one => one.getBoundingClientRect().height))") > 8  # fmt: skip


def test_axis_numbers_and_titles_stand_clear_of_each_other_and_within_their_figures(tab: Browser, page: Path) -> None:
    tab.open(page, 1280)
    assert tab.evaluate(OVERLAPPING) == []
    assert tab.evaluate(OUTSIDE) == []


def test_the_page_fetches_nothing_and_its_picture_is_not_blank(tab: Browser, page: Path) -> None:
    tab.open(page, 1280)
    assert tab.requests == [page.as_uri()]
    picture = seen(tab.picture())
    assert picture.height > 3000
    assert picture.getpixel((2, 2)) == (255, 255, 255)
    # Every screenful has something on it, in the colours of both twins somewhere.
    for top in range(0, picture.height - 900, 900):
        part = picture.crop((0, top, 1280, top + 900))
        assert len(part.getcolors(part.width * part.height) or []) > 20
    colours = {colour for _, colour in picture.getcolors(picture.width * picture.height) or []}
    assert {tuple(bytes.fromhex(colour_of(method)[1:])) for method in ("coop", "coop+sept")} <= colours


def test_in_the_dark_the_ground_is_dark_and_the_words_are_light(tab: Browser, page: Path) -> None:
    tab.open(page, 1280, dark=True)
    assert max(seen(tab.picture(whole=False)).getpixel((2, 2))) < 40  # type: ignore[type-var]
    light = tab.evaluate(
        "[...document.querySelectorAll('p, td, h2, svg text.tick, svg text.label')].map(one => "
        "getComputedStyle(one)[one instanceof SVGElement ? 'fill' : 'color'].match(/\\d+/g).map(Number))"
    )
    assert all(max(colour[:3]) > 140 for colour in light)


def test_on_paper_the_ground_is_white_and_everything_is_unfolded(tab: Browser, page: Path) -> None:
    tab.open(page, 1280, dark=True)
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
    folded = tab.pdf()
    assert folded.startswith(b"%PDF")
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert abs(len(tab.pdf()) - len(folded)) < 0.02 * len(folded)
    tab.print_media()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
