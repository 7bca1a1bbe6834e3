"""The trial store: what goes in comes out, decisions are final, and damage is moved aside instead of believed.

All of it once on a folder and once on a bucket.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipeline.store import Decision, Files, LocalFiles, Proposal, StoreConflict, TrialStore
from pipeline.store.notices import LaunchProgress, StopRequest, TrialProgress
from pipeline.store.processes import Holder
from sept_core.documents import seal, unseal
from sept_core.errors import InputError, SeptError
from sept_core.results import METHOD_VERSION, Report, TrialConfig, TrialResult
from sept_core.trial import failed_result


def make_config(lr: float = 0.01) -> TrialConfig:
    return TrialConfig(
        method_version=METHOD_VERSION,
        protocol="base-to-new",
        selection="heldout",
        encoder="mini",
        encoder_fingerprint="0123456789abcdef",
        dataset="ESC10",
        manifest_digest="fedcba9876543210",
        embeddings_digest="fedcba9876543210",
        neighbors_digest=None,
        templates_digest=None,
        baseline="coop",
        sept=False,
        hyper={"n_ctx": 4, "lr": lr, "init": "random"},
        shots=16,
        folds=("2", "3"),
        seeds=(0,),
        epochs=20,
        report_every=10,
        batch_size=16,
    )


def make_curve(*objectives: float) -> tuple[Report, ...]:
    return tuple(
        Report(10 * (step + 1), {"val/h": h, "val/base": h, "loss/total": 1 / 3}, 0.1 * step, 1_700_000_000_000 + step)
        for step, h in enumerate(objectives)
    )


def make_result(config: TrialConfig) -> TrialResult:
    return TrialResult(
        signature=config.signature,
        config=config,
        state="finished",
        curve=make_curve(61.25, 70.1),
        validation={"h": 70.1, "base": 72.0, "new": 68.3},
        test={"h": 66.6},
        replicas=({"fold": "2", "seed": 0, "val_h": 70.1},),
        confusion={"base": [[3, 1], [0, 4]], "new": [[2]]},
        classnames={"base": ["baby cry", "chainsaw"], "new": ["rain"]},
        train_seconds=1.25,
        finished_ms=1_700_000_000_123,
        versions={"torch": "2.14.1"},
        machine="Linux x86_64",
    )


def make_proposal(number: int = 0, lr: float = 0.01, created_ms: int = 5) -> Proposal:
    config = make_config(lr)
    return Proposal(config.study_key, number, config.signature, config, {"lr": lr}, created_ms)


def make_decision(number: int = 0, *, objective: float | None = 70.1, **changes: Any) -> Decision:
    config = make_config()
    curve = make_curve(61.25, 70.1)
    decision = Decision(config.study_key, number, config.signature, "finished", 20, objective, curve, decided_ms=7)
    return dataclasses.replace(decision, **changes)


@pytest.fixture
def damages() -> list[str]:
    return []


@pytest.fixture
def store(files: Files, damages: list[str]) -> TrialStore:
    return TrialStore(files, on_damage=damages.append)


def key_of(store: TrialStore, ending: str) -> str:
    (key,) = [key for key in store.files.list() if key.endswith(ending)]
    return key


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

    def test_damage_is_logged_where_nobody_asked_for_it(
        self, store: TrialStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        result = make_result(make_config())
        key = f"trials/{result.config.study_key}/{result.signature}/result.json"
        store.files.write(key, b"")
        assert TrialStore(store.files).read_result(result.config.study_key, result.signature) is None
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert key in caplog.text

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
            f"'sweeps/s/{folder}/backup' does not belong to the sweep and is ignored; move it elsewhere"
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
    holder = Holder("vm", "vm boot", 7, "1", "aa", 1, 10, 20)
    progress = LaunchProgress("aa", 1, (TrialProgress("s", 0, 10, 10, 0, None),))
    stored: list[tuple[Callable[[Any], Any], Any, tuple[str, ...]]] = [
        (TrialResult.from_json, result.to_json(), ("finished_ms", "train_seconds")),
        (Proposal.from_json, proposal.to_json(), ("created_ms",)),
        (Decision.from_json, decision.to_json(), ("decided_ms",)),
        (Report.from_json, decision.curve[0].to_json(), ("timestamp_ms", "time_s")),
        (Holder.from_json, asdict(holder), ("since_ms", "renewed_ms", "released_ms")),
        (LaunchProgress.from_json, asdict(progress), ("trials.begun_ms", "trials.heard_ms")),
        (StopRequest.from_json, asdict(StopRequest("aa", "vm", 7, 10)), ("asked_ms",)),
    ]
    for parse, data, names in stored:
        parse(data)
        for name in names:
            changed = copy.deepcopy(data)
            part = changed["trials"][0] if "." in name else changed
            part[name.rpartition(".")[2]] = value
            with pytest.raises(ValueError, match="not a|is no"):
                parse(changed)


def test_a_sealed_document_opens_to_what_went_in() -> None:
    content = {"b": [1, 2.5, None, True], "a": {"ü": "\n"}, "tiny": 5e-324, "big": 10**20}
    assert unseal(seal(content)) == content


def test_numbers_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        seal({"h": float("nan")})


def reseal(data: bytes, **changes: Any) -> bytes:
    """A sealed document with other content and a digest that fits."""
    return seal({**unseal(data), **changes})


def safetensors(payload: bytes) -> bytes:
    """A file with one byte tensor, by the format's specification."""
    header = json.dumps({"x": {"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]}}).encode()
    return len(header).to_bytes(8, "little") + header + payload
