"""Speed of embedding: end to end, compared with the encoder alone and with msclap's own loop; peak memory.

    pip install -e ".[dev]" && pytest tests/benchmarks/bench_embed.py -s

Uses the real audio of ESC-10 if it is next to the project. msclap-2023 has random weights of the real size: speed does
not depend on their values. Everything in one run, one thread per encoder.
"""

from __future__ import annotations

import contextlib
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import ray
import soundfile
import torch
from gpu.measuring import Peak, alone
from random_msclap import write_msclap

from pipeline.data.audio.open import open_audio
from pipeline.embed import embed
from pipeline.embed.batches import as_in_an_encoder, decode
from pipeline.embed.encoder_loading import load
from pipeline.embed.sizing import CPU_BATCH
from pipeline.spec import EncoderFiles
from sept_core.datasets import Clip, read_layout

AUDIO = Path(__file__).parents[3] / "shared" / "audio" / "esc10"
# A run of all and a run of few: their difference excludes Ray's start and loading. Two encoders share both evenly,
# since 32 clips are sent together.
CLIPS, FEW, OWN = 320, 60, 32
MANY = 10_000


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_msclap("msclap-2023", tmp_path_factory.mktemp("msclap"))


def some_clips(folder: Path, clips: int) -> Path:
    """As many clips of each class of ESC-10."""
    if not AUDIO.is_dir():
        pytest.skip("the real audio is not at ../shared/audio/esc10 beside the project")
    for inner in sorted(path for path in AUDIO.iterdir() if path.is_dir()):
        (folder / inner.name).mkdir(parents=True)
        for path in sorted(inner.iterdir())[: clips // 10]:
            (folder / inner.name / path.name).symlink_to(path)
    return folder


def encoder_alone(weights: Path, clips: tuple[Clip, ...], audio: Path) -> tuple[float, float]:
    """Clips a second of decoding alone, and of encoding what is decoded, one thread each."""
    tower = load(EncoderFiles(name="msclap-2023", weights=str(weights))).load_audio()
    with as_in_an_encoder(), torch.inference_mode():
        source, began = open_audio(audio), time.perf_counter()
        windows = decode(clips, source, tower.preparation(), tower.sample_rate).windows
        decoded = time.perf_counter()
        assert windows is not None
        tower(windows[:CPU_BATCH])
        warm = time.perf_counter()
        for start in range(0, len(windows), CPU_BATCH):
            tower(windows[start : start + CPU_BATCH])
        return len(clips) / (decoded - began), len(clips) / (time.perf_counter() - warm)


def own_loop(weights: Path, files: list[str]) -> float:
    """Clips a second of the package's loop: one file after the other, one thread."""
    import transformers

    package = import_module("msclap.CLAPWrapper")

    # Its torchaudio reads files through a package that is not there; soundfile is what ours reads with too.
    def read(path: str) -> tuple[torch.Tensor, int]:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return torch.from_numpy(samples.T.copy()), rate

    package.torchaudio.load = read

    folder = weights / "gpt2"
    transformers.GPT2Model(transformers.GPT2Config()).save_pretrained(folder)
    for path in weights.iterdir():
        if path.suffix in (".json", ".txt"):
            (folder / path.name).exists() or (folder / path.name).symlink_to(path)
    with contextlib.chdir(weights):  # the package asks transformers for "gpt2", which takes a folder of that name first
        wrapper = package.CLAPWrapper(next(weights.glob("*.pth")), version="2023")
    with as_in_an_encoder():
        wrapper.get_audio_embeddings(files[:1])
        began = time.perf_counter()
        for file in files:
            wrapper.get_audio_embeddings([file])
        return len(files) / (time.perf_counter() - began)


def end_to_end(weights: Path, audio: Path, root: Path, concurrency: int) -> float:
    """Seconds of everything, from Ray's start on."""
    began = time.perf_counter()
    ray.init("local", num_cpus=concurrency, include_dashboard=False, log_to_driver=False)
    embed(["esc10"], audio, EncoderFiles(name="msclap-2023", weights=str(weights)), root, concurrency=concurrency)
    return time.perf_counter() - began


def test_end_to_end(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    many, few = some_clips(tmp_path / "many", CLIPS), some_clips(tmp_path / "few", FEW)
    clips = read_layout("ESC10", many).clips
    decoding, encoding = alone(encoder_alone, weights, clips[: CLIPS // 2], many)
    print(f"\nclips of ESC-10, random msclap-2023, one thread: encoder alone {encoding:.2f} clips/s")
    print(f"  decoding and preparing alone: {decoding:.1f} clips/s")
    loop = alone(own_loop, weights, [str(many / clip.path) for clip in clips[:OWN]])
    print(f"  msclap's own loop, file by file: {loop:.2f} clips/s")
    for concurrency in (1, 2):
        long, short = (
            alone(end_to_end, weights, audio, tmp_path / f"{audio.name}{concurrency}", concurrency)
            for audio in (many, few)
        )
        rate = (CLIPS - FEW) / (long - short)
        print(
            f"  sept embed --concurrency {concurrency}: {rate:.2f} clips/s, {rate / encoding / concurrency:.2f} of the "
            f"encoder alone, {rate / loop / concurrency:.2f} of its own loop; {CLIPS} clips with Ray's start and "
            f"loading {long:.0f} s"
        )


def peak(audio: Path, root: Path) -> tuple[float, float]:
    """Peak of the process in MB beyond what it needed before the first clip, and clips a second."""
    from pipeline.embed import embed_with

    encoder = load(EncoderFiles(name="mini"))
    encoder.load_audio()
    measured, began = Peak(torch.device("cpu")), time.perf_counter()
    summary = embed_with(encoder, "noise", audio, root)
    assert summary.clips == MANY
    return measured.megabytes(), MANY / (time.perf_counter() - began)


def test_memory_of_many_clips(tmp_path: Path) -> None:
    from pipeline.data.prepared import Prepared, write_prepared
    from sept_core.datasets import read_csv_dataset

    audio, random, lines = tmp_path / "audio", np.random.default_rng(0), ["path,classname,fold"]
    audio.mkdir()
    for number in range(MANY):
        soundfile.write(audio / f"{number:05d}.wav", random.normal(0, 0.1, 16000).astype("float32"), 16000)
        lines.append(f"{number:05d}.wav,{('one', 'two')[number % 2]},{1 + number // (MANY // 2)}")
    (tmp_path / "noise.csv").write_text("\n".join(lines))
    made = read_csv_dataset(tmp_path / "noise.csv", audio, name="noise", kind="events")
    write_prepared(tmp_path / "runs", Prepared(*made))
    megabytes, rate = alone(peak, audio, tmp_path / "runs")
    print(f"\n{MANY} clips of one second with mini in one process: {megabytes:.0f} MB at its peak, {rate:.0f} clips/s")
