"""``sept data prepare``, ``check``, ``download``, and ``list`` of what was prepared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.data.download import DownloadSummary
from pipeline.data.prepared import own_datasets
from pipeline.neighbors import Outcome, Usage
from sept_core.datasets import DatasetInfo
from sept_core.semantic import Neighbors

Ran = tuple[int, str, str]


@pytest.fixture
def data(sept: Callable[..., Ran]) -> Callable[..., Ran]:
    """Runs the commands under ``sept data``."""

    def run(*arguments: object) -> Ran:
        return sept("data", *arguments)

    return run


@pytest.fixture
def birds(tmp_path: Path) -> list[object]:
    """A CSV file of one's own with its audio; the options that name them."""
    lines = ["path,classname,fold"]
    for number in range(64):
        name = f"{('wren', 'tit')[number % 2]}{number}.wav"
        sound = np.random.default_rng(number).uniform(-0.5, 0.5, 400).astype(np.float32)
        (tmp_path / "audio").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "audio" / name, sound, 8000)
        lines.append(f"{name},{('wren', 'tit')[number % 2]},{1 + number // 32}")
    (tmp_path / "birds.csv").write_text("\n".join(lines))
    return ["--audio", tmp_path / "audio", "--csv", tmp_path / "birds.csv"]


def test_preparing_ones_own_dataset_makes_it_known_and_says_what_comes_next(
    data: Callable[..., Ran], birds: list[object], tmp_path: Path
) -> None:
    code, out, err = data("prepare", "birds", *birds, "--kind", "speech")
    assert (code, err) == (0, "")
    assert "birds: 64 clips, 2 classes, 2 folds" in out
    assert f"sept embed birds --audio {tmp_path / 'audio'}" in out
    assert [info.kind for info in own_datasets(tmp_path / "sept-runs")] == ["speech"]
    code, out, _ = data("check", "birds", *birds[:2])
    assert (code, out) == (0, "birds: 64 clips checked, 0 errors, 0 warnings\n")


def test_the_check_says_how_many_neighbours_of_which_classes_name_a_new_class(
    data: Callable[..., Ran], birds: list[object], sept: Callable[..., Ran], tmp_path: Path
) -> None:
    data("prepare", "birds", *birds)
    lists = "dataset: birds\nneighbors: {tit: [bell in a tree, not a wren, a chime]}\n"
    (tmp_path / "lists.yaml").write_text(lists)
    assert sept("neighbors", "birds", "--from", tmp_path / "lists.yaml")[0] == 0
    code, out, _ = data("check", "birds", *birds[:2])
    assert code == 0
    counted = "birds: 1 of 3 neighbours names a class that was not trained on"
    assert out.splitlines() == [
        f"note: {counted} (kept: the lists were written without knowing them)",
        "note: neighbours that name a new class: tit: 'not a wren' (wren)",
        "birds: 64 clips checked, 0 errors, 0 warnings",
    ]
    (tmp_path / "lists.yaml").write_text(f"written_from: all\n{lists}")
    assert sept("neighbors", "birds", "--from", tmp_path / "lists.yaml", "--force")[0] == 0
    out = data("check", "birds", *birds[:2], "--json")[1]
    knew = "birds: the neighbours were written knowing the names of 1 class that was not trained on"
    assert json.loads(out)["notes"][:2] == [knew, f"{counted} (kept)"]
    row = next(row for row in json.loads(data("list", "--json")[1]) if row["dataset"] == "birds")
    assert (row["neighbors"], row["neighbors_all"]) == (True, False)


def test_what_would_poison_a_result_is_not_prepared(
    data: Callable[..., Ran], birds: list[object], tmp_path: Path
) -> None:
    (tmp_path / "audio" / "wren0.wav").write_bytes((tmp_path / "audio" / "wren32.wav").read_bytes())
    code, _, err = data("prepare", "birds", *birds)
    assert code == 2
    assert err.startswith("error: birds: fold 1: 1 test clip with the content of a training clip: wren32 = wren0")
    assert own_datasets(tmp_path / "sept-runs") == []


def test_the_check_lists_every_finding_and_ends_with_2(
    data: Callable[..., Ran], birds: list[object], tmp_path: Path
) -> None:
    (tmp_path / "audio" / "wren0.wav").write_bytes(b"no audio")
    code, out, _ = data("check", "birds", *birds)
    assert code == 2
    assert "error: 1 of 64 clips cannot be read: wren0.wav (cannot be decoded as audio" in out
    assert out.endswith("birds: 64 clips checked, 1 error, 0 warnings\n")
    code, out, _ = data("check", "birds", *birds, "--json")
    found = json.loads(out)
    assert code == 2
    assert (found["dataset"], found["clips"], len(found["errors"]), found["warnings"]) == ("birds", 64, 1, [])


def test_the_check_of_a_prepared_dataset_counts_what_is_missing_and_what_has_changed(
    data: Callable[..., Ran], birds: list[object], tmp_path: Path
) -> None:
    data("prepare", "birds", *birds)
    for number in (0, 2, 4):
        (tmp_path / "audio" / f"wren{number}.wav").unlink()
    (tmp_path / "audio" / "tit1.wav").write_bytes(b"other")
    code, out, err = data("check", "birds", *birds[:2])
    assert (code, err) == (2, "")
    assert "error: 3 of 64 clips are missing: wren0.wav, wren2.wav, wren4.wav; unpack birds again" in out
    assert "error: 1 of 64 clips are not those of the manifest: tit1.wav; put the files back" in out
    code, out, err = data("check", "birds", "--audio", tmp_path / "nowhere")
    assert (code, out) == (2, "")
    assert "no such folder; give the folder that birds was prepared from" in err


