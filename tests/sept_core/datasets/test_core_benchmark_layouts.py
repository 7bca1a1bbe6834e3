"""All eleven data sets in both layouts, and what is wrong with a copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from layout_folders import Made, noise, original, palm, table

from sept_core.datasets import DATASETS, Manifest, check_manifest, read_layout
from sept_core.datasets.folds import roles_of
from sept_core.errors import InputError

ELEVEN = [name for name, info in DATASETS.items() if not info.extra]
WITHOUT_SPLIT = ["Beijing-Opera", "CREMA-D", "GT-Music-Genre", "RAVDESS"]
GROUPED = ["ESC50", "ESC50-Actions", "NS-Instruments", "TUT2017", "UrbanSound8K", "VocalSound"]


def rows(manifest: Manifest) -> set[Made]:
    return {Made(clip.clip_id, clip.classname, clip.fold, clip.group) for clip in manifest.clips}


def refusal(dataset: str, root: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_layout(dataset, root)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("dataset", ELEVEN)
def test_palms_copy_is_read_with_its_own_split(dataset: str, tmp_path: Path) -> None:
    expected = palm(dataset, tmp_path)
    noise(tmp_path / "audios" / "in_no_csv_file.wav")
    manifest = read_layout(dataset, tmp_path)
    # Sources are named where the authors of the data set keep them apart.
    named = {clip if dataset in GROUPED else Made(clip.stem, clip.classname, clip.fold, "") for clip in expected}
    assert rows(manifest) == named
    assert all(clip.path == f"audios/{clip.clip_id}.wav" for clip in manifest.clips)


@pytest.mark.parametrize("dataset", ELEVEN)
def test_the_original_is_read_with_its_classes_sources_and_split(dataset: str, tmp_path: Path) -> None:
    expected = original(dataset, tmp_path)
    found = rows(read_layout(dataset, tmp_path))
    if dataset in WITHOUT_SPLIT:
        found = {Made(clip.stem, clip.classname, "", clip.group) for clip in found}
    assert found == set(expected)


@pytest.mark.parametrize("dataset", ELEVEN)
@pytest.mark.parametrize("make", [palm, original])
def test_a_sound_copy_has_no_errors_and_every_fold_can_be_used(make, dataset: str, tmp_path: Path) -> None:
    make(dataset, tmp_path)
    manifest = read_layout(dataset, tmp_path)
    assert check_manifest(manifest, tmp_path, DATASETS[dataset]).errors == ()


@pytest.mark.parametrize("dataset", GROUPED)
def test_palms_copy_and_the_original_are_the_same_data_where_both_have_the_split(dataset: str, tmp_path: Path) -> None:
    palm(dataset, tmp_path / "palm")
    original(dataset, tmp_path / "original")
    assert read_layout(dataset, tmp_path / "palm").digest == read_layout(dataset, tmp_path / "original").digest


@pytest.mark.parametrize("dataset", ["CREMA-D", "RAVDESS"])
def test_no_actor_crosses_the_split_that_is_made_for_an_original_without_one(dataset: str, tmp_path: Path) -> None:
    original(dataset, tmp_path)
    clips = read_layout(dataset, tmp_path).clips
    train, test = ({clip.group for clip in clips if clip.fold == side} for side in ("train", "test"))
    assert len(train) == 8
    assert len(test) == 2
    assert not train & test


@pytest.mark.parametrize("dataset", WITHOUT_SPLIT)
def test_the_split_made_for_an_original_is_the_same_wherever_it_lies(dataset: str, tmp_path: Path) -> None:
    original(dataset, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "unpacked")
    assert read_layout(dataset, tmp_path / "a").digest == read_layout(dataset, tmp_path / "b").digest


@pytest.mark.parametrize("dataset", [name for name in ELEVEN if name != "ESC50"])
@pytest.mark.parametrize("make", [palm, original])
def test_a_folder_that_holds_nothing_but_the_folder_is_as_good(make, dataset: str, tmp_path: Path) -> None:
    make(dataset, tmp_path / "unpacked")
    (tmp_path / "archive.zip").touch()
    inner = read_layout(dataset, tmp_path / "unpacked")
    outer = read_layout(dataset, tmp_path)
    assert outer.digest == inner.digest
    assert all((tmp_path / clip.path).is_file() for clip in outer.clips)


@pytest.mark.parametrize("dataset", ELEVEN)
def test_a_folder_with_neither_layout_is_refused_with_both(dataset: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    line = refusal(dataset, tmp_path)
    assert line.startswith(f"no audio in {tmp_path}; found notes.txt; expected audios/")
    assert "(PALM's copy) or " in line
    assert line.endswith("(original)")


@pytest.mark.parametrize(("dataset", "lost"), [("SESA", "test.csv"), ("ESC50-Actions", "csv_files/train_3.csv")])
def test_palms_copy_without_one_of_its_csv_files_is_refused(dataset: str, lost: str, tmp_path: Path) -> None:
    palm(dataset, tmp_path)
    (tmp_path / lost).unlink()
    assert f"{tmp_path / lost}: no such file" in refusal(dataset, tmp_path)


def test_the_single_pair_that_palms_fold_copies_also_have_is_not_read(tmp_path: Path) -> None:
    palm("ESC50-Actions", tmp_path)
    before = read_layout("ESC50-Actions", tmp_path).digest
    table(tmp_path / "csv_files" / "train.csv", ["path", "classname"], [["audios/nowhere.wav", "dragon"]])
    assert read_layout("ESC50-Actions", tmp_path).digest == before


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["audios/casual_000.wav", "dragon"], "test.csv, line 2: unknown class 'dragon' of audios/casual_000.wav"),
        (["../casual_000.wav", "casual"], "test.csv, line 2: '../casual_000.wav' is not the path of a file in"),
        (["audios/casual_003.wav", "siren"], "is of class 'siren', but 'casual' in"),
        (["audios/lost.wav", "casual"], "1 of 33 clips listed in PALM's CSV files are missing, first audios/lost.wav"),
    ],
)
def test_a_bad_row_of_palms_csv_is_refused(row: list[str], said: str, tmp_path: Path) -> None:
    palm("SESA", tmp_path)
    table(tmp_path / "test.csv", ["path", "classname"], [row])
    assert said in refusal("SESA", tmp_path)


def test_a_row_given_twice_is_refused(tmp_path: Path) -> None:
    palm("SESA", tmp_path)
    table(tmp_path / "test.csv", ["path", "classname"], [["audios/siren_000.wav", "siren"]] * 2)
    assert "test.csv, line 3: audios/siren_000.wav is listed twice" in refusal("SESA", tmp_path)


def test_swapped_folds_are_held_as_they_are_and_warned_of(tmp_path: Path) -> None:
    palm("TUT2017", tmp_path)
    files = tmp_path / "csv_files"
    for fold in "234":
        (files / f"train_{fold}.csv").rename(files / "aside.csv")
        (files / f"test_{fold}.csv").rename(files / f"train_{fold}.csv")
        (files / "aside.csv").rename(files / f"test_{fold}.csv")
    info = DATASETS["TUT2017"]
    manifest = read_layout("TUT2017", tmp_path)
    tested = [sum(fold in roles_of(clip.fold, info).test for clip in manifest.clips) for fold in info.folds]
    trained = [sum(fold in roles_of(clip.fold, info).train for clip in manifest.clips) for fold in info.folds]
    assert len(manifest.clips) == 150
    assert [a + b for a, b in zip(tested, trained, strict=True)] == [150] * 4
    assert [a > b for a, b in zip(tested, trained, strict=True)] == [False, True, True, True]
    findings = check_manifest(manifest, None, info)
    assert findings.errors == ()
    (line,) = [line for line in findings.warnings if "this copy's split is wrong" in line]
    assert line.count("are they swapped") == 3
    assert "fold 1" not in line
    assert line.endswith("trials refuse it unless the sweep accepts it")


def test_a_copy_that_trains_on_what_it_tests_is_named_as_wrong_in_that_fold_alone(tmp_path: Path) -> None:
    palm("TUT2017", tmp_path)
    train = tmp_path / "csv_files" / "train_2.csv"
    train.write_text(train.read_text() + (tmp_path / "csv_files" / "test_2.csv").read_text().split("\n", 1)[1])
    findings = check_manifest(read_layout("TUT2017", tmp_path), None, DATASETS["TUT2017"])
    assert any("also trained on, by content (a001_0_10 = a001_0_10" in line for line in findings.warnings)
    (line,) = [line for line in findings.warnings if "this copy's split is wrong" in line]
    assert "fold 2: 45 of 45 test clips are trained on too" in line
    assert "fold 1" not in line
    assert "fold 3" not in line


def test_a_recording_that_palms_folds_tear_is_a_warning_with_its_name_and_folds(tmp_path: Path) -> None:
    palm("TUT2017", tmp_path)
    for fold in DATASETS["TUT2017"].folds:
        listed = tmp_path / "csv_files" / f"{'test' if fold == '2' else 'train'}_{fold}.csv"
        listed.write_text(listed.read_text() + "audios/a000_10_20.wav,beach\n")
    noise(tmp_path / "audios" / "a000_10_20.wav")
    findings = check_manifest(read_layout("TUT2017", tmp_path), None, DATASETS["TUT2017"])
    assert findings.errors == ()
    (line,) = [line for line in findings.warnings if "both training and test" in line]
    assert line.startswith("1 recording is in both training and test of the published split (a000 in folds 1 and 2)")
    assert "with 2 of 151 test clips; crossing: drop in the sweep's YAML" in line


@pytest.mark.parametrize("dataset", ["CREMA-D", "RAVDESS"])
def test_speakers_that_cross_palms_random_split_are_counted_in_a_warning(dataset: str, tmp_path: Path) -> None:
    palm(dataset, tmp_path)
    findings = check_manifest(read_layout(dataset, tmp_path), None, DATASETS[dataset])
    assert findings.errors == ()
    assert any("speakers are in both training and test of the published split" in line for line in findings.warnings)


def test_ravdess_leaves_out_the_sound_tracks_of_its_videos(tmp_path: Path) -> None:
    expected = original("RAVDESS", tmp_path)
    noise(tmp_path / "Actor_01" / "01-01-05-01-01-01-01.wav")
    noise(tmp_path / "Actor_01" / "03-02-05-01-01-01-01.wav")
    found = {clip.clip_id for clip in read_layout("RAVDESS", tmp_path).clips}
    assert found == {clip.stem for clip in expected} | {"03-02-05-01-01-01-01"}


@pytest.mark.parametrize(
    ("dataset", "name", "said"),
    [
        ("RAVDESS", "Actor_01/03-01-09-01-01-01-01.wav", "file name is not <modality>"),
        ("CREMA-D", "AudioWAV/1001_DFA_XYZ_XX.wav", "file name is not <actor>_<sentence>_<emotion>_<level>"),
        ("GT-Music-Genre", "genres/polka/polka.00000.wav", "file name is not <genre>.<number>"),
        ("SESA", "test/scream_001.wav", "file name is not <class>_<number>"),
        ("Beijing-Opera", "gong-01.wav", "file name is not <instrument>-<number>"),
    ],
)
def test_an_original_with_a_file_of_another_name_is_refused(dataset: str, name: str, said: str, tmp_path: Path) -> None:
    original(dataset, tmp_path)
    noise(tmp_path / name)
    assert f"{tmp_path / name}: {said}" in refusal(dataset, tmp_path)


@pytest.mark.parametrize(
    ("dataset", "lost"),
    [
        ("UrbanSound8K", "audio/fold1/0-0-0-0.wav"),
        ("NS-Instruments", "nsynth-test/audio/bass_electronic_000-060-100.wav"),
        ("TUT2017", "audio/a000_0_10.wav"),
        ("VocalSound", "audio_16k/f0000_0_cough.wav"),
        ("ESC50", "audio/1-0000-A-0.wav"),
    ],
)
def test_an_original_that_lists_a_missing_clip_is_refused_with_it(dataset: str, lost: str, tmp_path: Path) -> None:
    original(dataset, tmp_path)
    (tmp_path / lost).unlink()
    assert f"are missing, first {lost}" in refusal(dataset, tmp_path)


@pytest.mark.parametrize(
    ("dataset", "lost", "said"),
    [
        ("NS-Instruments", "nsynth-train/examples.json", "no such file"),
        ("VocalSound", "datafiles/te.json", "no such file"),
        ("TUT2017", "evaluation_setup/fold3_evaluate.txt", "no such file"),
    ],
)
def test_an_original_without_one_of_its_lists_is_refused(dataset: str, lost: str, said: str, tmp_path: Path) -> None:
    original(dataset, tmp_path)
    (tmp_path / lost).unlink()
    assert f"{tmp_path / lost}: {said}" in refusal(dataset, tmp_path)


@pytest.mark.parametrize(
    ("dataset", "listed", "content", "said"),
    [
        ("VocalSound", "datafiles/te.json", "[1, 2]", "is not JSON of the form"),
        ("VocalSound", "datafiles/te.json", json.dumps({"data": [{"wav": "a.wav"}]}), "'a.wav' is not <speaker>"),
        ("NS-Instruments", "nsynth-test/examples.json", "[]", "is not JSON of notes"),
        (
            "NS-Instruments",
            "nsynth-test/examples.json",
            json.dumps({"n": {"instrument_str": "x_000", "instrument_family_str": "kazoo"}}),
            "unknown family 'kazoo' of n",
        ),
        ("TUT2017", "meta.txt", "audio/a000_0_10.wav\tmoon\ta000\n", "line 1: unknown scene 'moon'"),
        ("TUT2017", "evaluation_setup/fold1_train.txt", "audio/other.wav\tbeach\n", "other.wav is not in meta.txt"),
        (
            "UrbanSound8K",
            "metadata/UrbanSound8K.csv",
            "slice_file_name,fsID,fold,class\na.wav,1,11,siren\n",
            "line 2: unknown fold '11' of a.wav",
        ),
    ],
)
def test_an_original_with_a_wrong_list_is_refused_with_the_place(
    dataset: str, listed: str, content: str, said: str, tmp_path: Path
) -> None:
    original(dataset, tmp_path)
    (tmp_path / listed).write_text(content)
    assert said in refusal(dataset, tmp_path)
