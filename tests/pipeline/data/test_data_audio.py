"""Audio in folders, archives and buckets: the same clips wherever they lie, and one line where they do not."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from s3_server import raw_client
from store.s3_faults import FAULTS, proxying

from pipeline.data.audio.open import open_audio
from pipeline.data.audio.source import AudioSource
from pipeline.data.prepared import Prepared, find_manifest, write_prepared
from pipeline.store.s3_client import split_address
from sept_core.datasets import read_csv_dataset
from sept_core.datasets.layouts.base import audio_below
from sept_core.errors import InputError

KINDS = ("folder", "zip", "prefix", "zip in a bucket")
SHARED_AUDIO = Path(__file__).parents[4] / "shared" / "audio"

Place = Callable[[str, Path], str]


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Puts a folder's files where they are to be read from; returns the address."""
    monkeypatch.setenv("SEPT_CACHE", str(tmp_path / "cache"))

    def put(kind: str, folder: Path) -> str:
        if kind == "folder":
            return str(folder)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        archive = tmp_path / "archives" / "clips.zip"
        if "zip" in kind:
            archive.parent.mkdir(exist_ok=True)
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
                for file in files:
                    out.write(file, file.relative_to(folder))
        if kind == "zip":
            return str(archive)
        root = str(request.getfixturevalue("s3_root"))
        client = raw_client(request.getfixturevalue("s3_endpoint"))
        bucket, prefix = split_address(root)
        if kind == "zip in a bucket":
            client.put_object(Bucket=bucket, Key=f"{prefix}/clips.zip", Body=archive.read_bytes())
            return f"{root}/clips.zip"
        client.put_object(Bucket=bucket, Key=f"{prefix}/clips/", Body=b"")
        for file in files:
            name = f"{prefix}/clips/{file.relative_to(folder).as_posix()}"
            client.put_object(Bucket=bucket, Key=name, Body=file.read_bytes())
        return f"{root}/clips"

    return put


@pytest.fixture
def fsdd(tmp_path: Path) -> Path:
    """Twenty clips in FSDD's layout, with what else lies in such a folder."""
    folder = tmp_path / "fsdd"
    (folder / "recordings").mkdir(parents=True)
    for digit in range(10):
        for take in range(2):
            noise = np.random.default_rng(10 * digit + take).uniform(-0.5, 0.5, 800).astype(np.float32)
            soundfile.write(folder / "recordings" / f"{digit}_theo_{take}.wav", noise, 8000)
    (folder / "README.md").write_text("digits")
    (folder / ".DS_Store").write_bytes(b"\0")
    return folder


