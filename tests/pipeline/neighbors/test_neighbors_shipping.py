"""Raw lists to the files that ship: sorted out strictly, written where complete, with what their writers knew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.neighbors.shipping import main, shared_word, stem
from sept_core.datasets import DATASETS, prompt_name, trained_classes
from sept_core.semantic import load_neighbors

ORIGIN = {"model": "a person", "date": "2026-01-01", "prompt": "Write."}
RAW = {"casual": ["talking people", "chatter", "spoken words"], "explosion": ["blast", "big bang", "gunning blast"]}


@pytest.mark.parametrize("protocol", ["base-to-new", "cross-dataset"])
@pytest.mark.parametrize("dataset", DATASETS)
def test_packaged_terms_share_no_word_stem_with_the_name_of_another_class(dataset: str, protocol: str) -> None:
    # Stricter than the rule for users: not even one word of a name of several words, save those in the class's own
    # name ("clock" in "clock alarm" and "clock tick").
    classes = [prompt_name(name) for name in trained_classes(DATASETS[dataset].classnames, protocol)]
    for name, terms in load_neighbors(dataset, protocol=protocol).by_class.items():
        assert [term for term in terms if shared_word(term, name, classes) is not None] == []


@pytest.mark.parametrize(
    "forms",
    [
        *("breathing breathes", "sipping sip", "drops dropped", "cities city", "waves wave", "crackling crackle"),
        *("brushing brush", "baby babies", "crickets cricket", "typing typed", "washing washer", "cleaner clean"),
        *("train trains", "breaking broken", "teeth tooth", "children child"),
    ],
)
def test_the_stems_that_are_compared_join_the_forms_of_a_word(forms: str) -> None:
    assert len({stem(form) for form in forms.split()}) == 1


@pytest.mark.parametrize(
    ("term", "name", "word"),
    [
        ("knocking pipes", "door wood creaks", "knocking"),
        ("wooden door", "door wood creaks", None),
        ("a clockwork", "clock alarm", None),
        ("seventy", "five", "seventy"),
        ("a fifth", "five", None),
    ],
)
def test_a_word_of_another_class_is_found_in_its_forms_and_one_of_its_own_class_is_not(
    term: str, name: str, word: str | None
) -> None:
    assert shared_word(term, name, ["clock alarm", "door wood creaks", "door wood knock", "five", "seven"]) == word


def run(folder: Path, raw: object, *arguments: str) -> int:
    (folder / "raw.json").write_text(json.dumps(raw))
    (folder / "origin.json").write_text(json.dumps(ORIGIN))
    given = [str(folder / "raw.json"), "--origin", str(folder / "origin.json"), "--out", str(folder / "out")]
    return main([*given, *(arguments or ("--for", "base-to-new", "--n", "2"))])


def test_complete_lists_are_written_with_the_classes_they_were_written_from_and_the_rest_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    casual = ["casual explosions", "chatter", "siren talk", "gossip"]
    assert run(tmp_path, {"sesa": {"casual": casual, "explosion": ["blast", "boom"]}}) == 0
    said = capsys.readouterr().out
    assert "SESA: dropped casual: 'casual explosions' has the word 'explosions' of another class's name" in said
    assert "SESA: kept, and naming a new class: casual: 'siren talk' (siren)" in said
    assert "ESC50: no raw lists" in said
    written = load_neighbors("SESA", tmp_path / "out/base/sesa.json")
    assert written.by_class == {"casual": ("chatter", "siren talk"), "explosion": ("blast", "boom")}
    assert (written.written_from, written.origin) == (("casual", "explosion"), ORIGIN)


def test_lists_that_fall_short_are_reported_and_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, {"sesa": {"casual": ["chatter", "gossip"], "explosion": ["blast", "chatter"]}}) == 1
    said = capsys.readouterr().out
    assert "SESA: 'casual' falls short by 1 of 2" in said
    assert "SESA: dropped explosion: 'chatter' was also offered for 'casual'" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"SESA": RAW | {"siren": ["wail"]}}, "SESA has a list of 'siren'; write lists of: casual, explosion"),
        ({"SESA": {"casual": ["chatter"]}}, "SESA has no list of 'explosion'"),
        ({"SESSA": RAW}, "unknown dataset 'SESSA'"),
        ([], "not a JSON object"),
    ],
)
def test_lists_of_other_classes_than_the_writer_was_to_know_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], raw: object, said: str
) -> None:
    assert run(tmp_path, raw) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
