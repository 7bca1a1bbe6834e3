"""``sept data init``: what it writes is read back, and the commands that it prints lead to a table, word by word."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from pipeline.data.prepared import find_neighbors, own_datasets, read_prepared
from pipeline.data.starter_files import fitting_shots
from pipeline.spec import load_sweep
from sept_core.datasets import DatasetInfo, Manifest, read_csv_dataset

Ran = tuple[int, str, str]

# A name with a space, and one that YAML would read as a truth value.
CLASSES = ("great tit", "no", "owl", "robin", "siren", "wren")
CLIPS = 8
TERMS = ("low hum of {}", "far {} sound", "soft {} tone", "bright {} ring", "dull {} buzz")
WORDS = ("meadow", "street", "night")
FILES = ("birds.neighbors.yaml", "birds.yaml")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of tones with columns as annotation tools write them: a pitch to each class, a rhythm to each clip."""
    rows = []
    seconds = np.arange(8000) / 16000
    for place, name in enumerate(CLASSES):
        for number in range(CLIPS):
            random = np.random.default_rng([place, number])
            # Steady tones of one pitch would count as one recording.
            loudness = np.repeat(random.uniform(0.02, 0.4, 20), len(seconds) // 20)
            noise = random.normal(0, 0.02, len(seconds))
            tone = loudness * np.sin(2 * np.pi * 220 * 1.5**place * seconds) + noise
            path = Path(name, f"{number}.wav")
            (tmp_path / "my clips" / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "my clips" / path, tone.astype("float32"), 16000)
            rows.append([path.as_posix(), name])
    with (tmp_path / "birds.csv").open("w", encoding="utf-8-sig", newline="") as stream:
        csv.writer(stream).writerows([["filename", "category"], *rows])
    return tmp_path / "birds.csv"


@pytest.fixture
def init(sept: Callable[..., Ran], table: Path) -> Callable[..., Ran]:
    """Runs ``sept data init birds`` on that CSV."""

    def run(*more: object) -> Ran:
        columns = ("--columns", "path=filename,classname=category")
        return sept("data", "init", "birds", "--csv", table.name, "--audio", "my clips", *columns, *more)

    return run


def fill_in(file: Path, count: int = 5) -> None:
    """What a person does in an editor."""
    text = file.read_text(encoding="utf-8")
    for name, word in zip(CLASSES[:3], WORDS, strict=True):
        terms = ", ".join(term.format(word) for term in TERMS[:count])
        text, replaced = re.subn(rf"^(  '?{name}'?): \[\]$", rf"\1: [{terms}]", text, flags=re.MULTILINE)
        assert replaced == 1
    file.write_text(text, encoding="utf-8")


def commands_in(out: str) -> list[list[str]]:
    return [shlex.split(line, comments=True)[1:] for line in out.splitlines() if line.startswith("  sept ")]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_printed_commands_lead_to_a_table_of_results(
    init: Callable[..., Ran], sept: Callable[..., Ran], tmp_path: Path
) -> None:
    code, out, err = init("--out", "the start", "--root", "all results")
    assert (code, err) == (0, "")
    assert "birds: 48 clips checked, 6 classes (3 base, 3 new), 5 folds" in out
    embed, neighbors, plan, launch, report = commands_in(out)
    assert [words[0] for words in (embed, neighbors, report)] == ["embed", "neighbors", "report"]
    sweep, lists = tmp_path / "the start/birds.yaml", tmp_path / "the start/birds.neighbors.yaml"
    header = sweep.read_text(encoding="utf-8")
    assert commands_in(header.replace("#   sept", "  sept")) == commands_in(out)

    assert sept(*embed)[0] == 0
    # Before anything is filled in: which classes lack neighbours, and CoOp alone can run.
    code, _, err = sept(*neighbors)
    assert code == 2
    assert all(f"{name} (line " in err for name in CLASSES[:3])
    code, out, _ = sept(*plan, "--calibrate", "0")
    assert code == 2
    assert "no neighbours of birds, which SEPT needs" in out
    less = {"trials: 6": "trials: 1", "epochs: 10, report_every: 5": "epochs: 2, report_every: 1"}
    small = header
    for before, after in less.items():
        small = small.replace(before, after)
    # As its comment says.
    without = small.replace("\nmethods:", "\n# methods:").replace("\nspaces:", "\n# spaces:")
    sweep.write_text(without.replace("# methods: [zero-shot, coop]", "methods: [zero-shot, coop]"), encoding="utf-8")
    code, out, err = sept(*plan, "--calibrate", "0")
    assert (code, err) == (0, ""), out
    assert "birds coop " in out
    assert "+sept" not in out

    fill_in(lists)
    sweep.write_text(small, encoding="utf-8")
    code, out, _ = sept(*neighbors)
    assert code == 0
    assert "n_neighbors can be up to 5" in out
    assert sept(*plan)[0] == 0
    code, out, err = sept(*launch)
    assert code == 0, err
    code, out, err = sept(*report)
    assert (code, err) == (0, "")
    for method in ("zero-shot", "CoOp", "CoOp + SEPT"):
        assert re.search(rf"^\s*(?:birds\s+)?{re.escape(method)}\s+\d", out, re.MULTILINE), out
    assert (tmp_path / "all results/sweeps/birds/report/report.html").is_file()


def test_the_files_say_what_the_dataset_is_and_are_read_as_they_are(init: Callable[..., Ran], tmp_path: Path) -> None:
    code, _, _ = init("--kind", "speech", "--template", "A {} calls.")
    assert code == 0
    (info,) = own_datasets(tmp_path / "sept-runs")
    assert (info.classnames, info.kind, info.template) == (CLASSES, "speech", "A {} calls.")
    spec = load_sweep(tmp_path / "birds.yaml", own=[info])
    assert (spec.name, spec.datasets, spec.methods) == ("birds", ("birds",), ("zero-shot", "coop", "coop+sept"))
    assert spec.shots == 3
    lists = yaml.safe_load((tmp_path / "birds.neighbors.yaml").read_text(encoding="utf-8"))
    assert lists == {"dataset": "birds", "written_from": "base", "neighbors": {name: [] for name in CLASSES[:3]}}
    assert all(len(line) <= 120 for name in FILES for line in (tmp_path / name).read_text().splitlines())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*FILES, "birds.csv", "my clips", "sept-runs"])


