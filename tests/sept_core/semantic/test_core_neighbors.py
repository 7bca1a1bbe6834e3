"""Neighbours: the packaged lists keep every rule, and a broken list is named by file, class and rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sept_core.datasets import DATASETS, halves, prompt_name, trained_classes
from sept_core.errors import InputError
from sept_core.semantic import neighbors as neighbors_module
from sept_core.semantic.naming import name_pattern
from sept_core.semantic.neighbor_files import load_neighbors
from sept_core.semantic.neighbors import MAX_NEIGHBOR_LENGTH, Neighbors, check_neighbors

CLASSES = {name: [prompt_name(classname) for classname in info.classnames] for name, info in DATASETS.items()}
PACKAGED = Path(neighbors_module.__file__).parent / "data" / "neighbors"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    """Write lists as a user's own file."""

    def _write(neighbors: Any, **other: Any) -> Path:
        path = tmp_path / "own.json"
        path.write_text(json.dumps({"dataset": "ESC10", "neighbors": neighbors, **other}))
        return path

    return _write


def broken(by_class: Mapping[str, Any], classnames: list[str] | None = None) -> list[str]:
    neighbors = Neighbors("ESC10", {name: tuple(terms) for name, terms in by_class.items()})
    return check_neighbors(neighbors, list(by_class) if classnames is None else classnames)


KINDS = [(dataset, protocol) for dataset in DATASETS for protocol in ("base-to-new", "cross-dataset")]


def trained(dataset: str, protocol: str) -> list[str]:
    return [prompt_name(name) for name in trained_classes(DATASETS[dataset].classnames, protocol)]


@pytest.mark.parametrize(("dataset", "protocol"), KINDS)
def test_packaged_lists_keep_every_rule_and_cover_the_trained_classes_with_the_same_number_each(
    dataset: str, protocol: str
) -> None:
    neighbors = load_neighbors(dataset, protocol=protocol)
    classes = trained(dataset, protocol)
    assert check_neighbors(neighbors, classes) == []
    each = {"base-to-new": 22, "cross-dataset": 20}[protocol]
    assert {name: len(terms) for name, terms in neighbors.by_class.items()} == dict.fromkeys(classes, each)
    assert {"model", "date", "prompt"} <= neighbors.origin.keys()


@pytest.mark.parametrize("dataset", DATASETS)
def test_packaged_lists_of_base_classes_were_written_from_the_base_classes_alone(dataset: str) -> None:
    neighbors = load_neighbors(dataset)
    assert neighbors.written_from == tuple(sorted(trained(dataset, "base-to-new")))
    new = set(map(prompt_name, halves(DATASETS[dataset].classnames)[1]))
    assert not any(name_pattern(name).search(text) for name in new for text in neighbors.origin.values())


@pytest.mark.parametrize("dataset", DATASETS)
def test_packaged_lists_say_which_classes_they_were_written_from(dataset: str) -> None:
    for kind in ("base", "all"):
        document = json.loads((PACKAGED / kind / f"{dataset.lower()}.json").read_text())
        assert document["written_from"] == sorted(document["written_from"])
        assert set(document["neighbors"]) <= set(document["written_from"]) <= set(CLASSES[dataset])


@pytest.mark.parametrize(("dataset", "protocol"), KINDS)
def test_packaged_terms_are_short_plain_lower_case_ascii(dataset: str, protocol: str) -> None:
    for terms in load_neighbors(dataset, protocol=protocol).by_class.values():
        for term in terms:
            assert re.fullmatch(r"[a-z]+(?:['-][a-z]+)*(?: [a-z]+(?:['-][a-z]+)*){0,4}", term), term


def test_esc50_actions_has_the_lists_of_the_same_classes_in_esc50() -> None:
    actions, everything = (load_neighbors(name, protocol="cross-dataset") for name in ("ESC50-Actions", "ESC50"))
    assert actions.by_class == {name: everything.by_class[name] for name in actions.by_class}


def test_every_dataset_of_the_registry_has_packaged_lists_and_nothing_else_has() -> None:
    for kind in ("base", "all"):
        assert {path.stem for path in (PACKAGED / kind).iterdir()} == {name.lower() for name in DATASETS}
    assert {path.name for path in PACKAGED.iterdir()} == {"base", "all"}
    for path in PACKAGED.glob("*/*.json"):
        assert path.read_text().isascii()


def test_dataset_names_are_found_in_any_case() -> None:
    assert load_neighbors("esc10") == load_neighbors("ESC10")


def test_dataset_without_packaged_lists_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"'ESC51'; packaged: .*esc10.*fsdd"):
        load_neighbors("ESC51")
    with pytest.raises(InputError, match="unknown protocol 'nested'; known: base-to-new, few-shot, cross-dataset"):
        load_neighbors("ESC50", protocol="nested")


