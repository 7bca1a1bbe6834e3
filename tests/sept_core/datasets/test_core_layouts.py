"""Folders as their authors ship them, small copies of them, and wrong ones."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from sept_core.audio.formats import AUDIO_SUFFIXES
from sept_core.datasets import DATASETS, read_layout
from sept_core.datasets.layouts.base import Found, audio_in
from sept_core.datasets.layouts.copies import UNCOMPRESSED, one_file_each
from sept_core.errors import InputError

SHARED_AUDIO = Path(__file__).parents[4] / "shared" / "audio"
real_audio = pytest.mark.skipif(not SHARED_AUDIO.is_dir(), reason="no audio folders beside the project")


def put(path: Path, content: str | bytes | None = None) -> Path:
    """Write a file; without content, bytes that no other file has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = path.as_posix() if content is None else content
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.fixture
def esc10(tmp_path: Path) -> Path:
    put(tmp_path / "README.txt")
    put(tmp_path / "001 - Dog bark" / "1-100032-A.ogg", b"one")
    put(tmp_path / "001 - Dog bark" / "2-122104-B.ogg")
    put(tmp_path / "010 - Fire crackling" / "5-200-A.ogg")
    put(tmp_path / "001 - Dog bark" / "._1-100032-A.ogg")
    return tmp_path


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    put(
        tmp_path / "meta" / "esc50.csv",
        "filename,fold,target,category,esc10,src_file,take\n"
        "1-100032-A-0.wav,1,0,dog,True,100032,A\n"
        "4-17-B-30.wav,4,30,door_wood_knock,False,17,B\n",
    )
    put(tmp_path / "audio" / "1-100032-A-0.wav", b"dog")
    put(tmp_path / "audio" / "4-17-B-30.wav")
    return tmp_path


@pytest.fixture
def fsdd(tmp_path: Path) -> Path:
    put(tmp_path / "README.md")
    put(tmp_path / "recordings" / "7_jackson_32.wav", b"seven")
    put(tmp_path / "recordings" / "0_theo_0.wav")
    return tmp_path