@pytest.mark.parametrize("option", [("--kind", "speech"), ("--template", "A {}.")])
def test_what_describes_a_csv_is_refused_without_one(
    data: Callable[..., Ran], birds: list[object], option: tuple[str, str]
) -> None:
    data("prepare", "birds", *birds)
    code, out, err = data("check", "birds", *birds[:2], *option)
    assert (code, out) == (2, "")
    assert err == f"error: {option[0]}: describes a CSV file; give that file with --csv, or leave it out\n"


def test_a_damaged_dataset_is_mended_by_the_command_that_the_error_names(
    data: Callable[..., Ran], birds: list[object], tmp_path: Path
) -> None:
    data("prepare", "birds", *birds)
    (tmp_path / "sept-runs" / "datasets" / "birds" / "dataset.json").write_text("{")
    code, _, err = data("list")
    assert code == 2
    assert err.endswith("; make it again: sept data prepare birds\n")
    assert data("prepare", "birds", *birds)[0] == 0
    assert data("list")[0] == 0


def test_the_list_is_not_cut_where_nobody_watches(
    data: Callable[..., Ran], birds: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    data("prepare", "b" * 64, *birds)
    lines = data("list")[1].splitlines()
    assert any(line.startswith("b" * 64 + "  events") for line in lines)
    assert any(line.startswith("ESC10") and line.rstrip().endswith("mini (bundled)") for line in lines)


def test_an_unknown_dataset_is_refused_in_one_line(data: Callable[..., Ran], tmp_path: Path) -> None:
    code, out, err = data("check", "esc5", "--audio", tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("error: unknown dataset 'esc5'; did you mean 'ESC50'?")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("made", "said"), [(True, ""), (False, "; all of it was there already")])
def test_a_download_says_what_came_and_how_to_check_it(
    data: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, made: bool, said: str
) -> None:
    asked: list[tuple[object, ...]] = []

    def fake(dataset: str, out: Path, revision: str, progress: object) -> DownloadSummary:
        asked.append((dataset, out, revision))
        return DownloadSummary("SESA", "c" * 40, 3, 5_000_000, 2, str(out), made)

    monkeypatch.setattr("pipeline.data.download.download", fake)
    code, out, _ = data("download", "sesa", "--out", "here", "--revision", "v1")
    assert code == 0
    assert asked == [("sesa", Path("here"), "v1")]
    assert out == (
        f"SESA: 3 files (5 MB) of commit cccccccccccc, 2 files unpacked{said}\n"
        "Check it with: sept data check SESA --audio here\n"
    )


def test_ones_own_dataset_is_listed_once_it_is_prepared(data: Callable[..., Ran], birds: list[object]) -> None:
    assert "birds" not in data("list")[1]
    data("prepare", "birds", *birds)
    code, out, _ = data("list", "--json")
    own = [row for row in json.loads(out) if row["own"]]
    assert code == 0
    assert [(row["dataset"], row["base"], row["new"], row["neighbors"]) for row in own] == [("birds", 1, 1, False)]
    assert "birds" in data("list")[1]


def test_neighbours_of_ones_own_dataset_are_kept_with_it_and_those_of_others_name_the_line_for_a_sweep(
    data: Callable[..., Ran], sept: Callable[..., Ran], birds: list[object], tmp_path: Path, monkeypatch
) -> None:
    data("prepare", "birds", *birds)
    written: list[Path] = []

    def fake(info: DatasetInfo, model: str, n: int, *, out: Path, **_: object) -> Outcome:
        written.append(out)
        lists = {name: (f"kind of {number}",) for number, name in enumerate(info.classnames)}
        return Outcome(Neighbors(info.name, lists), out, Usage(), ())

    monkeypatch.setattr("pipeline.neighbors.generate", fake)
    code, out, err = sept("neighbors", "Birds", "--n", 1)
    assert (code, err) == (0, "")
    assert "Sweeps on birds use it from there" in out
    code, out, _ = sept("neighbors", "esc50", "--n", 1)
    assert code == 0
    assert f"  neighbors: {{ESC50: {tmp_path / 'sept-runs' / 'neighbors' / 'base' / 'esc50.json'}}}" in out
    assert written == [Path("sept-runs/datasets/birds/neighbors.json"), Path("sept-runs/neighbors/base/esc50.json")]


def test_neighbours_of_an_unknown_dataset_are_refused_in_one_line(sept: Callable[..., Ran]) -> None:
    code, out, err = sept("neighbors", "birds")
    assert (code, out) == (2, "")
    assert err.startswith("error: unknown dataset 'birds'")


@pytest.mark.parametrize("name", ["source", "Targets", "h", "my_std"])
def test_a_dataset_cannot_be_called_like_a_measure(data: Callable[..., Ran], birds: list[object], name: str) -> None:
    code, _, err = data("prepare", name, *birds)
    assert code == 2
    assert f"'{name}' is the name of a measure in results" in err
