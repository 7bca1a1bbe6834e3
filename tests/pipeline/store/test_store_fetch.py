"""Weights that lie in S3: fetched once, whole, anew when they change; and an encoder that is loaded from there."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from s3_faults import Proxy, proxying
from s3_server import BUCKET, raw_client
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from pipeline.embed import embed
from pipeline.search.inputs import load_inputs
from pipeline.spec import EncoderFiles, parse_sweep
from pipeline.store import StoreError
from pipeline.store.fetch import cache_folder, fetch
from sept_core.encoders import load_encoder
from sept_core.errors import InputError

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SEPT_CACHE", str(folder))
    return folder


@pytest.fixture
def place(s3_root: str, cache: Path) -> str:
    """Address of an empty folder in the bucket; what is fetched goes to a cache of the test's own."""
    return f"{s3_root}/models"


@pytest.fixture
def put(place: str, s3_endpoint: str) -> Callable[[str, bytes], None]:
    def run(name: str, data: bytes) -> None:
        key = f"{place}/{name}".removeprefix(f"s3://{BUCKET}/")
        raw_client(s3_endpoint).put_object(Bucket=BUCKET, Key=key, Body=data)

    return run


@pytest.fixture
def proxy(place: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with proxying(s3_endpoint) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.address)
        yield running


def gets(proxy: Proxy) -> int:
    """Objects that were asked for, lists and looks not counted."""
    return sum(count for (method, path), count in proxy.seen.items() if method == "GET" and "?" not in path)


Put = Callable[[str, bytes], None]