def test_own_file_is_read_in_the_form_that_prompts_use(write: Callable[..., Path]) -> None:
    path = write({"Sea_Waves": ["Ocean_Surf", " breakers "]}, origin={"model": "me"})
    neighbors = load_neighbors("ESC10", path)
    assert neighbors == Neighbors("ESC10", {"sea waves": ("ocean surf", "breakers")}, {"model": "me"})


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ({"rain": ["rain"]}, "class 'rain': neighbour 'rain' is the name of the class itself"),
        ({"rain": ["drizzle", "drizzle"]}, "class 'rain': neighbour 'drizzle' is there twice"),
        ({"rain": ["wet"], "sea waves": ["wet"]}, "class 'sea waves': neighbour 'wet' is also a neighbour of 'rain'"),
        ({"rain": [""]}, "class 'rain': neighbour '' is empty"),
        ({"rain": ["  "]}, "class 'rain': neighbour '  ' is empty"),
        ({"rain": [7]}, "class 'rain': neighbour 7 is not a string"),
        ({"rain": [["wet"]]}, "class 'rain': neighbour ['wet'] is not a string"),
        ({"rain": ["Drizzle"]}, "class 'rain': neighbour 'Drizzle' is not in the form that prompts use"),
        ({"rain": ["d" * 61]}, f"has 61 characters, more than {MAX_NEIGHBOR_LENGTH}"),
        ({"rain": []}, "class 'rain' has no neighbours"),
    ],
)
def test_each_broken_rule_is_one_line(terms: dict[str, list[Any]], rule: str) -> None:
    lines = broken(terms)
    assert len(lines) == 1
    assert rule in lines[0]


def test_missing_and_unknown_classes_are_both_reported() -> None:
    lines = broken({"rain": ["drizzle"], "snow": ["flurry"]}, ["rain", "sea_waves"])
    assert lines == ["class 'sea waves' has no neighbours", "'snow' is no class of ESC10"]


@pytest.mark.parametrize(
    ("term", "rival"),
    [
        ("cats and dogs", "cat"),
        ("the cat's voice", "cat"),
        ("alley-cat", "cat"),
        ("two foxes", "fox"),
        ("crying babies", "baby"),
        ("lone sea wave", "sea waves"),
        ("sea-waves", "sea waves"),
        ("a dog barking", "dog bark"),
        ("the dog's bark", "dog bark"),
        ("city center noise", "city_center"),
        ("restaurant chatter", "cafe/restaurant"),
        ("the seventh", "seven"),
        ("seventy-two", "two"),
        ("the second digit", "two"),
        ("digit 4", "four"),
        ("9th", "nine"),
        ("fives", "five"),
        ("digit two", "2"),
        ("the second digit", "2"),
        ("1st gear", "first gear"),
    ],
)
def test_the_name_of_another_class_is_found_in_its_forms(term: str, rival: str) -> None:
    name = rival.replace("_", " ")
    assert broken({"other": [term], name: ["unrelated term"]}, ["other", rival]) == [
        f"class 'other': neighbour {term!r} contains the name of the class '{name}'"
    ]


@pytest.mark.parametrize(
    ("name", "term", "rival"),
    [
        ("drip", "concatenated drops", "cat"),  # inside a word
        ("office", "training room", "train"),  # another word
        ("rain", "drizzle", "???"),  # a name without a word
        ("ocean", "waves at sea", "sea waves"),  # the words apart from each other
        ("car horn", "honking car horn", "car"),  # part of its own name
        ("engine", "gear one", "first"),  # an ordinal is not its number
        ("four", "a pair", "two"),  # nor is a group
    ],
)
def test_what_only_looks_like_the_name_of_another_class_is_allowed(name: str, term: str, rival: str) -> None:
    assert broken({name: [term], rival: ["unrelated term"]}) == []


def test_own_words_are_allowed_in_a_neighbour() -> None:
    assert broken({"dog bark": ["dog barking", "barking dog", "small dog bark"]}) == []


