"""A person is told in time which clips the encoder has heard, whatever they were encoded as, and that none is used."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import soundfile
import yaml

from pipeline.cli import main
from pipeline.data.prepared import own_datasets
from pipeline.plan.planning import plan_sweep
from pipeline.spec import load_sweep
from pipeline.store import find_embeddings
from sept_core.datasets.pretraining import heard_rows
from sept_core.encoders import load_encoder
from sept_core.errors import InputError
from sept_core.trial import TrialInputs, make_config

AUDIO = Path(__file__).parents[4] / "shared" / "audio" / "fsdd" / "recordings"

pytestmark = [
    pytest.mark.audio,
    pytest.mark.skipif(not AUDIO.is_dir(), reason="no recordings of spoken digits beside the project"),
    pytest.mark.timeout(180),
]

WORDS = ("zero", "one", "two", "three")
HEARD, UNHEARD = ("george", "lucas"), ("nicolas", "theo", "yweweler")
TAKES = 3


def sept(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert end.value.code == code, said
    return " ".join((said.out + said.err).split())


def encoded_again(folder: Path) -> list[str]:
    """Digits as Ogg Vorbis in a folder, and lines of a CSV with a speaker to a fold; two of the speakers were heard."""
    lines = []
    for digit, word in enumerate(WORDS):
        for speaker in (*HEARD, *UNHEARD):
            for take in range(TAKES):
                name = f"{word}-{speaker}-{take}.ogg"
                samples, rate = soundfile.read(AUDIO / f"{digit}_{speaker}_{take}.wav")
                soundfile.write(folder / name, samples, rate, format="OGG", subtype="VORBIS")
                lines.append(f"{name},{word},{speaker}")
    return lines


def write_csv(folder: Path, lines: list[str]) -> Path:
    file = folder / "voices.csv"
    file.write_text("\n".join(["path,classname,fold", *lines]), encoding="utf-8")
    return file


def spec_of(folder: Path, **changes: object) -> Path:
    content = {
        "name": "heard",
        "encoder": "mini",
        "datasets": ["voices"],
        "methods": ["coop"],
        "trials": 1,
        "shots": 8,
        "training": {"epochs": 1, "report_every": 1, "batch_size": 16},
        "resources": {"workers": 1},
        "spaces": {"coop": {"n_ctx": {"fixed": 2}, "lr": {"fixed": 0.01}}},
        **changes,
    }
    file = folder / "heard.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def test_clips_that_were_encoded_again_are_named_by_embed_and_plan_and_used_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, root = tmp_path / "voices", tmp_path / "runs"
    folder.mkdir()
    file = write_csv(tmp_path, encoded_again(folder))
    sept(capsys, "data", "prepare", "voices", "--csv", file, "--audio", folder, "--root", root)
    told = "mini was trained on 24 clips of voices; trials neither train nor test on them"
    assert told in sept(capsys, "embed", "voices", "--audio", folder, "--root", root)
    # Embedded already, it is said again.
    assert told in sept(capsys, "embed", "voices", "--audio", folder, "--root", root)

    encoder = load_encoder("mini")
    table = find_embeddings(encoder.fingerprint, "voices", root)
    heard = heard_rows(table, encoder.pretraining)
    assert {table.folds[row] for row in heard} == {*HEARD}
    assert len(heard) == len(WORDS) * len(HEARD) * TAKES
    config = make_config(TrialInputs(encoder, table), "coop", shots=2, epochs=1)
    assert config.folds == UNHEARD
    assert config.left_out["voices"].startswith("24 clips, ")

    plan = plan_sweep(load_sweep(spec_of(tmp_path, shots=5), own=own_datasets(root)), root, calibrate_s=0)
    assert plan.notes == (told,)
    plan = plan_sweep(load_sweep(spec_of(tmp_path), own=own_datasets(root)), root, calibrate_s=0)
    assert plan.notes[0] == told
    assert [note.split(":")[0] for note in plan.notes[1:]] == [f"voices, test fold {fold}" for fold in UNHEARD]
    assert "6 of 12; mini was trained on the others" in plan.notes[1]
    # All six are drawn, and nothing is left to select by: known before a trial starts.
    (missing,) = plan.missing
    assert "no held-out clips besides the 24 clips that the encoder was pretrained on" in missing.what
    assert told in sept(capsys, "sweep", "plan", spec_of(tmp_path, shots=2), "--root", root, "--calibrate", "0")


def test_one_recording_on_both_sides_of_ones_own_split_is_found_though_its_bytes_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, root = tmp_path / "voices", tmp_path / "runs"
    folder.mkdir()
    lines = [line for line in encoded_again(folder) if not line.endswith(HEARD)]
    shutil.copy(AUDIO / "1_theo_0.wav", folder / "again.wav")
    # Two more that break no split: a copy beside its original, and one under another class.
    shutil.copy(AUDIO / "1_theo_1.wav", folder / "twin.wav")
    shutil.copy(AUDIO / "2_theo_0.wav", folder / "torn.wav")
    file = write_csv(tmp_path, [*lines, "again.wav,one,nicolas", "twin.wav,one,theo", "torn.wav,three,theo"])
    sept(capsys, "data", "prepare", "voices", "--csv", file, "--audio", folder, "--root", root)
    fix = "again = one-theo-0; give both clips of a pair the same group (or fold) in the CSV, or leave one out; then"
    said = sept(capsys, "embed", "voices", "--audio", folder, "--root", root)
    line = "trials refuse this: clips to test on sound the same as clips to train on, encoded twice: "
    twice = "1 pair of clips in one class sound the same, encoded twice: one-theo-1 = twin; one copy may be trained on"
    torn = (
        "1 pair of clips that sound the same have different labels, 1 of them of a base and a new class: "
        "torn (three) = two-theo-0 (two); they are used as they are"
    )
    assert f"warning: {line}{fix}" in said
    assert twice in said
    assert torn in said
    said = sept(capsys, "data", "check", "voices", "--store", "--json", "--root", root, code=2)
    assert fix in said
    assert twice in said
    assert torn in said
    assert "--force" not in said
    encoder = load_encoder("mini")
    table = find_embeddings(encoder.fingerprint, "voices", root)
    with pytest.raises(InputError, match="sound the same: one-theo-0 = again; in the CSV give both clips of a pair"):
        make_config(TrialInputs(encoder, table), "coop", shots=2, epochs=1)


def test_prepare_names_what_it_can_without_listening(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "voices"
    folder.mkdir()
    lines = []
    for digit, word in enumerate(WORDS):
        for speaker in (*HEARD, *UNHEARD):
            for take in range(TAKES):
                shutil.copy(AUDIO / f"{digit}_{speaker}_{take}.wav", folder / f"{word}{speaker}{take}.wav")
                lines.append(f"{word}{speaker}{take}.wav,{word},{speaker}")
    file = write_csv(tmp_path, lines)
    given = ("voices", "--csv", file, "--audio", folder, "--root", tmp_path / "runs")
    said = sept(capsys, "data", "prepare", *given)
    assert "mini was trained on 24 clips of voices; trials neither train nor test on them" in said
    assert "voices, test fold theo: fewer than 16 clips to draw shots from in one 6 of 12" in said
    assert "mini was trained on the others" in said
    # Of two thirds of six clips unheard, half are held out.
    said = sept(capsys, "data", "init", *given, "--out", tmp_path)
    assert "mini was trained on 24 clips of voices; trials neither train nor test on them" in said
    assert "mini was trained on the others" not in said
    text = (tmp_path / "voices.yaml").read_text(encoding="utf-8")
    assert "the smallest class has 6 outside a test fold\n" in text
    assert "# (clips that mini was trained on do not count)\n" in text
    assert load_sweep(tmp_path / "voices.yaml", own=own_datasets(tmp_path / "runs")).shots == 3