def refusal(dataset: str, root: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_layout(dataset, root)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_esc10_takes_class_from_the_folder_and_fold_and_source_from_the_file_name(esc10: Path) -> None:
    manifest = read_layout("esc10", esc10)
    assert manifest.dataset == "ESC10"
    assert [(c.clip_id, c.classname, c.fold, c.group) for c in manifest.clips] == [
        ("1-100032-A", "dog bark", "1", "100032"),
        ("2-122104-B", "dog bark", "2", "122104"),
        ("5-200-A", "fire crackling", "5", "200"),
    ]
    assert manifest.clips[0].path == "001 - Dog bark/1-100032-A.ogg"
    assert manifest.clips[0].sha256 == hashlib.sha256(b"one").hexdigest()


def test_esc50_takes_everything_from_its_csv(esc50: Path) -> None:
    assert [(c.clip_id, c.path, c.classname, c.fold, c.group) for c in read_layout("ESC-50", esc50).clips] == [
        ("1-100032-A-0", "audio/1-100032-A-0.wav", "dog", "1", "100032"),
        ("4-17-B-30", "audio/4-17-B-30.wav", "door wood knock", "4", "17"),
    ]


def test_every_class_of_esc50_is_reached_from_its_csv_spelling(tmp_path: Path) -> None:
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for number, name in enumerate(DATASETS["ESC50"].classnames):
        lines.append(f"1-{number}-A-{number}.wav,1,{number},{name.replace(' ', '_')},False,{number},A")
        put(tmp_path / "audio" / f"1-{number}-A-{number}.wav")
    put(tmp_path / "meta" / "esc50.csv", "\n".join(lines))
    found = {clip.classname for clip in read_layout("ESC50", tmp_path).clips}
    assert found == set(DATASETS["ESC50"].classnames)


def test_fsdd_takes_digit_and_speaker_from_the_file_name(fsdd: Path) -> None:
    manifest = read_layout("FSDD", fsdd)
    assert [(c.clip_id, c.path, c.classname, c.fold, c.group) for c in manifest.clips] == [
        ("0_theo_0", "recordings/0_theo_0.wav", "zero", "theo", "theo"),
        ("7_jackson_32", "recordings/7_jackson_32.wav", "seven", "jackson", "jackson"),
    ]


def test_fsdd_repository_and_its_recordings_folder_are_the_same_data(fsdd: Path) -> None:
    assert read_layout("FSDD", fsdd).digest == read_layout("FSDD", fsdd / "recordings").digest


def test_synth12_takes_place_and_class_from_the_file_name(tmp_path: Path) -> None:
    put(tmp_path / "wind-clock_tick-0.wav")
    (clip,) = read_layout("Synth12", tmp_path).clips
    assert (clip.clip_id, clip.classname, clip.fold, clip.group) == ("wind-clock_tick-0", "clock tick", "wind", "wind")
    put(tmp_path / "moon-clock_tick-0.wav")
    assert "moon-clock_tick-0.wav: file name is not <place>-<class>-<number>" in refusal("Synth12", tmp_path)


@pytest.mark.parametrize("dataset", ["ESC10", "ESC50", "FSDD"])
def test_a_missing_folder_and_a_file_in_its_place_are_refused(dataset: str, tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere'}: folder does not exist" in refusal(dataset, tmp_path / "nowhere")
    assert "is a file, not a folder" in refusal(dataset, put(tmp_path / "clip.wav"))


@pytest.mark.parametrize("dataset", ["ESC10", "FSDD"])
def test_a_folder_without_audio_is_refused_with_what_was_expected_and_found(dataset: str, tmp_path: Path) -> None:
    assert f"no audio in {tmp_path}; the folder is empty; expected" in refusal(dataset, tmp_path)
    put(tmp_path / "notes.txt")
    (tmp_path / "sub").mkdir()
    assert "found notes.txt, sub/; expected" in refusal(dataset, tmp_path)


def test_a_crowded_folder_without_audio_is_listed_in_part(tmp_path: Path) -> None:
    for number in range(9):
        put(tmp_path / f"{number}.txt")
    assert "found 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more" in refusal("FSDD", tmp_path)


def test_esc10_refuses_a_class_folder_given_as_root(esc10: Path) -> None:
    line = refusal("ESC10", esc10 / "001 - Dog bark")
    assert "1-100032-A.ogg: audio outside the class folders" in line


@pytest.mark.parametrize("folder", ["011 - Cat", "Dog bark"])
def test_esc10_refuses_audio_in_a_folder_of_no_class(esc10: Path, folder: str) -> None:
    put(esc10 / folder / "1-1-A.ogg")
    line = refusal("ESC10", esc10)
    assert f"folder '{folder}' is not a class of ESC10" in line
    assert "1-1-A.ogg" in line


@pytest.mark.parametrize("name", ["6-100-A.ogg", "bark.ogg", "1-100.ogg", "1-x-A.wav"])
def test_esc10_refuses_a_file_name_without_fold_and_source(esc10: Path, name: str) -> None:
    put(esc10 / "001 - Dog bark" / name)
    line = refusal("ESC10", esc10)
    assert f"{esc10 / '001 - Dog bark' / name}: file name is not <fold>-<Freesound id>-<take>" in line


def test_of_a_clip_in_two_formats_the_uncompressed_one_is_read_and_that_is_said(esc10: Path) -> None:
    before = read_layout("ESC10", esc10)
    put(esc10 / "001 - Dog bark" / "1-100032-A.wav")
    manifest = read_layout("ESC10", esc10)
    assert [clip.clip_id for clip in manifest.clips] == [clip.clip_id for clip in before.clips]
    assert "001 - Dog bark/1-100032-A.wav" in {clip.path for clip in manifest.clips}
    assert manifest.notes == ("*.ogg is not read: *.wav has the same 1 clip",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("seven.wav", "file name is not <digit>_<speaker>_<index>"),
        ("12_theo_0.wav", "unknown digit '12'"),
        ("1_nobody_0.wav", "unknown speaker 'nobody'"),
    ],
)
def test_fsdd_refuses_a_file_name_it_cannot_place(fsdd: Path, name: str, said: str) -> None:
    file = put(fsdd / "recordings" / name)
    assert f"{file}: {said}" in refusal("FSDD", fsdd)


def test_esc50_without_its_csv_is_refused_with_what_was_found(esc50: Path) -> None:
    line = refusal("ESC50", esc50 / "audio")
    assert (
        f"no ESC50 in {esc50 / 'audio'}; found 1-100032-A-0.wav, 4-17-B-30.wav; expected audios/ and csv_files/" in line
    )
    assert line.endswith("or meta/esc50.csv and audio/ (original)")


def test_esc50_names_how_many_listed_clips_are_missing_and_the_first(esc50: Path) -> None:
    (esc50 / "audio" / "4-17-B-30.wav").unlink()
    line = refusal("ESC50", esc50)
    assert "1 of 2 clips listed in meta/esc50.csv are missing, first audio/4-17-B-30.wav" in line


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.wav,1,0,dragon,True,1,A", "line 2: unknown category 'dragon' of a.wav"),
        ("a.wav,9,0,dog,True,1,A", "line 2: unknown fold '9' of a.wav"),
        ("a.wav,1,0,dog,True,,A", "line 2: src_file of a.wav is empty"),
        ("a.wav,1", "line 2: unknown category '' of a.wav"),
        ("../a.wav,1,0,dog,True,1,A", "line 2: filename '../a.wav' is not the name of a file in audio/"),
    ],
)
def test_esc50_refuses_a_bad_row_with_its_line(tmp_path: Path, row: str, said: str) -> None:
    put(tmp_path / "meta" / "esc50.csv", f"filename,fold,target,category,esc10,src_file,take\n{row}\n")
    assert said in refusal("ESC50", tmp_path)


