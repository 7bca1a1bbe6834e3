"""Real audio from a folder, a zip, a bucket and a zip in a bucket, to a folder and to a bucket: the same bytes."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from s3_server import BUCKET, raw_client
from small_ray import small_ray

from pipeline.embed import embed
from pipeline.spec import EncoderFiles
from pipeline.store import open_files

# Folders, zips and buckets are covered in every run, with small audio (data/test_data_audio.py).
pytestmark = [pytest.mark.audio, pytest.mark.long, pytest.mark.timeout(0)]

REPOSITORY = Path(__file__).parents[3]
AUDIO = REPOSITORY.parent / "shared" / "audio"


@pytest.fixture(params=[("ESC10", "esc10", 400), ("FSDD", "fsdd", 900)], ids=["ESC10", "FSDD"])
def clips(request: pytest.FixtureRequest) -> tuple[str, Path, int]:
    name, folder, count = request.param
    if not (AUDIO / folder).is_dir():
        pytest.skip(f"the real audio is not at ../shared/audio/{folder} beside the project")
    return name, AUDIO / folder, count


@pytest.fixture
def cluster(s3_root: str) -> Iterator[None]:
    """A small Ray, whose processes can reach the bucket."""
    with small_ray(2, object_store_bytes=200_000_000):
        yield


def upload(folder: Path, prefix: str, endpoint: str) -> str:
    """A folder's files as objects below a prefix."""
    client = raw_client(endpoint)
    files = [path for path in folder.rglob("*") if path.is_file()]

    def put(path: Path) -> None:
        key = f"{prefix}/{path.relative_to(folder).as_posix()}"
        client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, files))
    return f"s3://{BUCKET}/{prefix}"


def packed(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent).as_posix())
    return target


def bytes_in(root: str | Path) -> dict[str, bytes]:
    files = open_files(root)
    return files.read_many(key for key in files.list("embeddings") if "texts-" not in key)


@pytest.mark.usefixtures("cluster")
def test_mini_gives_the_same_bytes_from_everywhere(
    clips: tuple[str, Path, int], s3_root: str, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, folder, count = clips
    monkeypatch.setenv("SEPT_CACHE", str(tmp_path / "cache"))
    prefix = f"{s3_root.rpartition('/')[2]}-audio"
    places = {
        "folder": (str(folder), str(tmp_path / "folder"), 2),
        "bucket": (upload(folder, prefix, s3_endpoint), s3_root, 1),
    }
    if name == "ESC10":
        archive = packed(folder, tmp_path / "audio.zip")
        raw_client(s3_endpoint).upload_file(str(archive), BUCKET, f"{prefix}.zip")
        places |= {
            "zip": (str(archive), str(tmp_path / "zip"), None),
            "zip in a bucket": (f"s3://{BUCKET}/{prefix}.zip", str(tmp_path / "bucket-zip"), 1),
        }
    found = {}
    for place, (audio, root, concurrency) in places.items():
        (summary,) = embed([name], audio, EncoderFiles(name="mini"), root, concurrency=concurrency)
        assert (summary.clips, summary.skipped) == (count, 0)
        found[place] = bytes_in(root)
    assert len(found["folder"]) == 1 + -(-count // 256)
    assert found["bucket"] == found["folder"]
    # Inside the zip paths begin with the folder's name; nothing else differs, from wherever it comes.
    assert found.get("zip in a bucket") == found.get("zip")


@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_msclap_gives_the_same_bytes_from_a_folder_and_from_a_bucket(
    clips: tuple[str, Path, int], s3_root: str, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The package's own architecture with random weights in its own file format.
    sys.path.insert(0, str(REPOSITORY / "tests" / "benchmarks"))
    from random_msclap import write_msclap

    weights = tmp_path / "weights"
    weights.mkdir()
    place = EncoderFiles(name="msclap-2023", weights=str(write_msclap("msclap-2023", weights)))
    name, folder, count = clips
    monkeypatch.setattr("pipeline.embed.work.keep_texts", lambda *_: 0)
    (here,) = embed([name], folder, place, tmp_path / "folder", concurrency=2)
    prefix = f"{s3_root.rpartition('/')[2]}-audio"
    (there,) = embed([name], upload(folder, prefix, s3_endpoint), place, s3_root, concurrency=1)
    assert (here.clips, there.clips) == (count, count)
    assert bytes_in(tmp_path / "folder") == bytes_in(s3_root)
    print(f"\n{name}: {here.clips_per_second:.1f} clips/s on {os.cpu_count()} cores")
