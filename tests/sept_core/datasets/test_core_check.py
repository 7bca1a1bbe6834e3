"""What the check of a data set finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from layout_folders import noise

from sept_core.datasets import DatasetInfo, Findings, Manifest, check_manifest, read_layout
from sept_core.datasets.layouts.base import Found
from sept_core.datasets.layouts.reading import hash_clips
from sept_core.errors import InputError

INFO = DatasetInfo("toy", "events", ("a", "b"), "{}", ("1", "2"), "kfold")
SHARED_AUDIO = Path(__file__).parents[4] / "shared" / "audio"
real_audio = pytest.mark.skipif(not SHARED_AUDIO.is_dir(), reason="no audio folders beside the project")


@pytest.fixture
def toy(tmp_path: Path) -> Manifest:
    """Two classes, two folds, 16 clips of each in both."""
    found = []
    for name in INFO.classnames:
        for number in range(32):
            file = tmp_path / f"{name}{number:02d}.wav"
            noise(file)
            found.append(Found(file, name, INFO.folds[number % 2], f"{name}{number}"))
    return Manifest("toy", hash_clips(INFO, tmp_path, found))


def whats(findings: Findings, severity: str) -> tuple[str, ...]:
    """What was found, without what to do about it."""
    return tuple(finding.what for finding in findings.all if finding.severity == severity)


def changed(manifest: Manifest, **changes: dict[str, str]) -> Manifest:
    clips = [replace(clip, **changes.get(clip.clip_id, {})) for clip in manifest.clips]
    return Manifest("toy", tuple(clips))


def test_a_sound_dataset_has_no_findings(toy: Manifest, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    findings = check_manifest(toy, tmp_path, INFO, lambda done, total: calls.append((done, total)))
    assert findings.all == ()
    assert calls[-1] == (64, 64)
    findings.refuse()


def test_missing_unreadable_empty_and_other_files_are_errors(toy: Manifest, tmp_path: Path) -> None:
    (tmp_path / "a00.wav").unlink()
    (tmp_path / "a01.wav").write_bytes(b"RIFFnonsense")
    soundfile.write(tmp_path / "a02.wav", np.zeros(0, np.float32), 8000)
    noise(tmp_path / "other.wav")
    (tmp_path / "other.wav").replace(tmp_path / "a03.wav")
    with_digests = Manifest(
        "toy",
        tuple(
            replace(clip, sha256=_digest(tmp_path / clip.path)) if clip.clip_id in ("a01", "a02") else clip
            for clip in toy.clips
        ),
    )
    errors = whats(check_manifest(with_digests, tmp_path, INFO), "error")
    assert errors[0] == "1 of 64 clips are missing: a00.wav"
    assert errors[1] == "1 of 64 clips are not those of the manifest: a03.wav"
    assert errors[2].startswith("2 of 64 clips cannot be read: a01.wav (cannot be decoded as audio")
    assert errors[2].endswith("a02.wav (the clip has no samples)")


def _digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_silent_clip_is_a_warning(toy: Manifest, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a00.wav", np.zeros(800, np.float32), 8000)
    findings = check_manifest(changed(toy, a00={"sha256": _digest(tmp_path / "a00.wav")}), tmp_path, INFO)
    assert findings.warnings == ("1 of 64 clips have no sound: a00.wav; sept embed leaves them out with --skip-bad",)
    assert findings.errors == ()


def test_a_test_clip_that_is_trained_on_under_another_name_is_an_error_with_both_names(toy: Manifest) -> None:
    copied = changed(toy, a01={"sha256": toy.clips[0].sha256})
    found = check_manifest(copied, None, INFO)
    assert whats(found, "error") == (
        "fold 1: 1 test clip with the content of a training clip: a01 = a00",
        "fold 2: 1 test clip with the content of a training clip: a00 = a01",
    )
    assert "in the CSV list each content once, or give both clips the same fold" in found.errors[0]


def test_a_source_on_both_sides_is_an_error(toy: Manifest) -> None:
    errors = check_manifest(changed(toy, a01={"group": "a0"}), None, INFO).errors
    assert errors[0].startswith("fold 1: 1 group in both training and test: a0; in the CSV give all clips of one group")


def test_one_content_under_two_classes_is_an_error_and_twice_in_a_class_a_warning(toy: Manifest) -> None:
    same = {clip.clip_id: clip.sha256 for clip in toy.clips}
    torn = check_manifest(changed(toy, b00={"sha256": same["a00"]}), None, INFO)
    line = "1 sound has more than one label (a00 = b00); keep one of two rows in the CSV, 'a00' (a) or 'b00' (b)"
    assert torn.errors == (line,)
    alike = check_manifest(changed(toy, a02={"sha256": same["a00"]}), None, INFO)
    assert alike.errors == ()
    follows = "one copy may be trained on while another is held out and each copy counts in the test"
    assert alike.warnings == (f"1 sound more than once in a class: a00 = a02; {follows}",)


def test_many_copies_of_one_content_make_a_line_and_no_more(toy: Manifest) -> None:
    copies = {clip.clip_id: {"sha256": toy.clips[0].sha256} for clip in toy.clips[:32:2]}
    (line,) = check_manifest(changed(toy, **copies), None, INFO).warnings
    assert line.startswith("1 sound more than once in a class: a00 = a02 = a04 = 13 more; one copy may be trained on")


def test_an_empty_class_is_an_error(toy: Manifest) -> None:
    findings = check_manifest(toy, None, replace(INFO, classnames=("a", "b", "c")))
    assert whats(findings, "error") == ("1 of 3 classes have no clips: c",)


def test_a_class_with_nothing_to_train_on_is_an_error_and_with_little_a_warning(toy: Manifest) -> None:
    one_sided = check_manifest(Manifest("toy", toy.clips[:1] + toy.clips[32:]), None, INFO)
    assert whats(one_sided, "error") == (
        "fold 1: no clips to train on of a",
        "fold 2: no clips of the base classes to test on",
    )
    assert "fold 2: no clips to test on of a" in whats(one_sided, "warning")
    assert "fold 2: fewer than 16 clips to draw shots from: a 1" in whats(one_sided, "warning")


def test_a_fold_without_clips_is_an_error(toy: Manifest) -> None:
    findings = check_manifest(toy, None, replace(INFO, folds=("1", "2", "3")))
    assert whats(findings, "error") == ("fold 3: no clips to test on",)


def test_a_count_other_than_the_published_one_is_a_warning(toy: Manifest) -> None:
    of_65 = replace(INFO, clips=((65, ""),))
    assert check_manifest(toy, None, of_65).warnings == ("64 clips; toy is published with 65",)


def test_of_two_published_sizes_both_are_named_and_neither_is_a_warning(toy: Manifest) -> None:
    sizes = replace(INFO, clips=((64, "speech"), (90, "speech and song")))
    findings = check_manifest(toy, None, sizes)
    assert findings.warnings == findings.errors == ()
    assert findings.notes == ("64 clips (speech); toy is published with 64 (speech) or 90 (speech and song)",)
    assert check_manifest(toy, None, replace(sizes, clips=((60, "speech"), (90, "all")))).warnings == (
        "64 clips; toy is published with 60 (speech) or 90 (all)",
    )


def test_every_error_says_what_to_do(toy: Manifest, tmp_path: Path) -> None:
    same = {clip.clip_id: clip.sha256 for clip in toy.clips}
    broken = changed(toy, b00={"sha256": same["a00"]}, a01={"group": "a0"}, a03={"sha256": same["a04"]})
    for findings in (
        check_manifest(broken, tmp_path / "elsewhere", INFO),
        check_manifest(toy, None, replace(INFO, classnames=("a", "b", "c"), folds=("1", "2", "3"))),
    ):
        errors = [finding for finding in findings.all if finding.severity == "error"]
        assert errors
        assert all(finding.fix for finding in errors)


def test_refusing_names_the_first_error_and_how_many_there_are(toy: Manifest) -> None:
    findings = check_manifest(changed(toy, a01={"group": "a0"}), None, INFO)
    with pytest.raises(
        InputError, match=r"toy: fold 1: 1 group .*: a0 \(and 1 more error\); in the CSV .*; sept data check"
    ):
        findings.refuse("toy")


@pytest.mark.audio
@real_audio
def test_the_real_esc10_has_no_errors() -> None:
    from sept_core.datasets import DATASETS

    root = SHARED_AUDIO / "esc10"
    findings = check_manifest(read_layout("ESC10", root), root, DATASETS["ESC10"])
    assert findings.errors == ()
