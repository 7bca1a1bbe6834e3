"""Data sets kept with the results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.prepared import Prepared, find_manifest, own_datasets, read_prepared, write_prepared
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
    write_prepared(tmp_path / "root", own(audio))
    (audio / "w1.wav").write_bytes(b"other")
    with pytest.raises(InputError, match=r"w1\.wav: is not the clip of birds that was prepared"):
        find_manifest("birds", audio, tmp_path / "root")
    (audio / "t1.wav").unlink()
    with pytest.raises(InputError, match=r"t1\.wav: cannot be read \(No such file or directory\)"):
        find_manifest("birds", audio, tmp_path / "root")


def test_a_damaged_file_is_refused_with_what_to_do(audio: Path, tmp_path: Path) -> None:
    where = Path(write_prepared(tmp_path / "root", own(audio)))
    where.write_text(where.read_text().replace("wren", "wran"))
    with pytest.raises(InputError, match="the prepared data set birds is damaged .*; make it again: sept data prepare"):
        read_prepared(tmp_path / "root", "birds")
