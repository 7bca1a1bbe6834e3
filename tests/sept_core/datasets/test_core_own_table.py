"""CSV files as people have them: columns of other names, whole paths, and two spellings of one accent."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from layout_folders import noise, table

from sept_core.datasets import Manifest, read_csv_dataset
from sept_core.datasets.own_table import read_columns
from sept_core.errors import InputError

PATHS = ("garden/w1.wav", "garden/w2.wav", "t1.wav", "t2.wav")
CLASSES = ("wren", "wren", "tit", "tit")
FOLDS = ("1", "2", "1", "2")


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    for path in PATHS:
        noise(tmp_path / "audio" / path)
    return tmp_path / "audio"


def read(
    audio: Path,
    paths: tuple[str, ...] = PATHS,
    header: tuple[str, str, str] = ("path", "classname", "fold"),
    **columns: str,
) -> Manifest:
    rows = [list(row) for row in zip(paths, CLASSES, FOLDS, strict=True)]
    table(audio.parent / "birds.csv", list(header), rows)
    return read_csv_dataset(audio.parent / "birds.csv", audio, name="birds", columns=columns)[0]


def refusal(audio: Path, **given: object) -> str:
    with pytest.raises(InputError) as caught:
        read(audio, **given)  # type: ignore[arg-type]
    return str(caught.value)


def test_columns_of_other_names_give_the_same_dataset(audio: Path) -> None:
    named = read(audio, header=("filename", "category", "part"), path="filename", classname="category", fold="part")
    assert named == read(audio)


def test_a_named_column_counts_where_another_one_has_our_name(audio: Path) -> None:
    rows = [
        [path, f"note {at}", name, fold]
        for at, (path, name, fold) in enumerate(zip(PATHS, CLASSES, FOLDS, strict=True))
    ]
    table(audio.parent / "more.csv", ["path", "classname", "label", "fold"], rows)
    manifest, _ = read_csv_dataset(audio.parent / "more.csv", audio, name="birds", columns={"classname": "label"})
    assert manifest == read(audio)


@pytest.mark.parametrize(
    ("header", "option"),
    [
        (("filename", "category", "fold"), "path=filename,classname=category"),
        (("Path", "Class Name", "fold"), "'path=Path,classname=Class Name'"),
        (("path", "label", "fold"), "classname=label"),
        (("slice_file_name", "class", "fold"), "path=slice_file_name,classname=class"),
        (("file_path", "species", "fold"), "path=file_path,classname=species"),
    ],
)
def test_columns_that_look_like_ours_are_suggested_as_the_option_to_type(
    audio: Path, header: tuple[str, str, str], option: str
) -> None:
    line = refusal(audio, header=header)
    assert f"rename it, or add --columns {option}" in line
    assert line.endswith(option)
    assert read(audio, header=header, **read_columns(option.strip("'"))) == read(audio)


def test_where_nothing_looks_like_it_the_columns_found_are_named(audio: Path) -> None:
    line = refusal(audio, header=("path", "weather", "fold"))
    assert "column classname missing; found: path, weather, fold" in line
    assert "--columns" not in line


def test_a_column_that_is_named_and_not_there_is_refused(audio: Path) -> None:
    line = refusal(audio, classname="lable")
    assert line.endswith("has no column 'lable' for classname; found: path, classname, fold")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("filename", "'filename' does not say which column is which; write it like path=filename"),
        ("path=", "does not say which column is which"),
        ("filename=path", "'filename' is not a column of a data set; did you mean path=filename?"),
        ("name=file", "the columns are path, classname, fold, split, group"),
        ("path=a,path=b", "'path' is named twice"),
    ],
)
def test_an_option_of_another_form_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match="--columns: ") as caught:
        read_columns(text)
    assert said in str(caught.value)


def test_whole_paths_below_the_audio_folder_are_taken(audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tuple(str(audio / path) for path in PATHS)
    assert read(audio, whole) == read(audio)
    monkeypatch.chdir(audio.parent)
    assert read(Path("audio"), whole) == read(audio)
    (audio.parent / "link").symlink_to(audio)
    assert read(audio.parent / "link", whole) == read(audio)
    (audio / "t1.wav").rename(audio.parent / "elsewhere.wav")
    (audio / "t1.wav").symlink_to(audio.parent / "elsewhere.wav")
    assert read(audio.parent / "link", whole) == read(audio)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("garden\\w1.wav", "write '/' between folders, as in 'garden/w1.wav'"),
        ("C:\\birds\\w1.wav", "or give the folder that contains all clips with --audio"),
        ("/mnt/birds/w1.wav", "or give the folder that contains all clips with --audio"),
    ],
)
def test_a_path_of_another_machine_is_refused_with_what_to_write(audio: Path, path: str, said: str) -> None:
    line = refusal(audio, paths=(path, *PATHS[1:]))
    assert "line 2: " in line
    assert said in line


def test_where_all_paths_start_from_another_folder_it_is_named(audio: Path) -> None:
    line = refusal(audio, paths=tuple(f"audio/{path}" for path in PATHS))
    assert line.endswith(f"first audio/garden/w1.wav; the paths start from another folder: --audio {audio.parent}")
    line = refusal(audio, paths=("w1.wav", "w2.wav", *PATHS[2:]))
    assert line.endswith(f"the paths start from another folder: --audio {audio / 'garden'}")
    line = refusal(audio, paths=("garden/w1.mp3", *PATHS[1:]))
    assert line.endswith("correct the paths: the file there is w1.wav")


def test_an_accent_may_be_spelled_in_two_forms_by_table_and_disk(audio: Path) -> None:
    composed, split = (unicodedata.normalize(form, "m\u00e9sange/\u00e9.wav") for form in ("NFC", "NFD"))
    assert composed != split
    noise(audio / split)
    manifest = read(audio, (composed, *PATHS[1:]))
    clip = next(clip for clip in manifest.clips if clip.path == split)
    assert clip.clip_id == composed.removesuffix(".wav")
    # The same table makes the same data set where the disk has the other form.
    (audio / split).rename(audio / "kept.wav")
    (audio / composed).parent.mkdir()
    (audio / "kept.wav").rename(audio / composed)
    assert read(audio, (composed, *PATHS[1:])).digest == manifest.digest
