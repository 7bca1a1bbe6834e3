"""``sept neighbors NAME --from FILE``: what a person wrote is taken, or each problem is named with its line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data.prepared import Prepared, find_neighbors, neighbors_key, write_prepared
from pipeline.neighbors.by_hand import read_by_hand
from sept_core.datasets import Clip, DatasetInfo, Manifest
from sept_core.errors import InputError

Ran = tuple[int, str, str]

INFO = DatasetInfo("birds", "events", ("No", "great_tit", "wren"), "{}", ("1", "2"), "kfold", extra=True)
GOOD = """\
# A comment.
dataset: birds
neighbors:
  great tit: [Two-note_chime, bell in a   tree, it\N{RIGHT SINGLE QUOTATION MARK}s a chime]   # best first
  'no':
    - no way
    - nope
  wren: ["trill, loud"]
"""


def problems(text: str, folder: Path) -> list[str]:
    (folder / "lists.yaml").write_text(text, encoding="utf-8")
    return [str(problem) for problem in read_by_hand(folder / "lists.yaml", INFO)[1]]


def lists(text: str, folder: Path) -> dict[str, tuple[str, ...]]:
    (folder / "lists.yaml").write_text(text, encoding="utf-8")
    neighbors, found = read_by_hand(folder / "lists.yaml", INFO)
    assert found == []
    return dict(neighbors.by_class)


def test_lists_are_read_in_the_form_that_prompts_use(tmp_path: Path) -> None:
    assert lists(GOOD, tmp_path) == {
        "great tit": ("two-note chime", "bell in a tree", "it's a chime"),
        "no": ("no way", "nope"),
        "wren": ("trill, loud",),
    }


def test_what_yaml_takes_for_something_else_stays_a_word(tmp_path: Path) -> None:
    text = "dataset: birds\nneighbors: {great tit: [yes, 12, 1e3, 2026-01-02, null], no: [on], wren: [off, 0x1F]}"
    assert lists(text, tmp_path) == {
        "great tit": ("yes", "12", "1e3", "2026-01-02", "null"),
        "no": ("on",),
        "wren": ("off", "0x1f"),
    }


def test_json_as_the_packaged_lists_have_it_is_read_too(tmp_path: Path) -> None:
    by_class = {"great tit": ["chime"], "no": ["nay"], "wren": ["trill"]}
    text = json.dumps({"dataset": "Birds", "origin": {"model": "m"}, "neighbors": by_class})
    assert lists(text, tmp_path) == {name: tuple(terms) for name, terms in by_class.items()}


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("nope", "wren song", ["line 7: class 'no': neighbour 'wren song' contains the name of the class 'wren'"]),
        ("nope", "no", ["line 7: class 'no': neighbour 'no' is the name of the class itself"]),
        ("nope", "No_Way", ["line 7: class 'no': neighbour 'no way' is there twice"]),
        ("nope", "trill, loud", ["line 8: class 'wren': neighbour 'trill, loud' is also a neighbour of 'no'"]),
        ("nope", "n" * 61, [f"line 7: class 'no': neighbour '{'n' * 61}' has 61 characters, more than 60"]),
        ("nope", "a: b", ["line 7: class 'no': a term with : or [ ] needs quotes"]),
        ('["trill, loud"]', "trill, warble", ["line 8: class 'wren': write the terms in brackets: [trill, warble]"]),
        ('["trill, loud"]', "{a: b}", ["line 8: class 'wren': write the terms as a list: [TERM, TERM, ...]"]),
        (
            "  wren:",
            "  wern:",
            ["no neighbours for 1 of 3 classes: wren", "line 8: 'wern' is no class of birds; did you mean 'wren'?"],
        ),
        ('["trill, loud"]', "[]", ["no neighbours for 1 of 3 classes: wren (line 8)"]),
        ('["trill, loud"]', "", ["no neighbours for 1 of 3 classes: wren (line 8)"]),
        (
            "  wren:",
            "  NO:",
            ["no neighbours for 1 of 3 classes: wren", "line 8: class 'no' is in the file twice (line 5)"],
        ),
    ],
)
def test_each_problem_is_named_with_its_line(old: str, new: str, found: list[str], tmp_path: Path) -> None:
    assert problems(GOOD.replace(old, new), tmp_path) == found


def test_all_problems_are_named(tmp_path: Path) -> None:
    text = GOOD.replace("nope", "wren").replace("bell in a   tree", "great tit").replace('["trill, loud"]', "[no, no]")
    assert [line.split(":")[0] for line in problems(text, tmp_path)] == [
        "line 4",
        "line 7",
        "line 8",
        "line 8",
        "line 8",
    ]


LAUGHS = "dataset: birds\nneighbors: {}\n" + "".join(
    f"a{at}: &a{at} [{', '.join([f'*a{at - 1}' if at else 'ha'] * 9)}]\n" for at in range(9)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset: birds\nneighbors:\n  wren: [a, b\n  tit: [c]\n", r"is not YAML \(line 4: .*\); close every \["),
        pytest.param(LAUGHS, r"is not YAML \(line 1: its aliases \(\*name\) expand to more than", id="aliases"),
        pytest.param("dataset: birds\nneighbors: " + "[" * 5000, "is not YAML.*nested more than 50 deep", id="deep"),
        ("", "not a file of neighbours; write dataset: NAME"),
        ("- a\n", "not a file of neighbours"),
        ("dataset: birds\n", "key 'neighbors' is missing"),
        ("neighbors: {wren: [a]}\n", "key 'dataset' is missing"),
        ("dataset: birds\nneighbours: {}\n", r"unknown key 'neighbours' \(line 2\)"),
        (
            "dataset: frogs\nneighbors: {wren: [a]}\n",
            "neighbours of 'frogs', not of 'birds'; give the file for this data set",
        ),
    ],
)
def test_what_is_no_file_of_neighbours_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "lists.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"lists\.yaml: {said}") as caught:
        read_by_hand(tmp_path / "lists.yaml", INFO)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: cannot read the neighbours: No such file"):
        read_by_hand(tmp_path / "none.yaml", INFO)
    (tmp_path / "bytes.yaml").write_bytes(b"dataset: m\xe9sange")
    with pytest.raises(InputError, match="not UTF-8 text"):
        read_by_hand(tmp_path / "bytes.yaml", INFO)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    clips = tuple(
        Clip(f"{name}{fold}", f"{name}{fold}.wav", name, fold, "", f"{place}{fold}" * 32)
        for place, name in enumerate(INFO.classnames)
        for fold in INFO.folds
    )
    write_prepared(tmp_path / "sept-runs", Prepared(Manifest("birds", clips), INFO))
    return tmp_path / "sept-runs"


def test_the_lists_are_stored_where_sweeps_look_for_them(
    sept: Callable[..., Ran], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "lists.yaml").write_text(GOOD, encoding="utf-8")
    code, out, err = sept("neighbors", "Birds", "--from", "lists.yaml")
    assert (code, err) == (0, "")
    assert "birds: neighbours of 2 base classes for base-to-new" in out
    assert "Each has at least 2: n_neighbors can be up to 2" in out
    # The file has a list of the new class too: it was written knowing it.
    warned = "birds: the neighbours were written knowing the names of 1 class that was not trained on"
    assert f"warning: {warned}" in out
    stored = find_neighbors(root, INFO)
    assert stored.by_class == {
        "no": ("no way", "nope"),
        "great tit": ("two-note chime", "bell in a tree", "it's a chime"),
    }
    assert stored.known == {"no", "great tit", "wren"}
    assert stored.origin["note"] == "Written by a person, taken from lists.yaml."
    # Again, and with another comment: nothing else is there to be lost.
    (tmp_path / "lists.yaml").write_text("# more\n" + GOOD, encoding="utf-8")
    assert sept("neighbors", "birds", "--from", "lists.yaml")[0] == 0


def test_other_lists_are_replaced_with_force_only(sept: Callable[..., Ran], root: Path, tmp_path: Path) -> None:
    (tmp_path / "lists.yaml").write_text(GOOD, encoding="utf-8")
    sept("neighbors", "birds", "--from", "lists.yaml")
    before = (root / neighbors_key("birds")).read_bytes()
    (tmp_path / "lists.yaml").write_text(GOOD.replace("nope", "nay"), encoding="utf-8")
    code, _, err = sept("neighbors", "birds", "--from", "lists.yaml")
    assert code == 2
    assert "other neighbours of birds are stored already; replace them with --force" in err
    assert (root / neighbors_key("birds")).read_bytes() == before
    assert sept("neighbors", "birds", "--from", "lists.yaml", "--force")[0] == 0
    assert find_neighbors(root, INFO).by_class["no"] == ("no way", "nay")
    (root / neighbors_key("birds")).write_text("damaged", encoding="utf-8")
    assert sept("neighbors", "birds", "--from", "lists.yaml")[0] == 2
    assert sept("neighbors", "birds", "--from", "lists.yaml", "--force")[0] == 0


def test_of_a_file_with_problems_nothing_is_stored(sept: Callable[..., Ran], root: Path, tmp_path: Path) -> None:
    (tmp_path / "lists.yaml").write_text(GOOD.replace("nope", "wren").replace("trill, loud", "no"), encoding="utf-8")
    code, out, err = sept("neighbors", "birds", "--for", "cross-dataset", "--from", "lists.yaml")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        "error: lists.yaml: 2 problems, nothing was stored; correct what is listed and run the command again"
    )
    assert [line.split(": ")[:2] for line in err.splitlines()[:-1]] == [
        ["lists.yaml", "line 7"],
        ["lists.yaml", "line 8"],
    ]
    assert not (root / neighbors_key("birds")).exists()
    assert not (root / neighbors_key("birds", "cross-dataset")).exists()


def test_for_base_to_new_nothing_is_asked_of_new_classes_and_their_names_break_no_rule(
    sept: Callable[..., Ran], root: Path, tmp_path: Path
) -> None:
    # "wren" is new: its broken list is not looked at, and a base term that names it is kept and reported.
    text = GOOD.replace('["trill, loud"]', "[no, no]").replace("nope", "wren in the no")
    (tmp_path / "lists.yaml").write_text(text, encoding="utf-8")
    code, out, err = sept("neighbors", "birds", "--from", "lists.yaml", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "dataset": "birds",
        "for": "base-to-new",
        "path": str(root / neighbors_key("birds")),
        "fewest": 2,
        "warnings": [
            "birds: the neighbours were written knowing the names of 1 class that was not trained on",
            "birds: 1 of 5 neighbours names a class that was not trained on (kept)",
        ],
    }
    assert find_neighbors(root, INFO).by_class["no"] == ("no way", "wren in the no")
    assert sept("neighbors", "birds", "--for", "cross-dataset", "--from", "lists.yaml")[0] == 2


def test_lists_of_all_classes_are_stored_apart_for_cross_dataset(
    sept: Callable[..., Ran], root: Path, tmp_path: Path
) -> None:
    (tmp_path / "lists.yaml").write_text(GOOD, encoding="utf-8")
    code, out, _ = sept("neighbors", "birds", "--for", "cross-dataset", "--from", "lists.yaml")
    assert code == 0
    assert "birds: neighbours of 3 classes for cross-dataset" in out
    assert "warning" not in out
    assert len(find_neighbors(root, INFO, protocol="cross-dataset").by_class) == 3
    with pytest.raises(InputError, match="no neighbours of birds, which SEPT needs; sept neighbors birds --from FILE"):
        find_neighbors(root, INFO)
    code, _, err = sept("neighbors", "birds", "--for", "nested", "--from", "lists.yaml")
    assert code == 2
    assert "--for: unknown protocol 'nested'; known: base-to-new, few-shot, cross-dataset" in err


BASE_ONLY = GOOD.replace('  wren: ["trill, loud"]\n', "")


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("", ("great tit", "no")),
        ("written_from: base\n", ("great tit", "no")),
        ("written_from: all\n", ("great tit", "no", "wren")),
        ("written_from: ['no', Great_Tit, robin]\n", ("great tit", "no", "robin")),
    ],
)
def test_the_file_says_which_classes_its_writer_knew_of(said: str, known: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "lists.yaml").write_text(said + BASE_ONLY, encoding="utf-8")
    neighbors, found = read_by_hand(tmp_path / "lists.yaml", INFO, ("No", "great_tit"))
    assert (found, neighbors.written_from) == ([], known)


def test_what_a_file_says_of_its_writer_is_held_against_what_it_lists(tmp_path: Path) -> None:
    (tmp_path / "lists.yaml").write_text("written_from: base\n" + GOOD, encoding="utf-8")
    _, found = read_by_hand(tmp_path / "lists.yaml", INFO, ("No", "great_tit"))
    assert [str(one) for one in found] == ["line 1: written_from does not name 'wren', which the file has below"]
    (tmp_path / "lists.yaml").write_text("written_from: nobody\n" + GOOD, encoding="utf-8")
    with pytest.raises(InputError, match=r"'written_from' has a wrong value \(line 1\); write base, all, or a list"):
        read_by_hand(tmp_path / "lists.yaml", INFO)


def test_a_file_of_an_earlier_release_serves_both_protocols_and_says_what_it_knew(root: Path) -> None:
    lists = {"no": ["no way"], "great tit": ["wren chime"], "wren": ["trill"]}
    (root / neighbors_key("birds")).write_text(json.dumps({"dataset": "birds", "origin": {}, "neighbors": lists}))
    read = find_neighbors(root, INFO)
    assert read.by_class == {"no": ("no way",), "great tit": ("wren chime",)}
    assert read.known == {"no", "great tit", "wren"}
    with pytest.raises(InputError, match="neighbour 'wren chime' contains the name of the class 'wren'"):
        find_neighbors(root, INFO, protocol="cross-dataset")


def test_lists_of_base_classes_alone_are_refused_where_all_are_trained_on(
    sept: Callable[..., Ran], root: Path, tmp_path: Path
) -> None:
    (tmp_path / "lists.yaml").write_text(BASE_ONLY, encoding="utf-8")
    assert sept("neighbors", "birds", "--from", "lists.yaml")[0] == 0
    said = "has lists of base classes only, but cross-dataset trains on all 3 classes of birds; make lists of all: "
    with pytest.raises(InputError, match=said + "sept neighbors birds --for cross-dataset$"):
        find_neighbors(root, INFO, protocol="cross-dataset")


def test_lists_of_a_registered_dataset_go_into_a_file_that_a_sweep_names(
    sept: Callable[..., Ran], tmp_path: Path
) -> None:
    from sept_core.semantic import load_neighbors

    content = load_neighbors("ESC10").to_json()
    (tmp_path / "mine.json").write_text(json.dumps(content), encoding="utf-8")
    code, out, err = sept("neighbors", "esc10", "--from", "mine.json", "--json")
    assert (code, err) == (0, "")
    assert Path(json.loads(out)["path"]) == tmp_path / "sept-runs/neighbors/base/esc10.json"
    assert load_neighbors("ESC10", Path(json.loads(out)["path"])).digest == load_neighbors("ESC10").digest
    code, out, _ = sept("neighbors", "esc10", "--from", "mine.json", "--out", "there.json")
    assert code == 0
    assert f"neighbors: {{ESC10: {tmp_path / 'there.json'}}}" in out


def test_a_sweep_that_names_the_file_itself_is_told_the_way(tmp_path: Path) -> None:
    (tmp_path / "my lists.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(InputError, match=r"store it: sept neighbors birds --from '.*my lists\.yaml'"):
        find_neighbors(tmp_path, INFO, str(tmp_path / "my lists.yaml"))
