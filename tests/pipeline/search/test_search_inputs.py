"""What trials read is found by name or place, checked, and the same for driver and worker."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.data.prepared import Prepared, find_neighbors, neighbors_key, write_prepared
from pipeline.search import inputs as module
from pipeline.search.inputs import load_inputs
from pipeline.spec import StudyInputs
from pipeline.store import EmbeddingHeader, EmbeddingStore
from pipeline.store.fetch import fetch
from sept_core.datasets import Clip, DatasetInfo, Manifest, get_dataset, halves, info_to_json, load_embeddings
from sept_core.encoders import Encoder, load_encoder
from sept_core.errors import InputError
from sept_core.semantic import load_neighbors
from sept_core.trial import make_config

BIRDS = DatasetInfo("birds", "events", ("jay", "kite", "tit", "wren"), "A {}.", ("1", "2"), "kfold", extra=True)


def manifest(info: DatasetInfo, salt: str = "") -> Manifest:
    clips = [
        Clip(
            f"{name}{fold}{number}",
            f"{name}{fold}{number}.wav",
            name,
            fold,
            "",
            hashlib.sha256(f"{salt}{name}{fold}{number}".encode()).hexdigest(),
        )
        for name in info.classnames
        for fold in info.folds
        for number in range(4)
    ]
    return Manifest(info.name, tuple(sorted(clips, key=lambda clip: clip.clip_id)))


def embedded(root: Path, encoder: Encoder, info: DatasetInfo, made: Manifest) -> None:
    rows = normalize(torch.randn(len(made.clips), 256, generator=torch.Generator().manual_seed(0)), dim=1)
    description = None if info.name == "FSDD" else info_to_json(info)
    header = EmbeddingHeader(info.name, "mini", encoder.fingerprint, made.digest, 256, description=description)
    EmbeddingStore(root).write(header, made.clips, rows)


def write_lists(path: Path, dataset: str, lists: dict[str, list[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"dataset": dataset, "origin": {}, "neighbors": lists}))
    return path


LISTS = {"jay": ["blue bird"], "kite": ["raptor"], "tit": ["small songbird"], "wren": ["brown singer"]}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("mini")


@pytest.fixture
def root(tmp_path: Path, encoder: Encoder) -> Path:
    """A results folder with a dataset of one's own, prepared and embedded, and FSDD as a target."""
    write_prepared(tmp_path, Prepared(manifest(BIRDS), BIRDS))
    embedded(tmp_path, encoder, BIRDS, manifest(BIRDS))
    fsdd = get_dataset("FSDD")
    embedded(tmp_path, encoder, fsdd, manifest(fsdd))
    return tmp_path


def test_ones_own_dataset_is_loaded_with_what_it_is_its_own_neighbours_and_targets(root: Path) -> None:
    write_lists(root / neighbors_key("birds"), "birds", LISTS)
    loaded = load_inputs(str(root), StudyInputs("mini", "birds", True, ("FSDD",), protocol="cross-dataset"))
    assert loaded.table.info == BIRDS
    assert loaded.neighbors is not None
    assert loaded.neighbors.by_class["jay"] == ("blue bird",)
    assert loaded.targets["FSDD"].info.name == "FSDD"
    assert load_inputs(str(root), StudyInputs("mini", "birds", False)).neighbors is None


def test_a_file_of_neighbours_goes_before_those_of_the_dataset_and_into_the_signature(
    root: Path, tmp_path: Path
) -> None:
    write_lists(root / neighbors_key("birds"), "birds", LISTS)
    other = write_lists(tmp_path / "other.json", "birds", LISTS | {"jay": ["screeching bird"]})
    digests = []
    for given in (None, str(other)):
        loaded = load_inputs(str(root), StudyInputs("mini", "birds", True, neighbors=given))
        config = make_config(loaded, "coop+sept", {"n_neighbors": 1}, shots=2)
        digests.append((config.neighbors_digest, config.signature))
    assert digests[0][0] != digests[1][0]
    assert digests[0][1] != digests[1][1]


def test_a_neighbour_that_names_a_class_that_is_trained_on_too_is_refused_before_anything_starts(
    root: Path, tmp_path: Path
) -> None:
    rival = write_lists(tmp_path / "rival.json", "birds", LISTS | {"jay": ["bird like a kite"]})
    with pytest.raises(InputError, match=r"rival\.json: class 'jay': neighbour 'bird like a kite' contains the name"):
        load_inputs(str(root), StudyInputs("mini", "birds", True, neighbors=str(rival)))
    # "wren" is a new class: base-to-new keeps the term, cross-dataset trains on wrens.
    naming = write_lists(tmp_path / "naming.json", "birds", LISTS | {"jay": ["bird like a wren"], "wren": ["jay"]})
    loaded = load_inputs(str(root), StudyInputs("mini", "birds", True, neighbors=str(naming)))
    assert loaded.neighbors is not None
    assert loaded.neighbors.by_class == {"jay": ("bird like a wren",), "kite": ("raptor",)}
    assert loaded.neighbors.known == set(LISTS)
    with pytest.raises(InputError, match=r"naming\.json: class 'jay': neighbour 'bird like a wren' contains the name"):
        load_inputs(
            str(root), StudyInputs("mini", "birds", True, ("FSDD",), protocol="cross-dataset", neighbors=str(naming))
        )
    strange = write_lists(tmp_path / "strange.json", "birds", LISTS | {"wern": ["brown singer"]})
    with pytest.raises(InputError, match=r"strange\.json: 'wern' is no class of birds"):
        find_neighbors(root, BIRDS, str(strange))
    partial = write_lists(tmp_path / "part.json", "birds", {"jay": ["bird like a wren"]})
    with pytest.raises(InputError, match=r"part\.json: class 'kite' has no neighbours"):
        find_neighbors(root, BIRDS, str(partial))


