"""A worker loses nothing that it has told, and never blames a trial for what isn't its fault."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_inputs
from tiny_inputs import provide

from pipeline.search.inputs import Loader
from pipeline.search.messages import Assignment, Message
from pipeline.search.worker import TrialProcess
from pipeline.spec import StudyInputs
from pipeline.store import LocalFiles, TrialStore
from sept_core.results import TrialResult
from sept_core.trial import TrialRun, make_config
from sept_core.trial_config import TrialConfig

INPUTS = StudyInputs("mini", "FSDD", True)


@pytest.fixture
def config() -> TrialConfig:
    return make_config(
        provide("", INPUTS),
        "coop+sept",
        {"n_ctx": 2, "n_neighbors": 2},
        shots=2,
        folds=["theo"],
        epochs=3,
        report_every=1,
        batch_size=8,
    )


def process(root: Path, config: TrialConfig, provider: Loader = tiny_inputs.provide) -> TrialProcess:
    return TrialProcess(Assignment(str(root), provider, INPUTS, config))


def to_the_end(trial: TrialProcess) -> list[Message]:
    messages = [trial.step()]
    while messages[-1].phase in ("begun", "report"):
        messages.append(trial.step())
    return messages


def numbers(result: TrialResult | None) -> object:
    assert result is not None
    return [report.metrics for report in result.curve], result.validation, result.test, result.replicas


def read(root: Path, config: TrialConfig) -> TrialResult | None:
    return TrialStore(LocalFiles(root)).read_result(config.study_key, config.signature)


def test_a_trial_begins_reports_and_ends_with_its_result_in_the_store(tmp_path: Path, config: TrialConfig) -> None:
    messages = to_the_end(process(tmp_path, config))
    assert [message.phase for message in messages] == ["begun", "report", "report", "ended"]
    assert [len(message.curve) for message in messages] == [0, 1, 2, 3]
    result = read(tmp_path, config)
    assert result is not None
    assert result.state == "finished"
    assert result.curve == messages[-1].curve


def test_what_was_reported_is_in_the_checkpoint_already(tmp_path: Path, config: TrialConfig) -> None:
    first = process(tmp_path, config)
    first.step()
    told = first.step()
    assert process(tmp_path, config).step() == Message("begun", told.curve)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_trial_that_changes_workers_ends_bit_for_bit_the_same(
    tmp_path: Path, config: TrialConfig, steps: int
) -> None:
    to_the_end(process(tmp_path / "whole", config))
    broken = process(tmp_path / "broken", config)
    for _ in range(steps):
        broken.step()
    to_the_end(process(tmp_path / "broken", config))
    assert numbers(read(tmp_path / "broken", config)) == numbers(read(tmp_path / "whole", config))


def test_a_trial_with_a_result_is_not_trained_again(tmp_path: Path, config: TrialConfig) -> None:
    messages = to_the_end(process(tmp_path, config))
    again = to_the_end(process(tmp_path, config, tiny_inputs.provide_nothing))
    assert again == [messages[-1]]


def test_a_damaged_checkpoint_is_put_aside_and_the_trial_begins_anew(tmp_path: Path, config: TrialConfig) -> None:
    to_the_end(process(tmp_path / "whole", config))
    first = process(tmp_path, config)
    first.step()
    first.step()
    path = tmp_path / "trials" / config.study_key / config.signature / "checkpoint.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    second = process(tmp_path, config)
    assert second.step() == Message("begun", ())
    to_the_end(second)
    assert numbers(read(tmp_path, config)) == numbers(read(tmp_path / "whole", config))
    assert list((tmp_path / "quarantine").rglob("*checkpoint*"))


def test_an_exception_that_passes_is_tried_again_from_the_last_checkpoint(
    tmp_path: Path, config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_the_end(process(tmp_path / "whole", config))
    advance, calls = TrialRun.advance, []

    def sometimes(self: TrialRun) -> object:
        calls.append(self.epoch)
        report = advance(self)
        if len(calls) in (2, 4):
            raise RuntimeError("a passing trouble")
        return report

    monkeypatch.setattr(TrialRun, "advance", sometimes)
    to_the_end(process(tmp_path / "tried", config))
    assert calls == [0, 1, 1, 2, 2]
    assert numbers(read(tmp_path / "tried", config)) == numbers(read(tmp_path / "whole", config))


def test_an_exception_that_stays_fails_the_trial_with_its_traceback(
    tmp_path: Path, config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = TrialRun.advance

    def broken(self: TrialRun) -> object:
        if self.epoch == 1:
            raise RuntimeError("it never works")
        return advance(self)

    monkeypatch.setattr(TrialRun, "advance", broken)
    assert [message.phase for message in to_the_end(process(tmp_path, config))] == ["begun", "report", "ended"]
    result = read(tmp_path, config)
    assert result is not None
    assert result.state == "failed"
    assert len(result.curve) == 1
    assert "Traceback" in result.error
    assert result.error.strip().endswith("RuntimeError: it never works")


def test_inputs_that_are_missing_are_reported_and_do_not_fail_the_trial(tmp_path: Path, config: TrialConfig) -> None:
    message = process(tmp_path, config, tiny_inputs.provide_nothing).step()
    assert message.phase == "unusable"
    assert message.fault == "input"
    assert "no embeddings here" in message.error
    assert read(tmp_path, config) is None


def test_a_store_that_fails_does_not_fail_the_trial(
    tmp_path: Path, config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = process(tmp_path, config)
    trial.step()

    def full(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(TrialStore, "write_checkpoint", full)
        message = trial.step()
    assert (message.phase, message.fault, message.error) == ("unusable", "other", "OSError: disk full")
    assert read(tmp_path, config) is None


def test_a_message_survives_its_way_through_tune(tmp_path: Path, config: TrialConfig) -> None:
    for message in [*to_the_end(process(tmp_path, config)), Message("unusable", (), "why", True)]:
        assert Message.from_tune(message.to_tune() | {"trial_id": "x"}) == message
