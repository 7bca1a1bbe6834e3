"""A person's own data set from a CSV file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from layout_folders import noise, table

from sept_core.datasets import DATASETS, get_dataset, info_from_json, info_to_json, read_csv_dataset, read_layout
from sept_core.errors import InputError

SHARED_AUDIO = Path(__file__).parents[4] / "shared" / "audio"
real_audio = pytest.mark.skipif(not SHARED_AUDIO.is_dir(), reason="no audio folders beside the project")

HEADER = ["path", "classname", "fold"]
ROWS = [["garden/w1.wav", "wren", "2"], ["garden/w2.wav", "wren", "10"], ["t1.flac", "great tit", "2"]]


def write(root: Path, header: list[str], rows: list[list[str]]) -> Path:
    for row in rows:
        noise(root / "audio" / row[0])
    table(root / "birds.csv", header, rows)
    return root / "birds.csv"


def read(root: Path, header: list[str] = HEADER, rows: list[list[str]] = ROWS, **options: str):
    return read_csv_dataset(write(root, header, rows), root / "audio", **{"name": "birds", **options})


def refusal(root: Path, header: list[str] = HEADER, rows: list[list[str]] = ROWS, **options: str) -> str:
    with pytest.raises(InputError) as caught:
        read(root, header, rows, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_classes_folds_and_clips_come_from_the_csv(tmp_path: Path) -> None:
    manifest, info = read(tmp_path, kind="speech", template="The call of a {}.")
    assert (info.name, info.kind, info.template, info.split, info.extra) == (
        "birds",
        "speech",
        "The call of a {}.",
        "kfold",
        True,
    )
    assert info.classnames == ("great tit", "wren")
    assert info.folds == ("2", "10")
    assert [(clip.clip_id, clip.path, clip.classname, clip.fold, clip.group) for clip in manifest.clips] == [
        ("garden/w1", "garden/w1.wav", "wren", "2", ""),
        ("garden/w2", "garden/w2.wav", "wren", "10", ""),
        ("t1", "t1.flac", "great tit", "2", ""),
    ]


def test_a_split_column_makes_a_fixed_split(tmp_path: Path) -> None:
    rows = [["a.wav", "wren", "train", "s1"], ["b.wav", "tit", "test", "s2"]]
    manifest, info = read(tmp_path, ["path", "classname", "split", "group"], rows)
    assert (info.split, info.folds) == ("fixed", ("test",))
    assert [(clip.fold, clip.group) for clip in manifest.clips] == [("train", "s1"), ("test", "s2")]


def test_without_folds_five_are_made_that_no_group_crosses(tmp_path: Path) -> None:
    rows = [[f"{name}{at}.wav", name, f"{name}{at // 2}"] for name in ("wren", "tit") for at in range(20)]
    manifest, info = read(tmp_path, ["path", "classname", "group"], rows)
    assert info.folds == ("1", "2", "3", "4", "5")
    assert set(Counter((clip.classname, clip.fold) for clip in manifest.clips).values()) == {4}
    assert len({(clip.group, clip.fold) for clip in manifest.clips}) == 20


def test_columns_that_mean_nothing_here_are_left_alone(tmp_path: Path) -> None:
    with_more = [[*row, "sunny"] for row in ROWS]
    assert read(tmp_path / "a", [*HEADER, "weather"], with_more)[0].digest == read(tmp_path / "b")[0].digest


def test_a_description_survives_json(tmp_path: Path) -> None:
    _, info = read(tmp_path)
    assert info_from_json(json.loads(json.dumps(info_to_json(info)))) == info


def test_a_damaged_description_is_refused(tmp_path: Path) -> None:
    good = info_to_json(read(tmp_path)[1])
    for damage in ({}, [], {**good, "more": 1}, {**good, "folds": "1"}, {**good, "split": "loo"}, {**good, "name": 3}):
        with pytest.raises(InputError):
            info_from_json(damage)


def test_ones_own_dataset_is_found_by_name_beside_the_registered_ones(tmp_path: Path) -> None:
    _, info = read(tmp_path)
    assert get_dataset("Birds", [info]) is info
    assert get_dataset("esc10", [info]) is DATASETS["ESC10"]
    with pytest.raises(InputError, match="unknown dataset 'bird'; did you mean 'birds'"):
        get_dataset("bird", [info])
    with pytest.raises(InputError, match="unknown dataset 'birds'"):
        get_dataset("birds")


@pytest.mark.parametrize("name", ["esc-10", "Sesa", "my birds", "a.b", "../x", "", "-x", "a/b"])
def test_a_name_that_is_taken_or_makes_no_folder_is_refused(name: str, tmp_path: Path) -> None:
    line = refusal(tmp_path, name=name)
    assert "is the name of the registered data set" in line or "cannot be a data set's name" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "birdsong"}, "unknown kind 'birdsong'; known: events"),
        ({"template": "a bird"}, "does not have one {}"),
        ({"template": "{} and {}"}, "does not have one {}"),
        ({"template": "{} {name}"}, "does not have one {}"),
        ({"template": "{} }"}, "does not have one {}"),
        ({"name": "b" * 65}, "at most 64 of them"),
    ],
)
def test_a_kind_or_template_that_cannot_be_used_is_refused(options: dict[str, str], said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, **options)


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        (["path", "label"], [["a.wav", "wren"]], "column classname missing; found: path, label"),
        (HEADER, [["a.wav", "wren", "1"]], "has only the class 'wren'"),
        (HEADER, [["a.wav", "wren", "1"], ["b.wav", "tit", "1"]], "all clips are of '1'; give at least two folds"),
        (HEADER, [["a.wav", "wren", "1"], ["b.wav", "", "1"]], "line 3: b.wav has no classname"),
        (HEADER, [["a.wav", "wren", "1"], ["b.wav", "tit", ""]], "line 3: b.wav has no fold"),
        (HEADER, [["a.wav", "wren", "1"], ["a.wav", "tit", "2"]], "line 3: a.wav is already listed in"),
        (HEADER, [["a.wav", "wren", "1;2"]], "line 2: fold '1;2' contains one of"),
        (HEADER, [["a.wav", "wren", "1"], ["b.wav", "Wren", "2"]], "classes Wren, wren are the same in a prompt"),
        ([*HEADER, "split"], [["a.wav", "wren", "1", "train"]], "has both columns fold and split"),
        (["path", "classname", "split"], [["a.wav", "wren", "dev"]], "line 2: split 'dev' of a.wav is neither"),
        (
            ["path", "classname", "split"],
            [["a.wav", "wren", "train"], ["b.wav", "tit", "train"]],
            "all clips are of 'train'; 'test' is missing",
        ),
        (["path", "classname"], [["a.wav", "wren"], ["b.wav", "tit"]], "class 'wren' has clips of 1 source, too few"),
    ],
)
def test_a_csv_that_makes_no_dataset_is_refused_with_the_place(
    header: list[str], rows: list[list[str]], said: str, tmp_path: Path
) -> None:
    assert said in refusal(tmp_path, header, rows)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("___", "class '___' contains no word for a prompt; name it in words"),
        ("...", "class '...' contains no word for a prompt"),
        ("\N{DOG FACE}", "contains no word for a prompt"),
        ("\N{ZERO WIDTH SPACE}", r"class '\u200b' contains an invisible character; write it in plain text"),
        ("\x1b[31mtit", r"class '\x1b[31mtit' contains an invisible character"),
        ("tit\nlark", r"class 'tit\nlark' contains an invisible character"),
        ("great\N{NO-BREAK SPACE}tit", "contains an invisible character"),
        ("tit " * 26, "has 103 characters, more than 100"),
    ],
)
def test_a_class_whose_name_makes_no_prompt_is_refused(name: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, rows=[["a.wav", "wren", "1"], ["b.wav", name, "2"]])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("great tit", "great  tit"),
        ("great_tit", "Great tit"),
        ("m\u00e9sange", "me\u0301sange"),
        ("gro\u00df", "GROSS"),
    ],
)
def test_two_spellings_of_one_class_are_refused(one: str, other: str, tmp_path: Path) -> None:
    line = refusal(tmp_path, rows=[["a.wav", one, "1"], ["b.wav", other, "2"]])
    assert "are the same in a prompt; spell them alike" in line


def test_a_class_may_be_named_in_any_script_and_hold_a_comma(tmp_path: Path) -> None:
    _, info = read(tmp_path, rows=[["a.wav", "\N{CJK UNIFIED IDEOGRAPH-96E8}", "1"], ["b.wav", "tit, great", "2"]])
    assert info.classnames == ("tit, great", "\N{CJK UNIFIED IDEOGRAPH-96E8}")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffpath,classname,fold\na.wav,wren,1\nb.wav,tit,2\n",
        "path,classname,fold\r\na.wav,wren,1\r\nb.wav,tit,2\r\n",
        "path, classname ,fold\na.wav, wren ,1\n\n,,\nb.wav,tit, 2\n  \n",
        'path,classname,fold\n"a.wav","wren","1"\n"b.wav","tit","2"',
        "path,classname,fold,\na.wav,wren,1,,\nb.wav,tit,2,,more\n",
    ],
)
def test_what_spreadsheets_make_of_a_csv_is_read(text: str, tmp_path: Path) -> None:
    plain = read(tmp_path, rows=[["a.wav", "wren", "1"], ["b.wav", "tit", "2"]])
    (tmp_path / "birds.csv").write_bytes(text.encode())
    assert read_csv_dataset(tmp_path / "birds.csv", tmp_path / "audio", name="birds") == plain


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no header; its first line names the columns path, classname"),
        (b"\npath,classname\na.wav,wren\n", "has no header"),
        (b"path;classname\na.wav;wren\n", "column path, classname missing; .*; put ',' between columns, not ';'"),
        (b"path\tclassname\na.wav\twren\n", r"put ',' between columns, not '\\t'"),
        (b"path,classname,fold,fold\na.wav,wren,1,2\n", "column fold occurs twice; keep one of them"),
        (b'path,classname\na.wav,wren\n"b.wav,tit\n', r"\(line 3: unexpected end of data\); save it as CSV in UTF-8"),
        ("path,classname\na.wav,m\u00e9sange\n".encode("latin-1"), "is not a CSV file in UTF-8 .*; save it as"),
        ("path,classname\na.wav,wren\n".encode("utf-16"), "is not a CSV file in UTF-8"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_with_what_to_do(content: bytes, said: str, tmp_path: Path) -> None:
    write(tmp_path, HEADER, ROWS)
    (tmp_path / "birds.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_csv_dataset(tmp_path / "birds.csv", tmp_path / "audio", name="birds")


def test_a_csv_without_a_row_is_refused(tmp_path: Path) -> None:
    table(tmp_path / "birds.csv", HEADER, [])
    with pytest.raises(InputError, match=r"birds\.csv: lists no clips"):
        read_csv_dataset(tmp_path / "birds.csv", tmp_path, name="birds")


@pytest.mark.parametrize("path", ["/etc/passwd", "../birds.csv", "a\\b.wav", ""])
def test_a_path_that_leaves_the_audio_folder_is_refused(path: str, tmp_path: Path) -> None:
    write(tmp_path, HEADER, ROWS)
    table(tmp_path / "birds.csv", HEADER, [[path, "wren", "1"]])
    with pytest.raises(InputError, match="line 2: '.*' is not the path of a file in"):
        read_csv_dataset(tmp_path / "birds.csv", tmp_path / "audio", name="birds")


def test_missing_clips_a_missing_folder_and_a_missing_csv_are_refused(tmp_path: Path) -> None:
    listed = write(tmp_path, HEADER, ROWS)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_csv_dataset(listed, tmp_path / "nowhere", name="birds")
    with pytest.raises(InputError, match=r"other\.csv: no such file; found audio/, birds\.csv"):
        read_csv_dataset(tmp_path / "other.csv", tmp_path / "audio", name="birds")
    (tmp_path / "audio" / "t1.flac").unlink()
    with pytest.raises(InputError, match=r"1 of 3 clips listed in birds\.csv are missing, first t1\.flac; correct the"):
        read_csv_dataset(listed, tmp_path / "audio", name="birds")


@pytest.mark.audio
@real_audio
def test_the_real_digits_as_ones_own_dataset_have_the_clips_of_the_registered_one(tmp_path: Path) -> None:
    registered = read_layout("FSDD", SHARED_AUDIO / "fsdd")
    rows = [[clip.path, clip.classname, clip.fold, clip.group] for clip in registered.clips]
    table(tmp_path / "digits.csv", [*HEADER, "group"], rows)
    options = {"name": "digits", "kind": "speech", "template": DATASETS["FSDD"].template}
    manifest, info = read_csv_dataset(tmp_path / "digits.csv", SHARED_AUDIO / "fsdd", **options)
    assert (info.classnames, info.folds, info.split) == (
        tuple(sorted(DATASETS["FSDD"].classnames)),
        DATASETS["FSDD"].folds,
        "kfold",
    )
    assert sorted((c.path, c.fold, c.sha256) for c in manifest.clips) == sorted(
        (c.path, c.fold, c.sha256) for c in registered.clips
    )
