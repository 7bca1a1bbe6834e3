"""The text side is encoded once: a trial finds what it asks for, bit for bit what it would have computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.embed.texts import keep_texts
from pipeline.search import inputs as inputs_module
from pipeline.search.inputs import load_inputs
from pipeline.spec import StudyInputs
from pipeline.store import EmbeddingHeader, EmbeddingStore
from pipeline.store.text_features import read_text_features, write_text_features
from sept_core.datasets import Clip, Manifest, load_embeddings
from sept_core.encoders import Encoder, load_encoder
from sept_core.trial import TrialInputs, TrialRun, make_config


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    inputs_module._read_texts.cache_clear()
    inputs_module._encoder.cache_clear()
    yield
    inputs_module._encoder.cache_clear()
    torch.set_num_threads(before)


@pytest.fixture
def encoder() -> Encoder:
    return load_encoder("mini")


@pytest.fixture
def store(tmp_path: Path, encoder: Encoder) -> EmbeddingStore:
    """The shipped embeddings, under a root of one's own."""
    made = EmbeddingStore(tmp_path)
    for dataset in ("FSDD", "ESC10"):
        table = load_embeddings(dataset, encoder.fingerprint)
        columns = (table.clip_ids, table.clip_ids, table.classnames, table.folds, table.groups, table.sha256)
        manifest = Manifest(dataset, tuple(Clip(*fields) for fields in zip(*columns, strict=True)))
        header = EmbeddingHeader(dataset, "mini", encoder.fingerprint, manifest.digest, table.embeddings.shape[1])
        made.write(header, manifest.clips, table.embeddings)
    return made


@pytest.mark.parametrize("method", ["zero-shot", "coop+sept", "kgcoop", "kgcoop+sept"])
@pytest.mark.parametrize("protocol", ["base-to-new", "few-shot", "cross-dataset"])
def test_a_trial_finds_what_it_asks_for_and_ends_with_the_same_numbers(
    store: EmbeddingStore, encoder: Encoder, tmp_path: Path, method: str, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = load_encoder("mini")
    sept = method.endswith("sept")
    targets = ("ESC10",) if protocol == "cross-dataset" else ()
    hyper = {"n_neighbors": 3} if sept else {}

    def run(inputs: TrialInputs) -> dict[str, float]:
        options = {"epochs": 1, "report_every": 1, "shots": 2, "folds": ("theo",), "protocol": protocol}
        trial = TrialRun(make_config(inputs, method, hyper, **options), inputs)
        trial.advance()
        return dict(trial.result().test)

    plain = load_inputs(str(tmp_path), StudyInputs("mini", "FSDD", sept, targets, protocol=protocol))
    expected = run(TrialInputs(fresh, plain.table, plain.neighbors, plain.targets))
    assert all(keep_texts(encoder, dataset, store) > 1000 for dataset in ("FSDD", "ESC10"))

    inputs_module._read_texts.cache_clear()
    inputs_module._encoder.cache_clear()
    recalled = load_inputs(str(tmp_path), StudyInputs("mini", "FSDD", sept, targets, protocol=protocol))
    asked = []
    tower = type(recalled.encoder.text)
    real = tower.tokenize
    monkeypatch.setattr(tower, "tokenize", lambda self, texts: asked.append(tuple(texts)) or real(self, texts))
    assert run(recalled) == expected
    # Names alone are still tokenised, for the learned prompts; nothing that was encoded before is encoded again.
    assert len(fresh.text.kept()) > 0
    if (method, protocol) != ("zero-shot", "cross-dataset"):  # a target's names in the source's template: too many
        assert not set(asked) & set(fresh.text.kept())


def test_what_was_computed_elsewhere_or_is_damaged_is_not_taken(
    store: EmbeddingStore, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ("one", "two")
    features = normalize(torch.randn(2, 4), dim=1)
    key = write_text_features(store.files, encoder.fingerprint, "FSDD", {texts: features})
    kept = read_text_features(store.files, encoder.fingerprint, "FSDD")
    assert list(kept) == [texts]
    assert torch.equal(kept[texts], features)
    path = tmp_path / key
    assert pq.read_table(path).column("text").to_pylist() == list(texts)

    torch.set_num_threads(2)
    assert read_text_features(store.files, encoder.fingerprint, "FSDD") == {}
    torch.set_num_threads(1)
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert read_text_features(store.files, encoder.fingerprint, "FSDD") == {}
    monkeypatch.undo()
    good = path.read_bytes()
    for place in range(0, len(good), 97):
        path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        found = read_text_features(store.files, encoder.fingerprint, "FSDD")
        assert found == {} or torch.equal(found[texts], features)
    path.write_bytes(good[: len(good) // 2])
    assert read_text_features(store.files, encoder.fingerprint, "FSDD") == {}


def test_a_tower_takes_what_it_is_given_and_forgets_it(encoder: Encoder) -> None:
    def features(texts: Sequence[str]) -> Tensor:
        return encoder.text.encode(texts)

    encoder.text.forget()
    given = torch.ones(1, 256)
    encoder.text.keep({("a word",): given})
    assert features(["a word"]) is given
    assert encoder.text.kept() == {("a word",): given}
    encoder.text.forget()
    assert not torch.equal(features(["a word"]), given)
