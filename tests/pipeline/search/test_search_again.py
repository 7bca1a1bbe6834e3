from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import make_spec, run_inline

from pipeline.report import rerun_command, write_report
from pipeline.search.again import rerun
from pipeline.store import LocalFiles, TrialStore
from sept_core.errors import InputError
from sept_core.results import Report, TrialConfig

PROVIDER = "tiny_inputs:provide"


def keep(folder: Path, **changes: Any) -> None:
    """Run the sweep, with what a launch keeps of its spec."""
    spec = make_spec(**changes)
    TrialStore(LocalFiles(folder)).write_spec(spec.name, spec.text())
    run_inline(spec, folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep; nothing here writes into it."""
    folder = tmp_path_factory.mktemp("again")
    keep(folder, trials=3)
    return folder


@pytest.fixture
def tiny(root: Path) -> TrialStore:
    return TrialStore(LocalFiles(root))


def note(told: dict[str, list[int]], report: Report, config: TrialConfig) -> None:
    told.setdefault(config.signature, []).append(report.epoch)


def test_every_row_of_a_report_comes_out_the_same_when_its_command_is_run(tiny: TrialStore, root: Path) -> None:
    table, files = write_report(tiny, "tiny")
    text = tiny.files.read(files.table).decode()
    before = tiny.files.list("trials")
    for row in table.rows:
        assert f"`{rerun_command('tiny', row.signature)}`" in text
        told: dict[str, list[int]] = {}
        done = rerun(tiny, str(root), "tiny", row.signature, provider=PROVIDER, progress=partial(note, told))
        assert done.differing == ()
        assert (done.largest, done.elsewhere) == (0.0, ())
        assert done.result.test["h"] == row.test.h
        assert told == {row.signature: [report.epoch for report in done.stored.curve]}
    assert tiny.files.list("trials") == before


def test_another_result_is_told_with_what_differs_and_by_how_much(tiny: TrialStore, root: Path) -> None:
    row = write_report(tiny, "tiny")[0].rows[1]
    done = rerun(tiny, str(root), "tiny", row.signature[:8], provider="tiny_inputs:provide_other_test_labels")
    assert set(done.differing) == {"test", "replicas", "confusion"}
    assert done.largest == max(abs(done.result.test[name] - done.stored.test[name]) for name in done.stored.test)
    assert done.largest > 0


def test_what_cannot_be_run_again_is_refused_with_the_reason(tiny: TrialStore, root: Path) -> None:
    for signature in ("ffffffffffffffff", ""):
        with pytest.raises(InputError, match=f"sweep 'tiny' has no trial '{signature}'.*its report names them"):
            rerun(tiny, str(root), "tiny", signature, provider=PROVIDER)
    with pytest.raises(InputError, match="unknown sweep 'tyni'"):
        rerun(tiny, str(root), "tyni", "0", provider=PROVIDER)


def test_a_trial_that_has_not_finished_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    keep(tmp_path, trials=1, methods=["zero-shot", "coop+sept"])
    store = TrialStore(LocalFiles(tmp_path))
    member = store.members("tiny")[0]
    store.files.delete(f"trials/{member.study}/{member.signature}/result.json")
    with pytest.raises(InputError, match="has no finished result to compare with"):
        rerun(store, str(tmp_path), "tiny", member.signature, provider=PROVIDER)