def test_esc50_refuses_a_csv_that_is_none(tmp_path: Path) -> None:
    table = tmp_path / "meta" / "esc50.csv"
    put(table, b"\xff\xfe\x00\x01")
    assert "esc50.csv: is not a CSV file in UTF-8" in refusal("ESC50", tmp_path)
    put(table, "filename,fold\n")
    assert "esc50.csv: column category, src_file missing; found: filename, fold" in refusal("ESC50", tmp_path)
    put(table, "filename,fold,category,src_file\n")
    assert "esc50.csv: lists no clips" in refusal("ESC50", tmp_path)


def test_an_unreadable_clip_is_refused_with_its_name(esc10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", deny)
    assert "1-100032-A.ogg: cannot be read (Permission denied)" in refusal("ESC10", esc10)


@pytest.mark.audio
@real_audio
def test_the_real_esc10_is_400_clips_in_five_equal_folds_that_share_no_source() -> None:
    manifest = read_layout("ESC10", SHARED_AUDIO / "esc10")
    assert set(Counter((clip.classname, clip.fold) for clip in manifest.clips).values()) == {8}
    assert len(manifest.clips) == 400
    folds = defaultdict(set)
    for clip in manifest.clips:
        folds[clip.group].add(clip.fold)
    assert all(len(of) == 1 for of in folds.values())


@pytest.mark.audio
@real_audio
def test_the_real_fsdd_is_900_clips_of_ten_digits_by_six_speakers() -> None:
    manifest = read_layout("FSDD", SHARED_AUDIO / "fsdd")
    assert set(Counter((clip.classname, clip.fold) for clip in manifest.clips).values()) == {15}
    assert len(manifest.clips) == 900


@pytest.mark.parametrize("suffix", sorted(AUDIO_SUFFIXES))
def test_a_folder_is_looked_through_for_all_that_can_be_decoded_in_any_case(suffix: str, tmp_path: Path) -> None:
    wanted = [put(tmp_path / f"{name}{ending}") for name, ending in (("a", suffix), ("b", suffix.upper()))]
    put(tmp_path / f"c{suffix}.txt")
    put(tmp_path / f"._d{suffix}")
    assert audio_in(tmp_path) == wanted


COMPRESSED = {".mp3", ".ogg", ".oga", ".spx", ".opus", ".m4a", ".m4b", ".mp4", ".aac"}


@pytest.mark.parametrize("suffix", sorted(AUDIO_SUFFIXES - COMPRESSED))
def test_of_a_clip_in_two_formats_the_uncompressed_one_is_read(suffix: str, tmp_path: Path) -> None:
    assert set(UNCOMPRESSED) <= AUDIO_SUFFIXES
    found = [Found(put(tmp_path / f"a{ending}"), "bark", "1", "") for ending in (".aac", suffix, ".mp3")]
    (kept,), _ = one_file_each(tmp_path, found)
    assert kept.file.suffix == suffix