@pytest.mark.parametrize("name", ["1", "no", "1e5", "0x1F", "2026-01-02"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(
    sept: Callable[..., Ran], table: Path, name: str, tmp_path: Path
) -> None:
    columns = ("--columns", "path=filename,classname=category")
    assert sept("data", "init", name, "--csv", table, "--audio", "my clips", *columns)[0] == 0
    spec = load_sweep(tmp_path / f"{name}.yaml", own=own_datasets(tmp_path / "sept-runs"))
    assert (spec.name, spec.datasets) == (name, (name,))


def test_existing_files_stay_as_they_are_without_force(init: Callable[..., Ran], tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_text("mine", encoding="utf-8")
        code, out, err = init()
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {name} exists; write elsewhere with --out, or replace with --force")
        assert err.count("\n") == 1
        assert (tmp_path / name).read_text(encoding="utf-8") == "mine"
        assert not (tmp_path / "sept-runs").exists()
        (tmp_path / name).unlink()


def test_force_writes_again_and_leaves_the_neighbours_that_are_filled_in(
    init: Callable[..., Ran], tmp_path: Path
) -> None:
    init()
    sweep, lists = tmp_path / "birds.yaml", tmp_path / "birds.neighbors.yaml"
    fresh = sweep.read_text(encoding="utf-8"), lists.read_text(encoding="utf-8")
    for path in (sweep, lists):
        path.write_text("neighbors: {wren: [], old class: }", encoding="utf-8")
    assert init("--force")[0] == 0
    assert (sweep.read_text(encoding="utf-8"), lists.read_text(encoding="utf-8")) == fresh
    fill_in(lists)
    for mine in (lists.read_text(encoding="utf-8") + "# my note", "neighbors: [", "", "neighbors: {wren: half a list}"):
        lists.write_text(mine, encoding="utf-8")
        sweep.write_text("mine", encoding="utf-8")
        code, out, _ = init("--force")
        assert code == 0
        assert "birds.neighbors.yaml is filled in and was not changed\nWrote birds.yaml. Type next" in out
        assert (sweep.read_text(encoding="utf-8"), lists.read_text(encoding="utf-8")) == (fresh[0], mine)


def test_a_dataset_of_this_name_with_other_clips_is_not_replaced_without_force(
    init: Callable[..., Ran], table: Path, tmp_path: Path
) -> None:
    assert init()[0] == 0
    assert init("--out", "again")[0] == 0
    before = read_prepared(tmp_path / "sept-runs", "birds")
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    table.write_text("\n".join(lines[:-1]), encoding="utf-8")
    code, _, err = init("--out", "more")
    assert code == 2
    assert "birds is prepared already, from other clips or with another description" in err
    assert not (tmp_path / "more").exists()
    assert read_prepared(tmp_path / "sept-runs", "birds") == before
    assert init("--out", "more", "--force")[0] == 0
    assert read_prepared(tmp_path / "sept-runs", "birds") != before


def test_a_clip_that_is_no_audio_is_named_and_nothing_is_written(init: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "my clips/owl/3.wav").write_bytes(b"no audio")
    code, out, err = init()
    assert code == 2
    assert "error: 1 of 48 clips cannot be read: owl/3.wav" in out
    assert "; replace these files, or remove their rows from birds.csv\n" in out
    assert err == ("error: birds.csv: 1 error, nothing was written; correct what is listed and run the command again\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["birds.csv", "my clips"]


def test_with_a_silent_clip_the_printed_command_embeds_the_others(
    init: Callable[..., Ran], sept: Callable[..., Ran], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "my clips/owl/3.wav", np.zeros(8000, "float32"), 16000)
    code, out, _ = init()
    assert code == 0
    assert "warning: 1 of 48 clips have no sound: owl/3.wav" in out
    embed, *_ = commands_in(out)
    assert "--skip-bad" in embed
    assert "--skip-bad" in (tmp_path / "birds.yaml").read_text(encoding="utf-8")
    code, out, _ = sept(*embed)
    assert (code, "47 clips embedded" in out) == (0, True)


def test_where_the_files_cannot_be_written_nothing_is_kept(init: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    code, _, err = init("--out", "taken")
    assert code == 2
    assert "taken" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["birds.csv", "my clips", "taken"]


def test_without_columns_the_option_to_type_is_named(sept: Callable[..., Ran], table: Path) -> None:
    code, _, err = sept("data", "init", "birds", "--csv", table, "--audio", "my clips")
    assert code == 2
    assert err.endswith("add --columns path=filename,classname=category\n")


def test_with_results_in_a_bucket_the_dataset_and_its_neighbours_are_kept_there(
    init: Callable[..., Ran], sept: Callable[..., Ran], s3_root: str, tmp_path: Path
) -> None:
    code, out, err = init("--root", s3_root)
    assert (code, err) == (0, "")
    fill_in(tmp_path / "birds.neighbors.yaml")
    _, neighbors, *_ = commands_in(out)
    assert neighbors[-2:] == ["--root", s3_root]
    code, out, err = sept(*neighbors)
    assert (code, err) == (0, "")
    assert s3_root in out
    (info,) = own_datasets(s3_root)
    kept = find_neighbors(s3_root, info)
    assert set(kept.by_class) == kept.known == {name.lower() for name in CLASSES[:3]}
    assert not (tmp_path / "sept-runs").exists()


def test_numbers_for_classes_and_a_single_new_class_are_pointed_out(sept: Callable[..., Ran], table: Path) -> None:
    rows = [line.rsplit(",", 1)[0] for line in table.read_text(encoding="utf-8-sig").splitlines()[1:]]
    labels = [f"{row},{number // CLIPS}" for number, row in enumerate(rows[: 2 * CLIPS])]
    table.write_text("\n".join(["path,classname", *labels]), encoding="utf-8")
    code, out, _ = sept("data", "init", "birds", "--csv", table, "--audio", "my clips")
    assert code == 0
    assert "note: the class names are numbers" in out
    assert "note: a single base or new class is always right" in out


def test_prepare_and_check_take_the_same_columns(sept: Callable[..., Ran], init: Callable[..., Ran]) -> None:
    given = ("birds", "--csv", "birds.csv", "--audio", "my clips", "--columns", "path=filename,classname=category")
    assert sept("data", "check", *given)[0] == 0
    assert sept("data", "prepare", *given)[0] == 0
    assert init()[0] == 0, "the same data set, so nothing is replaced"
    code, _, err = sept("data", "check", "birds", "--audio", "my clips", "--columns", "path=filename")
    assert (code, "--columns: describes a CSV file" in err) == (2, True)


@pytest.mark.parametrize(
    ("placed", "counts", "shots"),
    [
        ("fold", (8, 8), (4, 8)),
        ("fold", (2, 40), (1, 2)),
        ("fold", (80, 90), (16, 80)),
        ("split", (12, 20), (6, 12)),
    ],
)
def test_shots_leave_half_of_the_smallest_class_held_out(
    placed: str, counts: tuple[int, int], shots: tuple[int, int], tmp_path: Path
) -> None:
    rows = [f"path,classname,{placed}"]
    for name, count in zip(("tit", "wren"), counts, strict=True):
        for side in ("train", "test"):
            for number in range(count):
                (tmp_path / f"{name}-{side}-{number}.wav").write_bytes(f"{name}{side}{number}".encode())
                rows.append(f"{name}-{side}-{number}.wav,{name},{side}")
    (tmp_path / "birds.csv").write_text("\n".join(rows), encoding="utf-8")
    read: tuple[Manifest, DatasetInfo] = read_csv_dataset(tmp_path / "birds.csv", tmp_path, name="birds")
    assert fitting_shots(*read) == shots
