"""Archives of unknown origin."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline.data.unpack as unpacking
from pipeline.data.audio.open import open_audio
from pipeline.data.unpack import is_safe, unpack
from sept_core.errors import InputError


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return path


def test_files_come_out_in_their_folders_without_what_macos_adds(tmp_path: Path) -> None:
    members = {"Set/audios/a.wav": b"a", "Set/train.csv": b"t", "__MACOSX/Set/._train.csv": b"x", "Set/.DS_Store": b"x"}
    assert unpack(archive(tmp_path / "set.zip", members), tmp_path) == 2
    assert (tmp_path / "Set" / "audios" / "a.wav").read_bytes() == b"a"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.wav", "set.zip", "train.csv"]


@pytest.mark.parametrize("name", ["../out.wav", "/etc/out.wav", "a/../../out.wav", "C:\\out.wav", "..\\out.wav", "\\x"])
def test_a_path_that_leaves_the_folder_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    packed = archive(tmp_path / "evil.zip", {"first.wav": b"1", name: b"2"})
    with pytest.raises(InputError, match="would leave its folder"):
        unpack(packed, inside)
    assert list(inside.iterdir()) == []
    assert not is_safe(name)


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as target:
        target.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="'link' is a link"):
        unpack(tmp_path / "link.zip", tmp_path)


def test_what_is_there_stays_and_what_is_damaged_or_gone_comes_again(tmp_path: Path) -> None:
    packed = archive(tmp_path / "set.zip", {"a": b"aaaa", "b": b"bbbb", "c": b"cccc"})
    unpack(packed, tmp_path)
    before = (tmp_path / "a").stat().st_mtime_ns
    (tmp_path / "b").write_bytes(b"xxxx")
    (tmp_path / "c").unlink()
    unpack(packed, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in "abc"] == [b"aaaa", b"bbbb", b"cccc"]
    assert (tmp_path / "a").stat().st_mtime_ns == before


def test_a_damaged_archive_is_refused_and_leaves_no_damaged_file(tmp_path: Path) -> None:
    packed = archive(tmp_path / "set.zip", {"a": bytes(range(256)) * 40})
    data = bytearray(packed.read_bytes())
    data[60] ^= 0xFF
    packed.write_bytes(data)
    with pytest.raises(InputError, match=r"set\.zip: is not a sound zip archive .*; download it again"):
        unpack(packed, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]
    (tmp_path / "none.zip").write_bytes(b"no archive")
    with pytest.raises(InputError, match="is not a sound zip archive"):
        unpack(tmp_path / "none.zip", tmp_path)


ENTRY, END = b"PK\1\2", b"PK\5\6"


def changed(data: bytes, mark: bytes, at: int, field: bytes, which: int = 0) -> bytes:
    """An archive with a field of a record changed."""
    found = -1
    for _ in range(which + 1):
        found = data.index(mark, found + 1)
    return data[: found + at] + field + data[found + at + len(field) :]


def zip64_that_lies(data: bytes, content: bytes) -> bytes:
    """An archive whose member says that its sizes stand in an extra field, and has ``content`` there."""
    entry = data.index(ENTRY)
    name = struct.unpack_from("<H", data, entry + 28)[0]
    extra = struct.pack("<HH", 1, len(content)) + content
    data = changed(data, ENTRY, 20, b"\xff" * 8)
    data = changed(data, ENTRY, 30, struct.pack("<H", len(extra)))
    data = data[: entry + 46 + name] + extra + data[entry + 46 + name :]
    return changed(
        data, END, 12, struct.pack("<I", struct.unpack_from("<I", data, data.index(END) + 12)[0] + len(extra))
    )


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "members that share bytes": (
        lambda data: changed(data, ENTRY, 42, bytes(4), which=1),
        "overlaps with what follows it",
    ),
    "a member that reaches into the table": (
        lambda data: changed(data, ENTRY, 20, struct.pack("<I", 10_000), which=1),
        "overlaps with what follows it",
    ),
    "a member beyond the end": (
        lambda data: changed(data, ENTRY, 42, struct.pack("<I", 2**31), which=1),
        "overlaps with what follows it|is not a sound zip archive",
    ),
    "a table before the beginning": (
        lambda data: changed(data, END, 12, struct.pack("<II", 2**31, 2**31)),
        "is not a sound zip archive",
    ),
    "a name that is no UTF-8": (
        lambda data: changed(changed(data, ENTRY, 8, b"\0\x08"), ENTRY, 46, b"\xff"),
        "is not a sound zip archive",
    ),
    "zip64 with half a size": (lambda data: zip64_that_lies(data, b"\1\2\3"), "is not a sound zip archive"),
    "zip64 with a size of exabytes": (lambda data: zip64_that_lies(data, b"\xff" * 7 + b"\x7f" + bytes(8)), "GB"),
    "a method that is not there": (
        lambda data: changed(data, ENTRY, 10, b"\x63\0"),
        "is not a sound zip archive|is damaged in the archive",
    ),
    "more bytes stated than there are": (
        lambda data: changed(data, ENTRY, 24, struct.pack("<I", 1001)),
        "does not have the size that it states|is damaged in the archive",
    ),
    "encrypted": (lambda data: changed(data, ENTRY, 8, b"\1\0"), "is encrypted"),
}


def unpacked(packed: Path) -> None:
    unpack(packed, packed.parent)


def read_as_audio(packed: Path) -> None:
    source = open_audio(packed)
    for name in source.sizes():
        source.read(name)


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("use", [unpacked, read_as_audio])
def test_an_archive_that_lies_is_one_line_and_leaves_nothing(
    kind: str, use: Callable[[Path], object], tmp_path: Path
) -> None:
    change, says = HOSTILE[kind]
    packed = archive(tmp_path / "set.zip", {"a.wav": bytes(1000), "b.wav": bytes(range(256))})
    packed.write_bytes(change(packed.read_bytes()))
    with pytest.raises(InputError, match=rf"set\.zip: .*({says})") as raised:
        use(packed)
    assert len(str(raised.value)) < 400
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]


def test_an_archive_that_unpacks_to_a_hundred_times_its_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = archive(tmp_path / "set.zip", {"a.wav": bytes(3_000_000)})
    assert unpack(packed, tmp_path) == 1  # a little silence is no bomb
    monkeypatch.setattr(unpacking, "_FROM_BYTES", 1_000_000)
    for use in (lambda: unpack(packed, tmp_path), lambda: open_audio(tmp_path / "other.zip").sizes()):
        (tmp_path / "other.zip").write_bytes(packed.read_bytes())
        with pytest.raises(InputError, match=r"holds 0\.0 MB that unpack to 0\.0 GB; don't use it"):
            use()


def test_an_archive_of_too_many_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_MOST_MEMBERS", 2)
    packed = archive(tmp_path / "set.zip", dict.fromkeys("abc", b""))
    with pytest.raises(InputError, match="has 3 members, more than the 2 that a data set may have"):
        unpack(packed, tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b.wav"), ("a/b.wav", "a"), ("a/b", "a//b"), ("a/./b", "a/b")])
def test_names_that_cannot_stand_beside_each_other_are_refused(names: tuple[str, str], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as target:
        for at, name in enumerate(names):
            target.writestr(name, str(at))
    with pytest.raises(InputError, match="is in it twice; don't use it"):
        unpack(tmp_path / "set.zip", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]


def test_an_archive_does_not_replace_itself_and_one_within_it_stays_packed(tmp_path: Path) -> None:
    inner = archive(tmp_path / "inner.zip", {"a.wav": b"a"}).read_bytes()
    with pytest.raises(InputError, match="contains a file with its own name"):
        unpack(archive(tmp_path / "set.zip", {"./set.zip": inner}), tmp_path)
    unpack(archive(tmp_path / "other.zip", {"nested.zip": inner}), tmp_path)
    assert (tmp_path / "nested.zip").read_bytes() == inner
    assert not (tmp_path / "a.wav").exists()
