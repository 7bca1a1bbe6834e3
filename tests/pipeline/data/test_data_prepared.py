"""Data sets kept with the results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.data.prepared import Prepared, find_manifest, find_neighbors, own_datasets, read_prepared, write_prepared
from sept_core.datasets import DATASETS, get_dataset, read_csv_dataset, read_layout
from sept_core.errors import InputError


def clips(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        sound = np.random.default_rng(number).uniform(-0.5, 0.5, 800).astype(np.float32)
        soundfile.write(folder / name, sound, 8000)


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    clips(folder, ["w1.wav", "w2.wav", "t1.wav", "t2.wav"])
    return folder


def own(audio: Path, name: str = "birds") -> Prepared:
    table = audio.parent / "birds.csv"
    table.write_text("path,classname,fold\nw1.wav,wren,1\nw2.wav,wren,2\nt1.wav,tit,1\nt2.wav,tit,2\n")
    return Prepared(*read_csv_dataset(table, audio, name=name, kind="speech"))


def test_ones_own_dataset_is_kept_with_what_it_is_and_found_by_name(audio: Path, tmp_path: Path) -> None:
    prepared = own(audio)
    where = write_prepared(tmp_path / "root", prepared)
    assert Path(where) == tmp_path / "root" / "datasets" / "birds" / "dataset.json"
    assert read_prepared(tmp_path / "root", "birds") == prepared
    assert prepared.description == prepared.info
    assert own_datasets(tmp_path / "root") == [prepared.info]
    assert get_dataset("Birds", own_datasets(tmp_path / "root")) == prepared.info
    assert find_manifest("BIRDS", audio, tmp_path / "root") == prepared


def test_a_registered_dataset_is_kept_without_a_description(tmp_path: Path) -> None:
    clips(tmp_path / "fsdd", ["7_jackson_32.wav", "0_theo_0.wav"])
    prepared = Prepared(read_layout("FSDD", tmp_path / "fsdd"), DATASETS["FSDD"])
    write_prepared(tmp_path / "root", prepared)
    assert prepared.description is None
    assert read_prepared(tmp_path / "root", "FSDD") == prepared
    assert own_datasets(tmp_path / "root") == []
    assert find_manifest("fsdd", tmp_path / "fsdd", tmp_path / "root").info is DATASETS["FSDD"]


def test_nothing_is_known_where_nothing_was_prepared(tmp_path: Path) -> None:
    assert read_prepared(tmp_path, "birds") is None
    assert own_datasets(tmp_path) == []
    with pytest.raises(InputError, match="unknown dataset 'birds'"):
        find_manifest("birds", tmp_path, tmp_path)


def test_preparing_again_replaces_and_another_spelling_is_refused(audio: Path, tmp_path: Path) -> None:
    write_prepared(tmp_path / "root", own(audio))
    write_prepared(tmp_path / "root", own(audio))
    with pytest.raises(InputError, match="'Bi-rds' reads like the data set 'birds'"):
        write_prepared(tmp_path / "root", own(audio, "Bi-rds"))


def test_audio_that_is_not_what_was_prepared_is_refused(audio: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_prepared(root, own(audio))
    (audio / "w1.wav").write_bytes(b"other")
    complaint = (
        r"audio: 1 of 4 clips of birds are not those that were prepared, first w1\.wav; .*sept data prepare birds"
    )
    with pytest.raises(InputError, match=complaint):
        find_manifest("birds", audio, root)
    (audio / "t1.wav").unlink()
    (audio / "t2.wav").unlink()
    with pytest.raises(InputError, match=r"audio: 2 of 4 clips of birds are missing, first t1\.wav; give the folder"):
        find_manifest("birds", audio, root)
    with pytest.raises(InputError, match="nowhere: no such folder; give the folder that birds was prepared from"):
        find_manifest("birds", tmp_path / "nowhere", root)
    assert find_manifest("birds", audio, root, compare=False) == read_prepared(root, "birds")


def test_a_damaged_file_is_refused_with_what_to_do_and_that_helps(audio: Path, tmp_path: Path) -> None:
    root, prepared = tmp_path / "root", own(audio)
    where = Path(write_prepared(root, prepared))
    for damage in (where.read_text().replace("wren", "wran"), "{", ""):
        where.write_text(damage)
        with pytest.raises(InputError, match="data set birds is damaged .*; make it again: sept data prepare birds"):
            read_prepared(root, "birds")
        with pytest.raises(InputError, match="damaged"):
            own_datasets(root)
        write_prepared(root, own(audio, "others"))
        write_prepared(root, prepared)
        assert read_prepared(root, "birds") == prepared


def test_neighbours_of_classes_that_have_changed_are_refused_with_what_to_do(audio: Path, tmp_path: Path) -> None:
    prepared = own(audio)
    lists = {"dataset": "birds", "neighbors": {"wren": ["jenny"], "robin": ["redbreast"]}}
    (tmp_path / "datasets" / "birds").mkdir(parents=True)
    (tmp_path / "datasets" / "birds" / "neighbors.json").write_text(json.dumps(lists))
    with pytest.raises(
        InputError, match="class 'tit' has no neighbours .*make it again: sept neighbors birds --root .* --force"
    ):
        find_neighbors(tmp_path, prepared.info)
