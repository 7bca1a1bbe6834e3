"""Damaged sound files: a reason or the sound, never a crash and, where the format can tell, never anything else."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import audio_damage
import pytest

FILES = 1440
AUDIO = Path(__file__).parents[4] / "shared" / "audio"
CHECKED = ("flac", "ogg")  # formats with checksums of all that becomes sound
MP3_FRAME = 1152


@pytest.fixture(scope="module", params=["made", pytest.param("real", marks=pytest.mark.audio)])
def audio(request: pytest.FixtureRequest) -> Path | None:
    """The folder of real clips; None for made ones."""
    if request.param == "made":
        return None
    if not AUDIO.is_dir():
        pytest.skip("the real audio is not at ../shared/audio beside the project")
    return AUDIO


@pytest.fixture(scope="module")
def outcomes(audio: Path | None) -> list[dict[str, Any]]:
    """What became of each of ``audio_damage.damaged(FILES, audio)``, decoded in another process."""
    command = [sys.executable, audio_damage.__file__, str(FILES), *([str(audio)] if audio else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"file {lines[-1]['number']} ended the process with {done.returncode}: {done.stderr}"
    return lines[1::2]


@cache
def original(data: bytes) -> dict[str, Any]:
    return audio_damage.outcome(data)


@pytest.mark.parametrize("kind", audio_damage.KINDS)
def test_each_damaged_file_gives_a_reason_or_its_sound(
    kind: str, audio: Path | None, outcomes: list[dict[str, Any]]
) -> None:
    files = audio_damage.damaged(FILES, audio)
    assert len(outcomes) == len(files)
    refused = 0
    for number, (file, outcome) in enumerate(zip(files, outcomes, strict=True)):
        if file.kind != kind:
            continue
        if "reason" in outcome:
            assert outcome["reason"], number
            assert "\n" not in str(outcome["reason"]), number
            refused += 1
            continue
        before = original(file.original)
        assert outcome["finite"], number
        assert outcome["rate"] == before["rate"], number
        if kind in CHECKED:
            assert outcome["digest"] == before["digest"], number
        elif kind == "mp3":
            # Bits within a frame are not protected. Where the encoder's note in the first frame is wiped out without a
            # trace, this frame and the padding that the note names stay in; nothing is ever lost.
            assert 0 <= outcome["samples"] - before["samples"] <= 3 * MP3_FRAME, number
        else:
            # No reader can tell flipped bits of samples from samples.
            assert outcome["samples"] == before["samples"], number
    assert refused > FILES / len(audio_damage.KINDS) / 4


def test_what_is_not_damaged_is_decoded_in_all_formats() -> None:
    for kind in audio_damage.KINDS:
        first, second = (original(data) for data in audio_damage.originals(kind))
        assert (first["rate"], first["samples"]) == (16000, 8000)
        assert (second["rate"], second["samples"]) == (44100, 13230)
