"""A dataset of one's own from a CSV file to a report: real clips, a real sweep across datasets, in both directions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli import main
from pipeline.data.prepared import neighbors_key, own_datasets, read_prepared
from pipeline.reports import write_report
from pipeline.search.sweep import SweepOutcome, launch
from pipeline.spec import load_sweep
from pipeline.store import LocalFiles, TrialStore
from sept_core.datasets import EmbeddingTable, load_embeddings
from sept_core.encoders import load_encoder
from sept_core.results import TrialResult
from sept_core.semantic import load_neighbors

AUDIO = Path(__file__).parents[4] / "shared" / "audio" / "fsdd"

pytestmark = [
    pytest.mark.audio,
    pytest.mark.skipif(not AUDIO.is_dir(), reason="no recordings of spoken digits beside the project"),
    pytest.mark.timeout(180),
]

WORDS = ("zero", "one", "two", "three", "four")
# As the model card of `mini` says; what it knows of a dataset under another name, it must find out by content.
HEARD = ("george", "jackson", "lucas")
UNHEARD = ("nicolas", "theo", "yweweler")
TAKES = 3

SWEEP: dict[str, Any] = {
    "name": "both-ways",
    "encoder": "mini",
    "protocol": "cross-dataset",
    "sources": ["ESC10", "digits"],
    "targets": ["ESC10", "Digits"],
    "methods": ["coop", "coop+sept"],
    "trials": 1,
    "shots": 2,
    "folds": {"ESC10": [2]},
    "training": {"epochs": 2, "report_every": 1, "batch_size": 16},
    "resources": {"workers": 1},
    "spaces": {
        "coop": {"n_ctx": {"fixed": 2}, "lr": {"fixed": 0.01}},
        "sept": {"n_neighbors": {"fixed": 2}, "lambda_se": {"fixed": 1.0}},
    },
}


@dataclass(frozen=True)
class Swept:
    """A results folder after the sweep."""

    store: TrialStore
    outcome: SweepOutcome
    results: dict[str, TrialResult]
    digits: EmbeddingTable


def sept(*arguments: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert end.value.code == 0


def make_digits(folder: Path, root: Path) -> None:
    """The dataset as a person makes it: a CSV, prepared, checked and embedded, with a list of neighbours."""
    rows = [
        f"recordings/{digit}_{speaker}_{take}.wav,{word},{speaker}"
        for digit, word in enumerate(WORDS)
        for speaker in (*HEARD, *UNHEARD)
        for take in range(TAKES)
    ]
    table = folder / "digits.csv"
    table.write_text("\n".join(["path,classname,group", *rows]), encoding="utf-8")
    sept("data", "prepare", "digits", "--csv", table, "--audio", AUDIO, "--kind", "speech", "--root", root)
    sept("data", "check", "digits", "--audio", AUDIO, "--root", root)
    sept("embed", "digits", "--audio", AUDIO, "--encoder", "mini", "--root", root)
    packaged = load_neighbors("FSDD", protocol="cross-dataset").by_class
    lists = {"dataset": "digits", "neighbors": {word: packaged[word] for word in WORDS}}
    (root / neighbors_key("digits")).write_text(json.dumps(lists), encoding="utf-8")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    folder = tmp_path_factory.mktemp("own")
    root = folder / "runs"
    make_digits(folder, root)
    file = folder / "both-ways.yaml"
    file.write_text(yaml.safe_dump(SWEEP), encoding="utf-8")
    outcome = launch(load_sweep(file, own=own_datasets(root)), root)
    store = TrialStore(LocalFiles(root))
    results = {}
    for proposal in store.proposals("both-ways"):
        result = store.read_result(proposal.study, proposal.signature)
        assert result is not None
        results[proposal.study] = result
    return Swept(store, outcome, results, load_embeddings("digits", load_encoder("mini").fingerprint, root))


def clips_in(result: TrialResult, group: str) -> int:
    """Clips that a group's confusion matrix counts, of all replicas."""
    return sum(map(sum, result.confusion[group]))