class TestFetch:
    def test_a_file_is_a_file_of_its_name(self, place: str, put: Put, cache: Path) -> None:
        put("weights.pth", b"content")
        path = fetch(f"{place}/weights.pth")
        assert path.name == "weights.pth"
        assert path.read_bytes() == b"content"
        assert path.is_relative_to(cache)

    def test_a_folder_is_all_that_lies_below_it(self, place: str, put: Put) -> None:
        contents = {"config.json": b"{}", "deep/er/vocab.txt": b"a\nb\n", "empty": b""}
        for name, data in contents.items():
            put(f"gpt2/{name}", data)
        put("gpt2/", b"")
        put("gpt2-large/config.json", b"another")
        for address in (f"{place}/gpt2", f"{place}/gpt2/"):
            folder = fetch(address)
            found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            assert found == contents

    def test_what_was_fetched_is_not_fetched_again(self, place: str, put: Put, proxy: Proxy) -> None:
        put("gpt2/a", b"1")
        put("gpt2/b", b"2")
        first = fetch(f"{place}/gpt2")
        assert gets(proxy) == 2
        assert fetch(f"{place}/gpt2") == first
        assert gets(proxy) == 2

    def test_what_has_changed_is_fetched_anew_and_the_old_copy_stays(self, place: str, put: Put) -> None:
        put("weights.pth", b"old")
        old = fetch(f"{place}/weights.pth")
        put("weights.pth", b"new")
        assert fetch(f"{place}/weights.pth").read_bytes() == b"new"
        assert old.read_bytes() == b"old"
        put("gpt2/a", b"1")
        fetch(f"{place}/gpt2")
        put("gpt2/b", b"2")
        assert sorted(path.name for path in fetch(f"{place}/gpt2").iterdir()) == ["a", "b"]

    def test_the_cache_is_in_the_home_folder_unless_said_otherwise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SEPT_CACHE", raising=False)
        monkeypatch.setenv("HOME", "/home/somebody")
        assert cache_folder() == Path("/home/somebody/.cache/sept-sweep")

    def test_threads_that_want_the_same_fetch_it_once(self, place: str, put: Put, proxy: Proxy) -> None:
        put("weights.pth", b"x" * 100_000)
        proxy.delay_s = 0.05
        with ThreadPoolExecutor(6) as pool:
            paths = set(pool.map(lambda _: fetch(f"{place}/weights.pth"), range(6)))
        assert len(paths) == 1
        assert gets(proxy) == 1

    def test_processes_that_want_the_same_fetch_it_once(self, place: str, put: Put, proxy: Proxy) -> None:
        put("weights.pth", b"x" * 100_000)
        proxy.delay_s = 0.05
        code = "import sys; from pipeline.store.fetch import fetch; print(fetch(sys.argv[1]))"
        running = [start(code, f"{place}/weights.pth") for _ in range(4)]
        paths = {process.communicate(timeout=60)[0].strip() for process in running}
        assert paths == {str(fetch(f"{place}/weights.pth"))}
        assert gets(proxy) == 1

    def test_a_process_killed_while_it_fetches_leaves_nothing_that_is_taken_for_whole(
        self, place: str, put: Put, proxy: Proxy, cache: Path
    ) -> None:
        put("gpt2/a", b"1" * 1000)
        put("gpt2/b", b"2" * 1000)
        proxy.delay_s = 0.4
        code = "import sys; from pipeline.store.fetch import fetch; fetch(sys.argv[1])"
        process = start(code, f"{place}/gpt2")
        deadline = time.monotonic() + 30
        while not list(cache.rglob("*.tmp")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        proxy.delay_s = 0.0
        folder = fetch(f"{place}/gpt2")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"1" * 1000, "b": b"2" * 1000}
        assert not list(cache.rglob("*.tmp"))

    @pytest.mark.parametrize("fault", ["busy", "reset", "cut", "empty", "garbled", "slow"])
    def test_a_bad_network_costs_time_and_no_bytes(self, place: str, put: Put, proxy: Proxy, fault: str) -> None:
        data = os.urandom(3_000_000)
        put("weights.pth", data)
        proxy.choose = lambda method, path, count: fault if count < 2 else ""
        path = fetch(f"{place}/weights.pth")
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(data).digest()
        assert proxy.faults[fault] >= 2

    def test_a_download_that_breaks_off_again_and_again_goes_on_where_it_was(
        self, place: str, put: Put, proxy: Proxy
    ) -> None:
        data = os.urandom(2_000_000)
        put("weights.pth", data)
        # Each answer brings half of what is left: with every one thrown away this would never end.
        proxy.choose = lambda method, path, count: "cut" if method == "GET" and count < 8 else ""
        assert fetch(f"{place}/weights.pth").read_bytes() == data

    def test_nothing_there_is_one_line(self, place: str) -> None:
        with pytest.raises(InputError, match=r"there is nothing at 's3://.*/models/none'; check the address"):
            fetch(f"{place}/none")

    @pytest.mark.parametrize("address", [f"s3://{BUCKET}", "s3://x", "https://host/file"])
    def test_addresses_that_cannot_be_fetched(self, place: str, address: str) -> None:
        with pytest.raises(InputError, match="give s3://"):
            fetch(address)

    def test_objects_that_would_climb_out_of_the_cache_are_refused(self, place: str, put: Put) -> None:
        put("gpt2/.hidden", b"x")
        with pytest.raises(InputError, match="cannot be a file's name here"):
            fetch(f"{place}/gpt2")

    def test_no_permission_and_no_bucket_are_one_line(self, place: str, proxy: Proxy) -> None:
        with pytest.raises(StoreError, match="cannot fetch 's3://no-such-bucket/x': there is no such bucket"):
            fetch("s3://no-such-bucket/x")
        proxy.answer = 403, "AccessDenied"
        with pytest.raises(StoreError, match="cannot fetch 's3://.*permission denied"):
            fetch(f"{place}/weights.pth")

    def test_a_cache_that_cannot_be_written_is_one_line(
        self, place: str, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put("weights.pth", b"x")
        (tmp_path / "taken").write_bytes(b"")
        monkeypatch.setenv("SEPT_CACHE", str(tmp_path / "taken"))
        with pytest.raises(StoreError, match="cannot keep 's3://.*SEPT_CACHE names another"):
            fetch(f"{place}/weights.pth")


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def msclap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of msclap-2023 with a small text model and no audio model, and the tokenizer, as they are published."""
    from sept_core.encoders.msclap import VERSIONS, Projection

    transformers = pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("msclap")
    folder = root / "gpt2"
    folder.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["rain", "this is a sound of dog bark", "zero one two three"] * 3, trainer)
    tokenizer.model.save(str(folder))
    fast = transformers.GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=len(fast))
    config.save_pretrained(folder)
    base, projection = transformers.GPT2Model(config), Projection(16, VERSIONS["msclap-2023"].dim)
    state = {f"caption_encoder.base.{key}": value for key, value in base.state_dict().items()}
    state |= {f"caption_encoder.projection.{key}": value for key, value in projection.state_dict().items()}
    torch.save({"model": state | {"logit_scale": torch.tensor(2.0)}}, root / "CLAP_weights_2023.pth")
    return root


@pytest.fixture
def published(msclap: Path, place: str, put: Put) -> str:
    """Address of the folder in the bucket that holds them."""
    for path in msclap.rglob("*"):
        if path.is_file():
            put(f"clap/{path.relative_to(msclap)}", path.read_bytes())
    return f"{place}/clap"


class TestEncoder:
    def test_from_the_bucket_it_is_the_one_from_the_folder(self, published: str, msclap: Path) -> None:
        local = load_encoder("msclap-2023", msclap)
        for weights, text_model in (
            (published, None),
            (f"{published}/CLAP_weights_2023.pth", f"{published}/gpt2"),
            (str(msclap), f"{published}/gpt2"),
        ):
            fetched = load_encoder("msclap-2023", weights, text_model, fetch)
            assert fetched.fingerprint == local.fingerprint
            assert torch.equal(fetched.text.encode(["rain", "dog bark"]), local.text.encode(["rain", "dog bark"]))

    def test_a_sweep_names_it_by_its_address_and_local_places_stay_relative_to_the_file(
        self, published: str, tmp_path: Path
    ) -> None:
        text = """
name: far
encoder: {{name: msclap-2023, weights: {weights}, text_model: {text_model}}}
datasets: [FSDD]
methods: [zero-shot]
trials: 1
training: {{epochs: 1, report_every: 1}}
"""
        spec = parse_sweep(text.format(weights=published, text_model=f"{published}/gpt2"), "far.yaml", folder=tmp_path)
        assert (spec.encoder.weights, spec.encoder.text_model) == (published, f"{published}/gpt2")
        assert [study.inputs.weights for study in spec.studies()] == [published]
        spec = parse_sweep(text.format(weights="models/clap.pth", text_model="gpt2"), "far.yaml", folder=tmp_path)
        assert (spec.encoder.weights, spec.encoder.text_model) == (
            str(tmp_path / "models/clap.pth"),
            str(tmp_path / "gpt2"),
        )

    def test_trials_and_sept_embed_load_it_from_there(
        self, published: str, msclap: Path, s3_root: str, tmp_path: Path
    ) -> None:
        from pipeline.spec import StudyInputs

        audio = write_fsdd(tmp_path / "audio")
        encoder = load_encoder("msclap-2023", msclap)
        write_embeddings(s3_root, encoder.fingerprint, audio)
        # The same clips are embedded already, so that the audio model, which these weights lack, is not needed.
        (summary,) = embed(["fsdd"], audio, EncoderFiles(name="msclap-2023", weights=published), s3_root)
        assert (summary.fingerprint, summary.made) == (encoder.fingerprint, False)
        assert summary.where == f"{s3_root}/embeddings/{encoder.fingerprint}/FSDD"
        loaded = load_inputs(s3_root, StudyInputs("msclap-2023", "FSDD", False, (), published))
        assert loaded.encoder.fingerprint == encoder.fingerprint
        assert len(loaded.table.clip_ids) == 20


def write_fsdd(folder: Path) -> Path:
    """Twenty clips of FSDD's layout."""
    (folder / "recordings").mkdir(parents=True)
    for digit in range(10):
        for number in range(2):
            sound = np.random.default_rng(10 * digit + number).uniform(-0.5, 0.5, 2000).astype(np.float32)
            soundfile.write(folder / "recordings" / f"{digit}_theo_{number}.wav", sound, 8000)
    return folder


def write_embeddings(root: str, fingerprint: str, audio: Path) -> None:
    from pipeline.store import EmbeddingHeader, EmbeddingStore
    from sept_core.datasets import read_layout

    manifest = read_layout("FSDD", audio)
    rows = torch.nn.functional.normalize(torch.randn(len(manifest.clips), 1024), dim=1)
    header: Any = EmbeddingHeader("FSDD", "msclap-2023", fingerprint, manifest.digest, 1024)
    EmbeddingStore(root).write(header, manifest.clips, rows)
