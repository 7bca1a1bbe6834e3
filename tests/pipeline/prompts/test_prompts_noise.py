"""``sept robust``: the chosen trials of a sweep on noisy test clips, with the numbers of the table on clean ones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from finished import METHODS, SWEEP, inputs, mini

from pipeline.prompts.measure_noise import measure_noise
from pipeline.reports import collect, write_report
from pipeline.reports.noise_rows import noisy_rows
from pipeline.store import EmbeddingHeader, EmbeddingStore, TrialStore, open_files
from pipeline.store.noise import noisy_files
from sept_core.audio.noise import Noise
from sept_core.datasets import Clip, EmbeddingTable, halves

Sept = Callable[..., tuple[int, str, str]]
AUDIO = Path(__file__).parents[4] / "shared" / "audio" / "esc10"
LOUD, NONE = Noise("white", 0.0), Noise("white", math.inf)


def noisy_table(scale: float) -> EmbeddingTable:
    """The shipped embeddings of ESC-10, moved at random."""
    table = inputs().table
    moved = table.embeddings + scale * torch.randn(table.embeddings.shape, generator=torch.Generator().manual_seed(0))
    fields = {name: getattr(table, name) for name in table.__dataclass_fields__}
    return EmbeddingTable(**fields | {"embeddings": torch.nn.functional.normalize(moved, dim=1)})


def put(root: Path, noise: Noise, table: EmbeddingTable) -> None:
    """Store embeddings as if ``sept embed --noise`` had made them."""
    clips = [clip for clip in _clips() if clip.clip_id in table.clip_ids]
    header = EmbeddingHeader("ESC10", "mini", mini().fingerprint, inputs().table.manifest_digest, table.dim)
    EmbeddingStore(noisy_files(open_files(root), noise)).write(header, clips, table.embeddings)


def _clips() -> list[Clip]:
    from sept_core.datasets.embeddings import BUNDLED, TEXT_COLUMNS, embeddings_folder, parse_manifest, parse_part

    folder = BUNDLED / embeddings_folder(mini().fingerprint, "ESC10")
    manifest = parse_manifest("ESC10", (folder / "manifest.json").read_bytes())
    parts = [parse_part("ESC10", part, (folder / part["name"]).read_bytes()) for part in manifest["parts"]]
    return [Clip(**row) for part in parts for row in part.select([*TEXT_COLUMNS]).to_pylist()]


@pytest.fixture
def noisy_root(own_root: Path) -> Path:
    put(own_root, LOUD, noisy_table(0.2))
    put(own_root, NONE, inputs().table)
    return own_root


def test_without_noise_the_numbers_are_those_of_the_table_and_with_it_those_of_the_noisy_clips(
    noisy_root: Path,
) -> None:
    store = TrialStore(open_files(noisy_root))
    table = collect(store, SWEEP)
    assert measure_noise(store, str(noisy_root), SWEEP, table.studies).measured == len(METHODS)
    for one, row in zip(noisy_rows(store, table.studies), table.rows, strict=True):
        assert {name: one.clean[name] for name, value in asdict(row.test).items() if value is not None} == {
            name: value for name, value in asdict(row.test).items() if value is not None
        }
        assert one.noisy[NONE] == one.clean
        assert one.noisy[LOUD]["h"] < one.clean["h"]
    # Zero-shot by hand.
    noisy = noisy_table(0.2)
    info, right = noisy.info, []
    for fold in ("2", "3"):
        base = halves(info.classnames)[0]
        rows = [at for at, name in enumerate(noisy.classnames) if name in base and noisy.folds[at] == fold]
        text = mini().text.encode([info.template.format(name.replace("_", " ").lower()) for name in base])
        guessed = (noisy.embeddings[rows] @ torch.nn.functional.normalize(text, dim=1).T).argmax(1)
        right.append(
            100 * sum(base[at] == noisy.classnames[row] for at, row in zip(guessed, rows, strict=True)) / len(rows)
        )
    zero = noisy_rows(store, table.studies)[0]
    assert zero.row.method == "zero-shot"
    assert zero.noisy[LOUD]["base"] == pytest.approx(sum(right) / 2)


def test_nothing_else_in_the_store_changes_and_nothing_is_measured_twice(noisy_root: Path) -> None:
    def others() -> dict[Path, bytes]:
        return {
            path: path.read_bytes() for path in noisy_root.rglob("*") if path.is_file() and path.name != "noise.json"
        }

    before = others()
    store = TrialStore(open_files(noisy_root))
    table = collect(store, SWEEP)
    measure_noise(store, str(noisy_root), SWEEP, table.studies)
    assert others() == before
    assert collect(store, SWEEP) == table
    assert measure_noise(store, str(noisy_root), SWEEP, table.studies).measured == 0
    assert measure_noise(store, str(noisy_root), SWEEP, table.studies[:1], again=True).measured == 1
    # Embeddings that were made again are measured again; those that are gone are forgotten.
    put(noisy_root, LOUD, noisy_table(0.3))
    for path in noisy_root.glob("noise/white-infdB/**/manifest.json"):
        path.unlink()
    assert measure_noise(store, str(noisy_root), SWEEP, table.studies[:1]).measured == 1
    assert [*noisy_rows(store, table.studies[:1])[0].noisy] == [LOUD]


def test_a_trial_that_is_another_on_clean_clips_is_refused_and_the_rest_is_measured(noisy_root: Path) -> None:
    store = TrialStore(open_files(noisy_root))
    table = collect(store, SWEEP)
    (choice,) = {one.signature: one for one in table.studies[1].choices}.values()
    result = store.read_result(choice.study, choice.signature)
    assert result is not None
    result.replicas[0]["test_new"] += 1.0
    store.write_result(result)
    done = measure_noise(store, str(noisy_root), SWEEP, table.studies)
    assert done.measured == len(METHODS) - 1
    ((study, reason),) = done.refused.items()
    assert study == table.studies[1].study
    assert "on clean clips, new of fold 2, seed 0 is" in reason


def test_other_clips_than_those_of_the_trial_are_refused(own_root: Path) -> None:
    table = noisy_table(0.2)
    fields = {name: getattr(table, name) for name in table.__dataclass_fields__}
    fewer = {
        name: value[1:] for name, value in fields.items() if isinstance(value, (tuple, torch.Tensor)) and len(value)
    }
    put(own_root, LOUD, EmbeddingTable(**fields | fewer))
    store = TrialStore(open_files(own_root))
    done = measure_noise(store, str(own_root), SWEEP, collect(store, SWEEP).studies)
    assert len(done.refused) == len(METHODS)
    assert all("of other clips than those of the trial" in reason for reason in done.refused.values())


def test_the_command_prints_tables_and_json_and_the_report_has_them(sept: Sept, noisy_root: Path) -> None:
    code, out, err = sept("robust", SWEEP, "--root", noisy_root)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines[:20])) <= 100
    assert [line for line in lines if line.endswith(", %")] == ["H, %", "base, %", "new, %"]
    assert lines[1].split() == ["dataset", "method", "noise", "clean", "inf", "dB", "0", "dB"]
    code, out, _ = sept("robust", SWEEP, "ESC10.coop+sept", "--json", "--root", noisy_root)
    (row,), cells = json.loads(out), next(line for line in lines if "CoOp + SEPT" in line).split()
    assert (code, row["method"]) == (0, "coop+sept")
    assert [(one["noise"], one["snr_db"]) for one in row["noisy"]] == [("white", None), ("white", 0.0)]
    assert f"{row['noisy'][1]['test']['h']:.1f}" in cells
    store = TrialStore(open_files(noisy_root))
    _, files = write_report(store, SWEEP)
    text = store.files.read(files.table).decode()
    assert "Noisy test clips" in text
    assert f"{row['noisy'][1]['test']['h']:.1f} ± " in text
    assert "measured with every noise" not in text
    assert len(json.loads(store.files.read(files.results))["noise"]) == len(METHODS)


def test_without_noisy_embeddings_it_names_the_command_that_makes_them(sept: Sept, own_root: Path) -> None:
    code, out, _ = sept("robust", SWEEP, "--root", own_root)
    assert code == 1
    assert "no embeddings of esc10 with noise for encoder mini" in out
    assert "sept embed esc10 --audio DIR --encoder mini --noise white --snr 20,10,0" in out
    store = TrialStore(open_files(own_root))
    assert "Noisy test clips" not in store.files.read(write_report(store, SWEEP)[1].table).decode()


@pytest.mark.audio
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_sound_files_to_the_table(sept: Sept, own_root: Path) -> None:
    if not AUDIO.is_dir():
        pytest.skip("the real audio is not at ../shared/audio/esc10 beside the project")
    options = ("--noise", "rain", "--snr", "0", "--root", own_root)
    code, out, err = sept("embed", "esc10", "--audio", AUDIO, *options)
    assert (code, err) == (0, "")
    assert "ESC10 with rain-0dB: 400 clips embedded" in out
    code, out, err = sept("robust", SWEEP, "--json", "--root", own_root)
    assert (code, err) == (0, "")
    for row in json.loads(out):
        assert row["noisy"][0]["test"]["h"] < row["clean"]["h"]
