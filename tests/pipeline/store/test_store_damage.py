"""Damage is moved aside instead of believed. All of it once on a folder and once on a bucket."""

from __future__ import annotations

from typing import Any

import pytest
from trial_records import (
    key_of,
    make_config,
    make_decision,
    make_proposal,
    make_result,
    reseal,
    safetensors,
)

from pipeline.store import TrialStore
from sept_core.checked_json import seal


class TestDamage:
    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (lambda data: b"", "not JSON"),
            (lambda data: data[: len(data) // 2], "not JSON"),
            (lambda data: b"\xff\xfe" + data, "not JSON"),
            (lambda data: b"[1, 2]\n", "not a JSON object"),
            (lambda data: data.replace(b"66.6", b"99.9"), "does not match its sha256"),
            (lambda data: data.replace(b'"sha256"', b'"sha255"'), "sha256 of the content is missing"),
            (lambda data: reseal(data, state="pruned"), "state: Input should be"),
            (lambda data: reseal(data, signature="0" * 16), "is not its configuration's"),
            (lambda data: reseal(data, test=None), "not a trial result"),
        ],
    )
    def test_a_damaged_result_is_quarantined_and_absent(
        self, store: TrialStore, damages: list[str], damage: Any, reason: str
    ) -> None:
        result = make_result(make_config())
        store.write_result(result)
        path = key_of(store, "result.json")
        bad = damage(store.files.read(path))
        store.files.write(path, bad)
        assert store.read_result(result.config.study_key, result.signature) is None
        assert not store.files.exists(path)
        (key,) = store.files.list("quarantine")
        assert store.files.read(key) == bad
        assert len(damages) == 1
        assert reason in damages[0]
        assert key in damages[0]
        assert "\n" not in damages[0]
        # And the trial can be made again.
        store.write_result(result)
        assert store.read_result(result.config.study_key, result.signature) == result

    def test_a_result_copied_to_another_signature_is_not_believed(self, store: TrialStore, damages: list[str]) -> None:
        result, other = make_result(make_config()), make_config(lr=0.5)
        key = f"trials/{other.study_key}/{other.signature}/result.json"
        store.files.write(key, seal(result.to_json()))
        assert store.read_result(other.study_key, other.signature) is None
        assert "belongs to another key" in damages[0]

    def test_repeated_damage_keeps_every_version(self, store: TrialStore) -> None:
        result = make_result(make_config())
        key = f"trials/{result.config.study_key}/{result.signature}/result.json"
        for bad in (b"one", b"two", b"one"):
            store.files.write(key, bad)
            assert store.read_result(result.config.study_key, result.signature) is None
        assert sorted(store.files.read(kept) for kept in store.files.list("quarantine")) == [b"one", b"two"]

    def test_a_damaged_checkpoint_is_quarantined_and_absent(self, store: TrialStore, damages: list[str]) -> None:
        config = make_config()
        whole = safetensors(b"12345678")
        store.write_checkpoint(config, whole)
        assert store.read_checkpoint(config) == whole
        bad_ones = [b"", whole[:5], whole[:20], whole[:-1], whole + b"x", whole[:8] + b"?" + whole[9:]]
        for bad in bad_ones:
            store.write_checkpoint(config, bad)
            assert store.read_checkpoint(config) is None
        assert len(damages) == len(bad_ones)
        assert len(store.files.list("quarantine")) == len(bad_ones)

    def test_a_checkpoint_that_a_trial_refuses_can_be_moved_aside(self, store: TrialStore, damages: list[str]) -> None:
        config = make_config()
        data = safetensors(b"12345678")
        store.write_checkpoint(config, data)
        store.reject_checkpoint(config, data, "made for another\nsignature")
        assert store.read_checkpoint(config) is None
        assert damages[0].endswith("made for another signature")

    def test_moving_a_bad_checkpoint_aside_spares_a_newer_one(self, store: TrialStore) -> None:
        config = make_config()
        good = safetensors(b"good")
        store.write_checkpoint(config, good)
        store.reject_checkpoint(config, b"the bad one that stood there before", "damaged")
        assert store.read_checkpoint(config) == good

    def test_damaged_proposals_and_decisions_are_absent_and_can_be_written_again(
        self, store: TrialStore, damages: list[str]
    ) -> None:
        for number in range(3):
            store.add_proposal("s", make_proposal(number, lr=0.01 * (number + 1)))
            store.write_decision("s", make_decision(number))
        for folder in ("members", "verdicts"):
            key = key_of(store, f"{folder}/{make_proposal().study}/00001.json")
            store.files.write(key, store.files.read(key)[:40])
        assert [proposal.number for proposal in store.proposals("s")] == [0, 2]
        assert [decision.number for decision in store.decisions("s")] == [0, 2]
        assert len(damages) == 2
        store.add_proposal("s", make_proposal(1, lr=0.02))
        store.write_decision("s", make_decision(1))
        assert [proposal.number for proposal in store.proposals("s")] == [0, 1, 2]
        assert [decision.number for decision in store.decisions("s")] == [0, 1, 2]

    def test_a_damaged_proposal_does_not_stand_in_the_way_of_its_successor(
        self, store: TrialStore, damages: list[str]
    ) -> None:
        proposal = make_proposal()
        store.add_proposal("s", proposal)
        store.files.write(key_of(store, "00000.json"), b"{")
        assert store.add_proposal("s", proposal) == proposal
        assert store.proposals("s") == [proposal]
        assert len(damages) == 1

    def test_a_proposal_copied_to_another_number_is_not_counted_twice(self, store: TrialStore) -> None:
        store.add_proposal("s", make_proposal(0))
        key = key_of(store, "00000.json")
        store.files.write(key.replace("00000", "00001"), store.files.read(key))
        assert [proposal.number for proposal in store.proposals("s")] == [0]