def test_each_protocol_takes_the_packaged_lists_of_the_classes_that_it_trains_on(root: Path) -> None:
    base = load_inputs(str(root), StudyInputs("mini", "FSDD", True)).neighbors
    everything = load_inputs(
        str(root), StudyInputs("mini", "FSDD", True, ("birds",), protocol="cross-dataset")
    ).neighbors
    assert base is not None
    assert everything is not None
    assert set(base.by_class) == set(halves(get_dataset("FSDD").classnames)[0])
    assert set(everything.by_class) == set(get_dataset("FSDD").classnames)
    assert load_inputs(str(root), StudyInputs("mini", "FSDD", True, protocol="few-shot")).neighbors == everything


def test_a_file_of_base_classes_alone_is_refused_in_cross_dataset_with_the_ways_out(root: Path, tmp_path: Path) -> None:
    lists = {name: list(terms) for name, terms in load_neighbors("FSDD").by_class.items()}
    mine = write_lists(tmp_path / "mine.json", "FSDD", lists)
    load_inputs(str(root), StudyInputs("mini", "FSDD", True, neighbors=str(mine)))
    with pytest.raises(InputError) as refused:
        load_inputs(
            str(root), StudyInputs("mini", "FSDD", True, ("birds",), protocol="cross-dataset", neighbors=str(mine))
        )
    assert str(refused.value) == (
        f"{mine}: has lists of base classes only, but cross-dataset trains on all 10 classes of FSDD; make lists of "
        f"all: sept neighbors FSDD --for cross-dataset --root {root}, or leave this file out: lists of all are packaged"
    )


def test_missing_neighbours_of_ones_own_dataset_say_how_to_make_them(root: Path) -> None:
    with pytest.raises(InputError, match="no neighbours of birds, which SEPT needs; sept neighbors birds"):
        load_inputs(str(root), StudyInputs("mini", "birds", True))
    with pytest.raises(
        InputError, match=r"neighbors-all\.json: no neighbours of birds.*birds --for cross-dataset --root .* --from"
    ):
        load_inputs(str(root), StudyInputs("mini", "birds", True, ("FSDD",), protocol="cross-dataset"))


def test_a_dataset_that_was_prepared_anew_must_be_embedded_anew(root: Path) -> None:
    write_prepared(root, Prepared(manifest(BIRDS, "other"), BIRDS))
    module._read_table.cache_clear()
    with pytest.raises(InputError, match="birds was prepared again after it was embedded; sept embed birds"):
        load_inputs(str(root), StudyInputs("mini", "birds", False))


def test_where_weights_lie_reaches_the_encoders_loader(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def fake(*arguments: object) -> Encoder:
        asked.append(arguments)
        return load_encoder("mini")

    monkeypatch.setattr(module, "load_encoder", fake)
    module._encoder.cache_clear()
    load_inputs(str(root), StudyInputs("mini", "birds", False, weights="/w.pth", text_model="hub:gpt2"))
    module._encoder.cache_clear()
    assert asked == [("mini", "/w.pth", "hub:gpt2", fetch)]


def test_a_trial_is_read_again_on_the_embeddings_that_it_was_made_with(tmp_path: Path) -> None:
    # Embedded on another kind of processor, the same clips differ from those that ship in their last digits.
    encoder = load_encoder("mini")
    shipped = load_embeddings("FSDD", encoder.fingerprint)
    other = normalize(shipped.embeddings + 1e-6, dim=1)
    names = (shipped.clip_ids, shipped.clip_ids, shipped.classnames, shipped.folds, shipped.groups, shipped.sha256)
    clips = [Clip(*fields) for fields in zip(*names, strict=True)]
    header = EmbeddingHeader("FSDD", "mini", encoder.fingerprint, shipped.manifest_digest, shipped.dim)
    EmbeddingStore(tmp_path).write(header, clips, other)
    wanted = StudyInputs("mini", "FSDD", sept=False)
    own = load_inputs(str(tmp_path), wanted).table
    assert own.digest != shipped.digest
    for digest in (shipped.digest, own.digest):
        found = load_inputs(str(tmp_path), dataclasses.replace(wanted, embeddings={"FSDD": digest})).table
        assert found.digest == digest
    # Where neither is it, the person's own are read, and the comparison with the trial says what differs.
    lost = dataclasses.replace(wanted, embeddings={"FSDD": "0" * 16})
    assert load_inputs(str(tmp_path), lost).table.digest == own.digest
