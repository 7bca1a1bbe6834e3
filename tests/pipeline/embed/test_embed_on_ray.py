"""Ray Data and this process make the same bytes, on real processes; what goes wrong there is one line here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import embed_towers
import numpy as np
import pytest
import soundfile
from small_ray import small_ray

from pipeline.data.prepared import Prepared, write_prepared
from pipeline.embed import EmbedSummary
from pipeline.embed import embed as embed_with_any
from pipeline.spec import EncoderFiles
from sept_core.audio.noise import Noise
from sept_core.datasets import read_csv_dataset
from sept_core.errors import InputError, SeptError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RATE = 8000
PLACE = EncoderFiles(name="noise")

embed = partial(embed_with_any, load=embed_towers.load)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One small Ray for all tests of this file; its workers find the tests' own modules."""
    with small_ray(3, Path(__file__).parent, object_store_bytes=200_000_000):
        yield


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FSDD's layout with 60 clips of noise, in WAV of several rates."""
    folder = tmp_path_factory.mktemp("audio") / "FSDD" / "recordings"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(60):
        name = f"{number % 10}_{('theo', 'lucas', 'george')[number % 3]}_{number // 30}.wav"
        rate = (RATE, 11025, 16000)[number % 3]
        soundfile.write(folder / name, random.normal(0, 0.1, rate // 4).astype("float32"), rate)
    return folder.parent


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.store.embedding_writer.ROWS_PER_PART", 16)
    monkeypatch.setattr("pipeline.embed.jobs.ROWS_PER_PART", 16)
    monkeypatch.setattr("pipeline.embed.jobs.TOGETHER", 8)
    # The encoders here have no text side.
    monkeypatch.setattr("pipeline.embed.work.keep_texts", lambda *_: 0)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def inline(audio: Path, root: Path, **options: bool) -> EmbedSummary:
    (summary,) = embed(["fsdd"], audio, PLACE, root, batch_size=4, **options)
    return summary


def on_ray(audio: Path, root: Path, concurrency: int = 1, **options: bool) -> EmbedSummary:
    # A number of processes was asked for: then it is Ray, however few the clips.
    (summary,) = embed(["fsdd"], audio, PLACE, root, batch_size=4, concurrency=concurrency, **options)
    return summary


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("concurrency", [1, 2])
def test_the_bytes_are_those_of_one_process_whatever_the_number_of_encoders(
    audio: Path, tmp_path: Path, concurrency: int
) -> None:
    inline(audio, tmp_path / "inline")
    summary = on_ray(audio, tmp_path / "ray", concurrency)
    assert (summary.clips, summary.found, summary.made) == (60, 0, True)
    assert bytes_below(tmp_path / "ray") == bytes_below(tmp_path / "inline")


@pytest.mark.usefixtures("cluster")
def test_noise_is_the_same_in_another_process(audio: Path, tmp_path: Path) -> None:
    noises = [Noise("babble", 5.0), Noise("rain", 0.0)]
    here, there = tmp_path / "here", tmp_path / "there"
    embed(["fsdd"], audio, PLACE, here, batch_size=4, noises=noises)
    embed(["fsdd"], audio, PLACE, there, batch_size=4, noises=noises, concurrency=2)
    assert bytes_below(there) == bytes_below(here)
    assert {name.split("/")[1] for name in bytes_below(here)} == {"babble-5dB", "rain-0dB"}


@pytest.mark.usefixtures("cluster")
def test_only_what_is_missing_is_made_and_progress_counts_what_was_there(audio: Path, tmp_path: Path) -> None:
    inline(audio, tmp_path / "whole")
    before = bytes_below(tmp_path / "whole")
    (tmp_path / "part").mkdir()
    kept = sorted(path for path in before if "part-0000" in path)[1:3]
    for path in kept:
        (tmp_path / "part" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "part" / path).write_bytes(before[path])
    told: list[tuple[str, int, int]] = []
    (summary,) = embed(
        ["fsdd"], audio, PLACE, tmp_path / "part", lambda *one: told.append(one), batch_size=4, concurrency=1
    )
    assert summary.found == 32
    assert told[0] == ("FSDD", 32, 60)
    assert told[-1] == ("FSDD", 60, 60)
    assert len(told) == 1 + -(-28 // 8)
    assert bytes_below(tmp_path / "part") == before


@pytest.mark.usefixtures("cluster")
def test_bad_clips_have_the_same_fate_as_in_one_process(audio: Path, tmp_path: Path) -> None:
    copy = tmp_path / "FSDD"
    for path, data in bytes_below(audio).items():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes(data)
    for name in ("0_theo_0", "1_lucas_0", "2_george_0", "3_theo_0"):
        (copy / f"recordings/{name}.wav").write_text("this is no audio")
    with pytest.raises(InputError, match=r"0_theo_0\.wav: cannot be decoded .* \(3 more clips cannot be used either\)"):
        on_ray(copy, tmp_path / "ray")
    assert on_ray(copy, tmp_path / "ray", skip_bad=True).skipped == 4
    inline(copy, tmp_path / "inline", skip_bad=True)
    assert bytes_below(tmp_path / "ray") == bytes_below(tmp_path / "inline")


@pytest.mark.usefixtures("cluster")
def test_what_an_encoder_refuses_in_another_process_is_one_line(audio: Path, tmp_path: Path) -> None:
    place = EncoderFiles(name="broken")
    with pytest.raises(InputError, match=r"\.wav: the encoder gives a feature of norm .*, not 1; listen to the clip"):
        embed(["fsdd"], audio, place, tmp_path / "runs", batch_size=4, concurrency=1)


@pytest.mark.usefixtures("cluster")
def test_a_batch_that_ends_its_process_again_and_again_ends_the_run(audio: Path, tmp_path: Path) -> None:
    place = EncoderFiles(name="deadly")
    with pytest.raises(SeptError, match="Ray stopped: .*; what is done is kept, run the same command again"):
        embed(["fsdd"], audio, place, tmp_path / "runs", batch_size=16, concurrency=1)


@pytest.mark.usefixtures("cluster")
def test_several_data_sets_go_through_one_run(audio: Path, tmp_path: Path) -> None:
    birds, root = tmp_path / "both" / "Birds", tmp_path / "runs"
    birds.mkdir(parents=True)
    random = np.random.default_rng(1)
    lines = ["path,classname,fold"]
    for number in range(20):
        soundfile.write(birds / f"{number}.wav", random.normal(0, 0.1, 2000), RATE)
        lines.append(f"{number}.wav,{('wren', 'tit')[number % 2]},{1 + number // 10}")
    (tmp_path / "birds.csv").write_text("\n".join(lines))
    write_prepared(root, Prepared(*read_csv_dataset(tmp_path / "birds.csv", birds, name="birds", kind="events")))
    (tmp_path / "both" / "fsdd").symlink_to(audio)
    summaries = embed(["FSDD", "birds"], tmp_path / "both", PLACE, root, batch_size=4, concurrency=2)
    assert [(summary.dataset, summary.clips) for summary in summaries] == [("FSDD", 60), ("birds", 20)]
    inline(audio, tmp_path / "alone")
    alone = bytes_below(tmp_path / "alone")
    assert {path: data for path, data in bytes_below(root).items() if "FSDD" in path} == alone


def test_a_client_address_is_refused_with_what_to_do_instead(audio: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not in a Ray client; .* on one of its nodes with --address auto"):
        embed(["fsdd"], audio, PLACE, tmp_path / "runs", batch_size=4, address="ray://somewhere:10001")