def test_the_sweep_ends_with_a_result_in_both_directions_with_and_without_sept(swept: Swept) -> None:
    assert (swept.outcome.state, swept.outcome.finished, swept.outcome.failed) == ("finished", 4, 0)
    assert set(swept.results) == {
        f"{source}.mini.cross-dataset.{method}" for source in ("ESC10", "digits") for method in ("coop", "coop+sept")
    }


@pytest.mark.parametrize(("source", "target"), [("ESC10", "digits"), ("digits", "ESC10")])
@pytest.mark.parametrize("method", ["coop", "coop+sept"])
def test_each_result_has_its_source_and_the_other_dataset(swept: Swept, source: str, target: str, method: str) -> None:
    result = swept.results[f"{source}.mini.cross-dataset.{method}"]
    assert result.state == "finished"
    assert set(result.config.targets) == {target}
    assert set(result.confusion) == set(result.classnames) == {"source", target}
    assert {"source", target, "targets"} <= set(result.test)
    own = "source" if source == "digits" else target
    assert result.classnames[own] == sorted(WORDS)
    # Better than chance by far, and so the labels are the clips' own: 20 % with five digits, 10 % with ten sounds.
    assert result.test[own] > 40
    assert result.test["source" if own == target else target] > 40


def test_nothing_that_the_encoder_was_pretrained_on_is_tested(swept: Swept) -> None:
    seen = load_encoder("mini").pretraining.clips
    heard: dict[str, list[bool]] = {speaker: [] for speaker in (*HEARD, *UNHEARD)}
    for speaker, digest in zip(swept.digits.groups, swept.digits.sha256, strict=True):
        heard[speaker].append(digest in seen)
    assert all(all(flags) == any(flags) == (speaker in HEARD) for speaker, flags in heard.items())

    one_speaker = len(WORDS) * TAKES
    for method in ("coop", "coop+sept"):
        to_digits = swept.results[f"ESC10.mini.cross-dataset.{method}"]
        assert clips_in(to_digits, "digits") == len(UNHEARD) * one_speaker * len(to_digits.replicas)
        from_digits = swept.results[f"digits.mini.cross-dataset.{method}"]
        # Every fold that tests anyone unheard is a test fold once, so each of the three is tested once.
        assert clips_in(from_digits, "source") == len(UNHEARD) * one_speaker
        # ESC-10 without fold 1, which `mini` was pretrained on.
        assert clips_in(from_digits, "ESC10") == 320 * len(from_digits.replicas)


def test_the_test_folds_are_those_of_speakers_that_the_encoder_has_not_heard(swept: Swept) -> None:
    prepared = read_prepared(swept.store.files, "digits")
    assert prepared is not None
    folds = {speaker: {clip.fold for clip in prepared.manifest.clips if clip.group == speaker} for speaker in UNHEARD}
    for method in ("coop", "coop+sept"):
        config = swept.results[f"digits.mini.cross-dataset.{method}"].config
        assert set(config.folds) == set.union(*folds.values())
        assert len(config.folds) >= 2


def test_the_report_shows_both_directions(swept: Swept) -> None:
    _, files = write_report(swept.store, "both-ways")
    table = swept.store.files.read(files.table).decode().splitlines()
    numbers = json.loads(swept.store.files.read(files.results))["transfers"]
    assert swept.store.files.read(files.picture).startswith(b"<svg ")
    header = next(cells(line) for line in table if line.startswith("| source | method |"))
    for key, result in swept.results.items():
        source, title = result.config.dataset, "CoOp + SEPT" if result.config.sept else "CoOp"
        (target,) = result.config.targets
        row = dict(zip(header, next(cells(line) for line in table if cells(line)[:2] == [source, title]), strict=True))
        for column, group in (("on source", "source"), (target, target), ("mean of targets", "targets")):
            assert row[column].split(" ")[0] == f"{result.test[group]:.1f}", key
        assert row[source] == "-"
        (entry,) = [one for one in numbers if (one["dataset"], one["method"]) == (source, result.config.method)]
        assert [one[f"test_{target}"] for one in entry["replicas"]] == [
            one[f"test_{target}"] for one in result.replicas
        ]


def cells(line: str) -> list[str]:
    return [cell.strip().strip("*") for cell in line.strip("|").split("|")]
