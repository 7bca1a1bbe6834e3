"""Clips and manifests: validation, digest, JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sept_core.datasets import Clip, Manifest
from sept_core.errors import InputError


def clip(clip_id: str = "1-100-A", **changes: str) -> Clip:
    values = {
        "clip_id": clip_id,
        "path": f"001 - Dog bark/{clip_id}.ogg",
        "classname": "dog bark",
        "fold": "1",
        "group": "100",
        "sha256": "0" * 64,
    }
    return Clip(**{**values, **changes})


def manifest(*clips: Clip) -> Manifest:
    return Manifest("ESC10", clips or (clip("1-100-A"), clip("2-200-A", fold="2", group="200", sha256="1" * 64)))


def test_clips_are_sorted_whatever_order_they_are_given_in() -> None:
    first, second = clip("1-100-A"), clip("1-100-B")
    assert manifest(second, first) == manifest(first, second)
    assert manifest(second, first).clips == (first, second)


def test_a_manifest_without_clips_is_refused() -> None:
    with pytest.raises(InputError, match="manifest of ESC10: no clips"):
        Manifest("ESC10", ())


def test_a_clip_id_given_twice_is_refused_with_both_files() -> None:
    with pytest.raises(InputError, match=r"clip id 'x' stands for both 'a/x\.ogg' and 'b/x\.ogg'"):
        manifest(clip("x", path="a/x.ogg"), clip("x", path="b/x.ogg"))


def test_an_unknown_class_or_fold_of_a_registered_dataset_is_refused_with_the_clip() -> None:
    with pytest.raises(
        InputError, match=r"unknown class 'cat' of clip '001 - Dog bark/1-100-A\.ogg'; classes are baby"
    ):
        manifest(clip(classname="cat"))
    with pytest.raises(InputError, match=r"unknown fold '6' of clip .*; folds are 1, 2, 3, 4, 5"):
        manifest(clip(fold="6"))


def test_a_fixed_split_has_folds_train_and_test() -> None:
    clips = (clip("a", classname="siren", fold="train"), clip("b", classname="siren", fold="test"))
    assert len(Manifest("SESA", clips).clips) == 2
    with pytest.raises(InputError, match="folds are train, test"):
        Manifest("SESA", (clip("a", classname="siren", fold="1"),))


def test_an_unregistered_dataset_may_have_any_classes() -> None:
    assert Manifest("my birds", (clip(classname="wren", fold="north"),)).dataset == "my birds"


@pytest.mark.parametrize("field", ["clip_id", "path", "classname", "fold"])
def test_an_empty_field_is_refused(field: str) -> None:
    with pytest.raises(InputError, match=f"{field} is empty"):
        clip(**{field: ""})


@pytest.mark.parametrize("path", ["/abs/a.ogg", "../a.ogg", "a/../../b.ogg", "a\\b.ogg"])
def test_a_path_that_leaves_the_audio_folder_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="not relative to the audio folder"):
        clip(path=path)


@pytest.mark.parametrize("digest", ["", "0" * 63, "G" * 64, "0" * 64 + "\n"])
def test_a_malformed_content_digest_is_refused(digest: str) -> None:
    with pytest.raises(InputError, match="is not 64 hex digits"):
        clip(sha256=digest)


def test_digest_is_a_known_value_that_must_never_change() -> None:
    # Every trial's signature contains it: a change here orphans all stored trials.
    assert manifest().digest == "68aa384c444d77bc"


def test_digest_ignores_where_the_files_lie() -> None:
    original = manifest(clip())
    assert manifest(replace(original.clips[0], path="elsewhere/clip.wav")).digest == original.digest


@pytest.mark.parametrize(
    "change", [{"clip_id": "1-100-B"}, {"classname": "rain"}, {"fold": "2"}, {"group": "101"}, {"sha256": "2" * 64}]
)
def test_digest_changes_with_everything_else(change: dict[str, str]) -> None:
    assert manifest(clip(**change)).digest != manifest(clip()).digest


def test_a_manifest_survives_json() -> None:
    original = manifest()
    assert Manifest.from_json(json.loads(json.dumps(original.to_json()))) == original


def test_damaged_json_is_refused_in_one_line() -> None:
    good = json.loads(json.dumps(manifest().to_json()))
    swapped = json.loads(json.dumps(good))
    swapped["clips"][0]["classname"] = "rain"
    damages = [
        ({}, "not a manifest"),
        ([], "not a manifest"),
        ({**good, "more": 1}, "not a manifest"),
        ({**good, "clips": {}}, "clips is not a list"),
        ({**good, "clips": [{"clip_id": "a"}]}, r"clips\[0\] does not have"),
        ({**good, "clips": [{**good["clips"][0], "fold": 1}]}, r"clips\[0\] does not have"),
        (swapped, "is stored"),
    ]
    for data, message in damages:
        with pytest.raises(InputError, match=message) as caught:
            Manifest.from_json(data)
        assert "\n" not in str(caught.value)
