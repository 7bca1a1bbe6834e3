"""The trial store: what goes in comes out, and decisions are final. Once on a folder and once on a bucket."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from trial_records import (
    key_of,
    make_config,
    make_curve,
    make_decision,
    make_proposal,
    make_result,
    safetensors,
)

from pipeline.store import Decision, LocalFiles, Proposal, StoreConflict, TrialStore
from sept_core.checked_json import seal, unseal
from sept_core.errors import InputError, SeptError
from sept_core.results import Report, TrialResult
from sept_core.trial import failed_result
from sept_core.trial_config import TrialConfig


class TestTrials:
    def test_an_unknown_trial_has_nothing(self, store: TrialStore) -> None:
        config = make_config()
        assert store.read_result(config.study_key, config.signature) is None
        assert store.read_checkpoint(config) is None

    def test_a_result_comes_back_equal(self, store: TrialStore) -> None:
        result = make_result(make_config())
        store.write_result(result)
        assert store.read_result(result.config.study_key, result.signature) == result

    def test_many_results_are_read_at_once_and_those_that_are_missing_or_damaged_are_left_out(
        self, store: TrialStore, damages: list[str]
    ) -> None:
        results = [make_result(make_config(lr=0.001 * (number + 1))) for number in range(6)]
        for result in results[:5]:
            store.write_result(result)
        key = f"trials/{results[0].config.study_key}/{results[0].signature}/result.json"
        store.files.write(key, store.files.read(key)[:100])
        wanted = [(result.config.study_key, result.signature) for result in results]
        assert store.read_results(wanted) == {
            (result.config.study_key, result.signature): result for result in results[1:5]
        }
        assert len(damages) == 1
        assert store.read_results([]) == {}

    def test_a_failure_never_takes_the_place_of_a_finished_result(self, store: TrialStore) -> None:
        finished = make_result(make_config())
        failed = failed_result(finished.config, finished.curve[:1], "Traceback: out of memory")
        store.write_result(failed)
        assert store.read_result(finished.config.study_key, finished.signature) == failed
        store.write_result(finished)
        store.write_result(failed)
        assert store.read_result(finished.config.study_key, finished.signature) == finished

    def test_objects_lie_where_the_layout_says(self, store: TrialStore) -> None:
        config = make_config()
        store.write_config(config)
        store.write_config(config)
        store.write_checkpoint(config, safetensors(b"1234"))
        store.write_result(make_result(config))
        folder = f"trials/ESC10.mini.base-to-new.coop/{config.signature}"
        assert store.files.list() == [f"{folder}/{n}" for n in ("checkpoint.safetensors", "config.json", "result.json")]

    def test_documents_are_sorted_readable_and_end_with_a_newline(self, store: TrialStore) -> None:
        config = make_config()
        store.write_config(config)
        store.write_result(make_result(config))
        for ending in ("config.json", "result.json"):
            text = store.files.read(key_of(store, ending)).decode()
            assert text.endswith("}\n")
            assert text.count("\n") > 10
            assert list(json.loads(text)) == sorted(json.loads(text))
        assert TrialConfig.model_validate(json.loads(store.files.read(key_of(store, "config.json")))) == config

    def test_equal_results_are_equal_bytes(self) -> None:
        result = make_result(make_config())
        shuffled = dataclasses.replace(result, validation=dict(reversed(result.validation.items())))
        assert seal(result.to_json()) == seal(shuffled.to_json())


class TestProposalsAndDecisions:
    def test_a_folder_copied_into_a_sweeps_folder_counts_for_nothing_and_is_named_once(
        self, store: TrialStore, damages: list[str]
    ) -> None:
        proposal, decision = store.add_proposal("s", make_proposal()), store.write_decision("s", make_decision())
        for folder in ("members", "verdicts"):
            inner = f"{decision.study}/00000.json"
            data = store.files.read(f"sweeps/s/{folder}/{inner}")
            store.files.write(f"sweeps/s/{folder}/backup/{inner}", data)
            store.files.write(f"sweeps/s/{folder}/backup/again/{inner}", data)
        for _ in range(2):
            assert (store.proposals("s"), store.decisions("s")) == ([proposal], [decision])
        assert damages == [
            f"'sweeps/s/{folder}/backup' is not one of the sweep's trials and is ignored; move it elsewhere"
            for folder in ("members", "verdicts")
        ]

    def test_proposals_come_back_equal_and_in_order(self, store: TrialStore) -> None:
        proposals = [make_proposal(number, lr=0.001 * (number + 1)) for number in range(12)]
        for proposal in reversed(proposals):
            store.add_proposal("s", proposal)
        assert store.proposals("s") == proposals
        assert store.proposals("another") == []

    def test_parameters_keep_their_types(self, store: TrialStore) -> None:
        proposal = dataclasses.replace(make_proposal(), params={"a": 4, "b": 4.0, "c": "4"})
        store.add_proposal("s", proposal)
        (stored,) = store.proposals("s")
        assert {name: type(value) for name, value in stored.params.items()} == {"a": int, "b": float, "c": str}

    def test_the_same_proposal_again_is_fine_and_keeps_its_first_time(self, store: TrialStore) -> None:
        store.add_proposal("s", make_proposal(created_ms=5))
        assert store.add_proposal("s", make_proposal(created_ms=99)).created_ms == 5
        assert store.proposals("s")[0].created_ms == 5

    def test_another_proposal_under_the_same_number_is_a_conflict(self, store: TrialStore) -> None:
        store.add_proposal("s", make_proposal(0, lr=0.01))
        with pytest.raises(StoreConflict, match=r"members/.*/00000\.json"):
            store.add_proposal("s", make_proposal(0, lr=0.02))
        assert store.proposals("s") == [make_proposal(0, lr=0.01)]

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"state": "pruned", "epoch": 10, "objective": 61.25, "curve": make_curve(61.25)},
            {"state": "failed", "epoch": 0, "objective": None, "curve": (), "error": "ValueError: no"},
        ],
    )
    def test_decisions_come_back_equal(self, store: TrialStore, changes: dict[str, Any]) -> None:
        decision = make_decision(**changes)
        store.write_decision("s", decision)
        (stored,) = store.decisions("s")
        assert stored == decision
        assert stored.decided_ms == decision.decided_ms

    def test_a_decision_is_final(self, store: TrialStore) -> None:
        store.write_decision("s", make_decision())
        assert store.write_decision("s", make_decision(decided_ms=1234)).decided_ms == 7
        with pytest.raises(StoreConflict):
            store.write_decision("s", make_decision(state="pruned"))
        assert store.decisions("s") == [make_decision()]

    def test_a_failure_is_forgotten_but_not_what_another_driver_made_of_it_meanwhile(self, store: TrialStore) -> None:
        config, failed = make_config(), make_decision(state="failed", objective=None, error="no luck")
        keys = [f"sweeps/s/verdicts/{failed.study}/00000.json", f"trials/{failed.study}/{failed.signature}/result.json"]
        good = [seal(make_decision().to_json()), seal(make_result(config).to_json())]

        def other_driver() -> None:
            for key, data in zip(keys, good, strict=True):
                store.files.write(key, data)

        for meanwhile, left in ((other_driver, good), (lambda: None, [])):
            other_driver()
            for key in keys:
                store.files.delete(key)
            store.write_decision("s", failed)
            store.write_result(failed_result(config, (), "no luck"))
            assert store.forget_failures("s", meanwhile) == (not left)
            assert [*store.files.read_many(keys).values()] == left

    def test_without_the_lease_no_failure_is_forgotten(self, store: TrialStore) -> None:
        def lost() -> None:
            raise SeptError("the lease is lost")

        failed = store.write_decision("s", make_decision(state="failed", objective=None, error="no luck"))
        with pytest.raises(SeptError, match="the lease is lost"):
            store.forget_failures("s", lost)
        assert store.decisions("s") == [failed]

    def test_of_competing_sweep_drivers_one_names_a_number(self, store: TrialStore) -> None:
        def add(me: int) -> bool:
            try:
                store.add_proposal("s", make_proposal(0, lr=0.001 * (me + 1)))
            except StoreConflict:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(add, range(8))).count(True) == 1
        assert len(store.proposals("s")) == 1

    def test_thousands_of_proposals_list_in_seconds(self, tmp_path: Path) -> None:
        template = make_proposal()
        store = TrialStore(LocalFiles(tmp_path))
        folder = tmp_path / f"sweeps/s/members/{template.study}"
        folder.mkdir(parents=True)
        for number in range(2000):
            # Straight to the disk: what is timed is the reading.
            data = seal(dataclasses.replace(template, number=number).to_json())
            (folder / f"{number:05d}.json").write_bytes(data)
        started = time.perf_counter()
        assert len(store.proposals("s")) == 2000
        assert time.perf_counter() - started < 5


class TestSweeps:
    def test_specs_are_kept_word_for_word(self, store: TrialStore) -> None:
        text = "name: quickstart  # ein Wörtchen\r\ntrials: 8\n"
        store.write_spec("quickstart", text)
        assert store.read_spec("quickstart") == text
        store.write_spec("quickstart", "trials: 9\n", before=text)
        assert store.read_spec("quickstart") == "trials: 9\n"

    def test_a_spec_only_takes_the_place_of_the_one_that_was_read(self, store: TrialStore) -> None:
        store.write_spec("s", "trials: 8\n")
        store.write_spec("s", "trials: 8\n")
        store.write_spec("s", "trials: 20\n", before="trials: 8\n")
        for before in (None, "trials: 8\n"):
            with pytest.raises(StoreConflict, match="spec of sweep 's' was changed by another process"):
                store.write_spec("s", "trials: 10\n", before=before)
        assert store.read_spec("s") == "trials: 20\n"

    def test_sweeps_are_those_with_a_spec(self, store: TrialStore) -> None:
        assert store.sweeps() == []
        assert store.read_spec("b") is None
        store.write_spec("b", "x")
        store.write_spec("a-1.2_x", "x")
        store.add_proposal("no-spec", make_proposal())
        assert store.sweeps() == ["a-1.2_x", "b"]

    @pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "ü", "x" * 101])
    def test_a_name_that_cannot_be_a_folder_is_bad_input(self, store: TrialStore, name: str) -> None:
        with pytest.raises(InputError, match="cannot name a sweep"):
            store.read_spec(name)

    def test_a_spec_that_is_no_text_is_not_thrown_away(self, store: TrialStore) -> None:
        store.files.write("sweeps/s/spec.yaml", b"\xff\xfe\x00")
        with pytest.raises(SeptError, match="spec of sweep 's' is damaged"):
            store.read_spec("s")
        assert store.files.exists("sweeps/s/spec.yaml")


@pytest.mark.parametrize("value", [10**18, -1, 1e18, math.inf, math.nan, None, "soon"])
def test_what_no_calendar_has_is_damage_wherever_a_time_is_stored(value: Any) -> None:
    result, proposal, decision = make_result(make_config()), make_proposal(), make_decision()
    stored: list[tuple[Callable[[Any], Any], Any, tuple[str, ...]]] = [
        (TrialResult.from_json, result.to_json(), ("finished_ms", "train_seconds")),
        (Proposal.from_json, proposal.to_json(), ("created_ms",)),
        (Decision.from_json, decision.to_json(), ("decided_ms",)),
        (Report.from_json, decision.curve[0].to_json(), ("timestamp_ms", "time_s")),
    ]
    for parse, data, names in stored:
        parse(data)
        for name in names:
            changed = copy.deepcopy(data)
            changed[name] = value
            with pytest.raises(ValueError, match="not a|is no"):
                parse(changed)


def test_a_sealed_document_opens_to_what_went_in() -> None:
    content = {"b": [1, 2.5, None, True], "a": {"ü": "\n"}, "tiny": 5e-324, "big": 10**20}
    assert unseal(seal(content)) == content


def test_numbers_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        seal({"h": float("nan")})