def own(folder: Path) -> Prepared:
    clips = sorted(audio_below(folder))
    table = folder / "clips.csv"
    rows = [f"{clip.relative_to(folder).as_posix()},digit {clip.stem[0]},{clip.stem[-1]}" for clip in clips]
    table.write_text("path,classname,fold\n" + "\n".join(rows) + "\n")
    return Prepared(*read_csv_dataset(table, folder, name="digits"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_registered_dataset_has_the_same_manifest_wherever_it_lies(
    kind: str, place: Place, fsdd: Path, tmp_path: Path
) -> None:
    calls: list[tuple[int, int]] = []
    address = place(kind, fsdd)
    found = find_manifest("FSDD", address, tmp_path / "root", lambda *call: calls.append(call))
    assert found == find_manifest("FSDD", fsdd, tmp_path / "root")
    assert calls == [(done, 20) for done in range(1, 21)]


@pytest.mark.parametrize("kind", KINDS)
def test_ones_own_dataset_is_compared_wherever_it_lies(kind: str, place: Place, fsdd: Path, tmp_path: Path) -> None:
    prepared = own(fsdd)
    write_prepared(tmp_path / "root", prepared)
    assert find_manifest("digits", open_audio(place(kind, fsdd)), tmp_path / "root") == prepared


@pytest.mark.parametrize("kind", KINDS)
def test_clips_that_are_missing_or_others_are_named(kind: str, place: Place, fsdd: Path, tmp_path: Path) -> None:
    write_prepared(tmp_path / "root", own(fsdd))
    copy = shutil.copytree(fsdd, tmp_path / "copy")
    (copy / "recordings" / "3_theo_1.wav").write_bytes(b"another")
    with pytest.raises(InputError, match=r"1 of 20 clips of digits are not those .*first recordings/3_theo_1\.wav"):
        find_manifest("digits", place(kind, copy), tmp_path / "root")
    gone = shutil.copytree(fsdd, tmp_path / "gone")
    (gone / "recordings" / "5_theo_0.wav").unlink()
    if kind in ("zip", "folder"):
        with pytest.raises(InputError, match=r"1 of 20 clips of digits are missing, first recordings/5_theo_0\.wav"):
            find_manifest("digits", place(kind, gone), tmp_path / "root")


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_read_by_their_path_also_in_another_process(kind: str, place: Place, fsdd: Path) -> None:
    source = pickle.loads(pickle.dumps(open_audio(place(kind, fsdd))))
    assert isinstance(source, AudioSource)
    content = (fsdd / "recordings" / "7_theo_1.wav").read_bytes()
    assert source.read("recordings/7_theo_1.wav") == content
    assert source.digests(["recordings/7_theo_1.wav"]) == {
        "recordings/7_theo_1.wav": hashlib.sha256(content).hexdigest()
    }
    for path in ("recordings/none.wav", "../fsdd/README.md", "recordings", "/etc/hostname", ""):
        with pytest.raises(InputError, match="no file") as caught:
            source.read(path)
        assert caught.value.where == source.uri


@pytest.mark.parametrize("kind", KINDS[1:])
def test_the_tree_has_real_tables_and_empty_clips_and_ends(kind: str, place: Place, fsdd: Path) -> None:
    with open_audio(place(kind, fsdd)).tree() as folder:
        assert (folder / "README.md").read_text() == "digits"
        assert len(list(audio_below(folder))) == 20
        assert all(clip.stat().st_size == 0 for clip in audio_below(folder))
        assert not (folder / ".DS_Store").exists()
    assert not folder.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_about_the_tree_names_the_source(kind: str, place: Place, fsdd: Path, tmp_path: Path) -> None:
    address = place(kind, fsdd)
    with pytest.raises(InputError) as caught:
        find_manifest("ESC10", address, tmp_path / "root")
    assert address in str(caught.value)
    assert "sept-audio-" not in str(caught.value)


def archive_of(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, data in members:
            out.writestr(name, data)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["../a.wav"], "would leave its folder"),
        (["/a.wav"], "would leave its folder"),
        (["b/../../a.wav"], "would leave its folder"),
        (["C:/a.wav"], "would leave its folder"),
        (["a.wav", "a.wav"], "is in it twice"),
        (["b/a.wav", "b//a.wav"], "is in it twice"),
        (["a", "a/b.wav"], "conflicts with another name"),
        (["x" * 300 + ".wav"], r"'x{60}\.\.\.' cannot be a file's name here"),
    ],
)
def test_names_in_an_archive_that_could_do_harm_are_refused(names: list[str], why: str, tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.zip", *((name, b"x") for name in names))
    with pytest.raises(InputError, match=why) as caught, open_audio(archive).tree():
        pass
    assert caught.value.where == str(archive)
    assert "\n" not in str(caught.value)


def changed(path: Path, at: int, field: bytes) -> Path:
    """An archive of one member with a field of its entry in the table of contents changed."""
    data = bytearray(archive_of(path, ("a.wav", b"some content")).read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + at : entry + at + len(field)] = field
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("at", "field", "why"),
    [
        (8, b"\1\0", "is encrypted"),
        (24, (3_000_000_000).to_bytes(4, "little"), r"has 3\.0 GB, more than the 2 GB"),
        (24, b"\4\0\0\0", "is damaged in the archive"),
        (16, b"\0\0\0\0", "is damaged in the archive"),
        (38, (0o120777 << 16).to_bytes(4, "little"), "is a link"),
        (0, b"PKxx", "is not a sound zip archive"),
    ],
)
def test_members_that_are_not_what_they_state_are_refused(at: int, field: bytes, why: str, tmp_path: Path) -> None:
    source = open_audio(changed(tmp_path / "a.zip", at, field))
    with pytest.raises(InputError, match=why):
        source.read("a.wav")


def test_an_archive_that_is_replaced_is_opened_anew(tmp_path: Path) -> None:
    source = open_audio(archive_of(tmp_path / "a.zip", ("a.wav", b"first")))
    assert source.read("a.wav") == b"first"
    archive_of(tmp_path / "a.zip", ("a.wav", b"second one"))
    assert source.read("a.wav") == b"second one"


@pytest.mark.parametrize(("name", "why"), [("nowhere", "folder does not exist"), ("nowhere.zip", "no such archive")])
def test_a_place_that_is_not_there_is_named(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name}: {why}"), open_audio(tmp_path / name).tree():
        pass


def test_what_is_neither_a_folder_nor_an_archive_is_refused(tmp_path: Path, s3_root: str) -> None:
    (tmp_path / "a.tar").write_bytes(b"x")
    with pytest.raises(InputError, match="neither a folder nor"), open_audio(tmp_path / "a.tar").tree():
        pass
    (tmp_path / "a.zip").write_bytes(b"x")
    with pytest.raises(InputError, match="not a sound zip"), open_audio(tmp_path / "a.zip").tree():
        pass
    with pytest.raises(InputError, match="is not a place"):
        open_audio("https://example.org/a.zip")
    for address in (f"{s3_root}/none", f"{s3_root}/none.zip"):
        with pytest.raises(InputError, match="there is nothing at"), open_audio(address).tree():
            pass


def ready(path: str, count: int) -> bool:
    return path.endswith(".wav") and count == 0


def test_damaged_and_failing_answers_of_the_server_are_asked_for_again(
    place: Place, fsdd: Path, tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = place("prefix", fsdd)
    expected = find_manifest("FSDD", fsdd, tmp_path / "root")
    with proxying(s3_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        # The first request for each clip goes wrong, in all ways in turn.
        proxy.choose = lambda method, path, count: FAULTS[int(path[-12]) % len(FAULTS)] if ready(path, count) else ""
        assert find_manifest("FSDD", address, tmp_path / "root") == expected
        assert set(FAULTS) <= set(proxy.faults)


@pytest.mark.audio
@pytest.mark.parametrize("dataset", ["ESC10", "FSDD"])
def test_real_clips_have_the_same_manifest_in_an_archive(dataset: str, place: Place, tmp_path: Path) -> None:
    folder = SHARED_AUDIO / dataset.lower()
    if not folder.is_dir():
        pytest.skip(f"the audio of {dataset} is not beside the project")
    assert find_manifest(dataset, place("zip", folder), tmp_path) == find_manifest(dataset, folder, tmp_path)