def test_loading_names_the_file_the_class_and_the_rule(write: Callable[..., Path]) -> None:
    path = write({"rain": ["dog bark outside", "rain"], "dog bark": ["woof"]})
    with pytest.raises(InputError) as caught:
        load_neighbors("ESC10", path)
    assert str(caught.value) == (
        f"{path}: class 'rain': neighbour 'dog bark outside' contains the name of the class 'dog bark' "
        "(the first of 2 broken rules); correct the list"
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not a file of neighbours in JSON"),
        pytest.param('{"a":' * 5000, "not a file of neighbours in JSON: nested too deeply", id="deep"),
        pytest.param('{"a":' + "9" * 5000 + "}", "not a file of neighbours in JSON", id="a long number"),
        ("[]", "not a JSON object"),
        ('{"dataset": "ESC10", "neighbors": {"a": ["b"]}, "neighbours": {}}', "unknown key 'neighbours'"),
        ('{"neighbors": {"a": ["b"]}}', "'dataset' must be"),
        ('{"dataset": "FSDD", "neighbors": {"a": ["b"]}}', "neighbours of 'FSDD', not of 'ESC10'"),
        ('{"dataset": "ESC10"}', "'neighbors' must be an object"),
        ('{"dataset": "ESC10", "neighbors": {}}', "'neighbors' must be an object"),
        ('{"dataset": "ESC10", "neighbors": {"a": "b"}}', "class 'a' must be a list"),
        ('{"dataset": "ESC10", "neighbors": {"a": ["b"], "a": ["c"]}}', "key 'a' is there twice"),
        ('{"dataset": "ESC10", "neighbors": {"a b": ["b"], "A_b": ["c"]}}', "class 'a b' is there twice"),
        ('{"dataset": "ESC10", "neighbors": {" ": ["b"]}}', "a class has an empty name"),
        ('{"dataset": "ESC10", "written_from": "base", "neighbors": {"a": ["b"]}}', "'written_from' must be a list"),
        ('{"dataset": "ESC10", "written_from": [" "], "neighbors": {"a": ["b"]}}', "'written_from' must be a list"),
        ('{"dataset": "ESC10", "written_from": ["b"], "neighbors": {"a": ["c"]}}', "'written_from' lacks 'a'"),
        ('{"dataset": "ESC10", "origin": {"date": 3}, "neighbors": {"a": ["b"]}}', "'origin' must be"),
    ],
)
def test_a_file_of_another_form_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_neighbors("ESC10", path)
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: cannot read"):
        load_neighbors("ESC10", tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.json: not a file of neighbours"):
        load_neighbors("ESC10", tmp_path / "bytes.json")


def test_first_takes_the_best_n_in_the_order_of_the_classes_asked_for() -> None:
    neighbors = Neighbors("X", {"a b": ("p", "q", "r"), "c": ("s", "t")})
    assert neighbors.first(["c", "A_b"], 2) == [["s", "t"], ["p", "q"]]


def test_first_says_which_class_has_too_few_and_how_many_there_are() -> None:
    neighbors = Neighbors("X", {"a": ("p", "q", "r"), "b": ("s", "t")})
    with pytest.raises(InputError, match=r"class 'b' has 2 neighbours, 3 were requested.*lower n_neighbors to 2"):
        neighbors.first(["a", "b"], 3)
    with pytest.raises(InputError, match="no neighbours for the class 'c'"):
        neighbors.first(["c"], 1)
    with pytest.raises(InputError, match="n_neighbors is 0"):
        neighbors.first(["a"], 0)


def test_digest_is_stable_and_tells_terms_and_their_order_but_not_origin_or_order_of_classes() -> None:
    neighbors = Neighbors("X", {"a": ("p", "q"), "b": ("r",)}, {"date": "now"})
    # Written down once: a change here would make every finished trial be trained anew.
    assert neighbors.digest == "f7dcdd57382385a6"
    assert Neighbors("X", {"b": ("r",), "a": ("p", "q")}).digest == neighbors.digest
    assert Neighbors("X", {"a": ("q", "p"), "b": ("r",)}).digest != neighbors.digest
    assert Neighbors("X", {"a": ("p",), "b": ("q", "r")}).digest != neighbors.digest


def test_a_file_says_which_classes_its_writer_knew_of_and_one_without_it_knew_those_it_lists(
    write: Callable[..., Path],
) -> None:
    old = load_neighbors("ESC10", write({"Rain": ["drizzle"], "sea_waves": ["surf"]}))
    assert (old.written_from, old.known) == (None, {"rain", "sea waves"})
    # What is cut out of it was still written knowing both.
    assert old.only(["rain"]).known == {"rain", "sea waves"}
    assert old.only(["rain"]).by_class == {"rain": ("drizzle",)}
    new = load_neighbors("ESC10", write({"rain": ["drizzle"]}, written_from=["Sea_Waves", "rain"]))
    assert new == Neighbors("ESC10", {"rain": ("drizzle",)}, {}, ("rain", "sea waves"))
    assert new.digest == old.only(["rain"]).digest


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    neighbors = Neighbors("X", {"a": ("p", "q"), "b": ("r",)}, {"date": "now"}, ("a", "b", "c"))
    (tmp_path / "x.json").write_text(json.dumps(neighbors.to_json()))
    assert load_neighbors("x", tmp_path / "x.json") == neighbors
