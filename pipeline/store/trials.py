"""The trial store: the only record of what was run, what it gave and what each sweep decided.

    trials/<study>/<signature>/config.json, checkpoint.safetensors, result.json     belong to no sweep
    sweeps/<sweep>/spec.yaml, members/<study>/<number>.json, verdicts/<study>/<number>.json
    quarantine/<key>.<digest>                                                       damaged objects, moved aside

Everything else (the state of the search, MLflow, tables) is computed from this and can be deleted. Trials belong to no
sweep, so that a configuration is trained once, whichever sweep asks for it; a sweep's decisions are stored with the
sweep.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pipeline.store.base import StoreDenied
from pipeline.store.open_store import Files
from pipeline.store.records import Decision, Proposal
from sept_core.checked_json import parse_json, seal, unseal
from sept_core.errors import InputError, SeptError
from sept_core.results import TrialResult
from sept_core.trial_config import TrialConfig, folder_of_study

__all__ = ["StoreConflict", "TrialStore"]

logger = logging.getLogger(__name__)

Record = TypeVar("Record", Proposal, Decision, TrialResult)

_SWEEP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class StoreConflict(SeptError):  # noqa: N818 (it names a state of the store, like BrokenPipe)
    """A different proposal or decision is already in the store; the stored one stays."""


class TrialStore:
    """Trials, proposals and decisions as objects of ``Files``.

    Safe to use from several processes: every object is published whole, and proposals and decisions are created at most
    once. A damaged object (bad JSON, wrong digest, wrong signature) is moved to ``quarantine/``, reported as a warning
    in one line and counts as absent, so that its trial or decision is made again.

    Args:
        files: Where the objects are stored.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self._named: set[str] = set()  # objects in places where nothing belongs, so that each is reported once

    # Trials

    def write_config(self, config: TrialConfig) -> None:
        """Write the configuration of a trial for people and tools to read, unless it is there already."""
        data = json.dumps(config.model_dump(mode="json"), sort_keys=True, indent=1, ensure_ascii=True) + "\n"
        self.files.create(trial_key(config.study_key, config.signature, "config.json"), data.encode())

    def read_checkpoint(self, config: TrialConfig) -> bytes | None:
        """The newest checkpoint of a trial; None if there is none or it is not a complete safetensors file."""
        key = trial_key(config.study_key, config.signature, "checkpoint.safetensors")
        try:
            data = self.files.read(key)
        except FileNotFoundError:
            return None
        reason = _safetensors_damage(data)
        if reason:
            self._quarantine(key, data, reason)
            return None
        return data

    def write_checkpoint(self, config: TrialConfig, data: bytes) -> None:
        """Publish a checkpoint, replacing the last one."""
        self.files.write(trial_key(config.study_key, config.signature, "checkpoint.safetensors"), data)

    def reject_checkpoint(self, config: TrialConfig, data: bytes, reason: str) -> None:
        """Quarantine a checkpoint that the trial could not load, so that the trial starts from the beginning."""
        key = trial_key(config.study_key, config.signature, "checkpoint.safetensors")
        self._quarantine(key, data, reason)

    def read_result(self, study: str, signature: str) -> TrialResult | None:
        """The result of a trial; None if it has not ended (or its result was damaged)."""
        key = trial_key(study, signature, "result.json")
        return self._read(key, TrialResult.from_json, _belongs_to(study, signature))

    def read_results(self, trials: Iterable[tuple[str, str]]) -> dict[tuple[str, str], TrialResult]:
        """The results of all trials (study, signature) that have ended: `read_result` of many at once."""
        # Studies of several cells may have one trial in common.
        wanted: dict[str, list[tuple[str, str]]] = {}
        for study, signature in dict.fromkeys(trials):
            wanted.setdefault(trial_key(study, signature, "result.json"), []).append((study, signature))
        found: dict[tuple[str, str], TrialResult] = {}
        for key, data in self.files.read_many(wanted).items():
            result = self._judge(key, data, TrialResult.from_json, _belongs_to(*wanted[key][0]))
            if result is not None:
                found |= dict.fromkeys(wanted[key], result)
        return found

    def write_result(self, result: TrialResult) -> None:
        """Publish how a trial ended. A failure never replaces an existing result."""
        key = trial_key(result.config.study_key, result.signature, "result.json")
        if result.state == "failed":
            self.files.create(key, seal(result.to_json()))
        else:
            self.files.write(key, seal(result.to_json()))

    # Sweeps

    def sweeps(self) -> list[str]:
        """Names of all sweeps that have a spec."""
        keys = (key.split("/") for key in self.files.list("sweeps"))
        return sorted(parts[1] for parts in keys if len(parts) == 3 and parts[2] == "spec.yaml")

    def read_spec(self, sweep: str) -> str | None:
        """The YAML text of a sweep; None for an unknown sweep."""
        try:
            return self.files.read(sweep_key(sweep, "spec.yaml")).decode("utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise SeptError(f"the spec of sweep '{sweep}' is damaged ({error}); put the original back") from error

    def write_spec(self, sweep: str, text: str, before: str | None = None) -> None:
        """Store the YAML text of a sweep, in place of the one that was read (None: there was none).

        Raises:
            StoreConflict: Another text was stored meanwhile.
        """
        expected = None if before is None else before.encode("utf-8")
        replaced = self.files.replace(sweep_key(sweep, "spec.yaml"), expected, text.encode("utf-8"))
        if not replaced and self.read_spec(sweep) != text:
            raise StoreConflict(f"the spec of sweep '{sweep}' was changed by another process; check it, and try again")

    def add_proposal(self, sweep: str, proposal: Proposal) -> Proposal:
        """Store a proposal of the sweep, before its trial starts.

        Returns:
            The stored proposal: the one given, or an equal one that was there already (with its ``created_ms``).

        Raises:
            StoreConflict: The number belongs to a different trial.
        """
        key = sweep_key(sweep, f"members/{proposal.study}/{proposal.number:05d}.json")
        return self._create(key, proposal, Proposal.from_json)

    def proposal(self, sweep: str, study: str, number: int) -> Proposal | None:
        """One proposal of a sweep; None if there is none with this number."""
        key = sweep_key(sweep, f"members/{study}/{number:05d}.json")
        return self._read(key, Proposal.from_json, _stands_at(key))

    def proposals(self, sweep: str, known: Iterable[Proposal] = ()) -> list[Proposal]:
        """All proposals of a sweep, by study and number. Those ``known`` from before are not read again."""
        proposals = self._read_all(sweep_key(sweep, "members"), Proposal.from_json, known)
        return sorted(proposals, key=lambda proposal: (proposal.study, proposal.number))

    def write_decision(self, sweep: str, decision: Decision) -> Decision:
        """Store a decision of the sweep on a trial. A decision is final.

        Returns:
            The stored decision: the one given, or an equal one that was there already (with its ``decided_ms``).

        Raises:
            StoreConflict: There is a different decision already.
        """
        key = sweep_key(sweep, f"verdicts/{decision.study}/{decision.number:05d}.json")
        return self._create(key, decision, Decision.from_json)

    def decisions(self, sweep: str, known: Iterable[Decision] = ()) -> list[Decision]:
        """All decisions of a sweep, by study and number. Those ``known`` from before are not read again."""
        decisions = self._read_all(sweep_key(sweep, "verdicts"), Decision.from_json, known)
        return sorted(decisions, key=lambda decision: (decision.study, decision.number))

    def forget_failures(self, sweep: str, guard: Callable[[], None]) -> int:
        """Remove the decisions on failed trials and the failed results, so that these trials are run once more.

        Only what was read as failed is removed: a result or decision that another process writes meanwhile stays.

        Args:
            sweep: Name of the sweep, whose lease the caller holds.
            guard: Called before every removal; raises if the lease is lost.

        Returns:
            Number of removed decisions.
        """
        removed = 0
        for decision in self.decisions(sweep):
            if decision.state != "failed":
                continue
            self._remove_failed(
                trial_key(decision.study, decision.signature, "result.json"),
                TrialResult.from_json,
                _belongs_to(decision.study, decision.signature),
                guard,
            )
            key = sweep_key(sweep, f"verdicts/{decision.study}/{decision.number:05d}.json")
            removed += self._remove_failed(key, Decision.from_json, _stands_at(key), guard)
        return removed

    def _remove_failed(
        self, key: str, parse: Callable[[Any], Record], check: Callable[[Any], bool], guard: Callable[[], None]
    ) -> bool:
        """Remove a decision or result with state ``failed``, unless it was replaced since it was read."""
        try:
            data = self.files.read(key)
        except FileNotFoundError:
            return False
        record = self._judge(key, data, parse, check)
        if record is None or isinstance(record, Proposal) or record.state != "failed":
            return False
        guard()
        return self.files.remove(key, data)

    # Shared by both

    def _create(self, key: str, record: Record, parse: Callable[[Any], Record]) -> Record:
        data = seal(record.to_json())
        # Twice at most: a damaged object in the way is moved aside first.
        for _ in range(2):
            if self.files.create(key, data):
                return record
            stored = self._read(key, parse, _stands_at(key))
            if stored == record:
                return stored
            if stored is not None:
                raise StoreConflict(f"'{key}' is already in the store with other content")
        raise StoreConflict(f"'{key}' cannot be created: something else keeps writing it")

    def _read_all(self, folder: str, parse: Callable[[Any], Record], known: Iterable[Any]) -> list[Record]:
        listed = [key for key in self.files.list(folder) if self._has_place(folder, key)]
        there = {f"{folder}/{record.study}/{record.number:05d}.json": record for record in known}
        new = self.files.read_many(key for key in listed if key not in there)
        found = [there[key] for key in listed if key in there]
        found += (self._judge(key, data, parse, _stands_at(key)) for key, data in new.items())
        return [record for record in found if record is not None]

    def _has_place(self, folder: str, key: str) -> bool:
        """Whether a key in a sweep's folder belongs to a trial or decision; a copied folder in it is reported."""
        inner = key.removeprefix(f"{folder}/").split("/")
        if len(inner) != 2 and key.endswith(".json") and (other := f"{folder}/{inner[0]}") not in self._named:
            self._named.add(other)
            logger.warning(f"'{other}' is not one of the sweep's trials and is ignored; move it elsewhere")
        return len(inner) == 2 and key.endswith(".json")

    def _read(self, key: str, parse: Callable[[Any], Record], check: Callable[[Any], bool]) -> Record | None:
        try:
            data = self.files.read(key)
        except FileNotFoundError:
            return None
        return self._judge(key, data, parse, check)

    def _judge(
        self, key: str, data: bytes, parse: Callable[[Any], Record], check: Callable[[Any], bool]
    ) -> Record | None:
        """The record in the bytes at ``key``; None if they are damaged, and then they are moved aside."""
        try:
            record = parse(unseal(data))
            if not check(record):
                raise ValueError("it belongs to another key")
        except ValueError as error:
            self._quarantine(key, data, str(error))
            return None
        return record

    def _quarantine(self, key: str, data: bytes, reason: str) -> None:
        kept = f"quarantine/{key}.{hashlib.sha256(data).hexdigest()[:8]}"
        # First copy, then remove, and only the bytes that were read: another process may have put a good object there
        # meanwhile.
        line = " ".join(reason.split())
        try:
            self.files.create(kept, data)
            self.files.remove(key, data)
        except StoreDenied:
            # A user without write permission can still read.
            logger.warning(f"damaged '{key}' counts as absent, and stays because it cannot be moved: {line}")
        else:
            logger.warning(f"damaged '{key}' moved to '{kept}' and counts as absent: {line}")


def trial_key(study: str, signature: str, name: str) -> str:
    """Key of an object of a trial."""
    return f"trials/{folder_of_study(study)}/{signature}/{name}"


def sweep_key(sweep: str, name: str) -> str:
    """Key of an object of a sweep.

    Raises:
        InputError: The sweep's name cannot name a folder.
    """
    if not _SWEEP_NAME.fullmatch(sweep):
        raise InputError(
            f"'{sweep}' cannot name a sweep",
            fix="use up to 100 letters, digits, '.', '_' and '-', a letter or digit first",
        )
    return f"sweeps/{sweep}/{name}"


def _belongs_to(study: str, signature: str) -> Callable[[TrialResult], bool]:
    """Whether a result is of this trial."""
    return lambda result: result.signature == signature and result.config.study_key == folder_of_study(study)


def _stands_at(key: str) -> Callable[[Any], bool]:
    """Whether a record belongs to its key; a file copied to another number would be counted twice."""
    return lambda record: key.endswith(f"/{record.study}/{record.number:05d}.json")


def _safetensors_damage(data: bytes) -> str:
    """Why the bytes cannot be a complete safetensors file, by its header alone; empty if they may be one."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or len(data) < 8 + size:
        return f"cut short at {len(data)} bytes"
    try:
        header = parse_json(data[8 : 8 + size])
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "its header cannot be read"
    if max(ends, default=0) != len(data) - 8 - size:
        return f"its header does not describe its {len(data)} bytes"
    return ""
