"""Archives of unknown origin."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from pipeline.unpack import is_safe, unpack
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
