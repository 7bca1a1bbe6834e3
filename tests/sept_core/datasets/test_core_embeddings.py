"""Embeddings are read from a folder without the pipeline, and damage never comes through."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sept_core.datasets import load_embeddings
from sept_core.datasets.embeddings import BUNDLED, embeddings_folder
from sept_core.encoders import load_encoder
from sept_core.errors import InputError

FINGERPRINT = load_encoder("mini").fingerprint
PART = next((BUNDLED / embeddings_folder(FINGERPRINT, "ESC10")).glob("part-00000-*.parquet")).name


@pytest.mark.parametrize(("dataset", "clips"), [("ESC10", 400), ("FSDD", 900), ("Synth12", 576)])
def test_what_ships_is_found_by_name_and_fingerprint(dataset: str, clips: int) -> None:
    table = load_embeddings(dataset, FINGERPRINT)
    assert (table.dataset, table.encoder_fingerprint, len(table)) == (dataset, FINGERPRINT, clips)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(BUNDLED / "embeddings", tmp_path / "embeddings")
    return tmp_path


def test_a_results_folder_is_read_as_what_ships_is(root: Path) -> None:
    assert load_embeddings("ESC10", FINGERPRINT, root).digest == load_embeddings("ESC10", FINGERPRINT).digest


def test_without_a_manifest_there_are_no_embeddings(root: Path) -> None:
    (root / embeddings_folder(FINGERPRINT, "ESC10") / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"no embeddings of ESC10 .*make them: sept embed esc10 --audio DIR"):
        load_embeddings("ESC10", FINGERPRINT, root)


@pytest.mark.parametrize("name", ["manifest.json", PART])
@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_one_flipped_bit_is_noticed(root: Path, name: str, where: float) -> None:
    path = root / embeddings_folder(FINGERPRINT, "ESC10") / name
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="the embeddings of ESC10 are damaged"):
        load_embeddings("ESC10", FINGERPRINT, root)


def test_a_missing_part_is_named(root: Path) -> None:
    (root / embeddings_folder(FINGERPRINT, "ESC10") / PART).unlink()
    with pytest.raises(InputError, match=rf"damaged \({PART} is missing\)"):
        load_embeddings("ESC10", FINGERPRINT, root)
