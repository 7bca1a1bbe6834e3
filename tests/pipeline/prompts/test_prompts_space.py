"""After a sweep, what SEPT did to the space of prompts is measured, stored, and shown."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from finished import SPEC, SWEEP, add_trial, finish

from pipeline.prompts import measure_space
from pipeline.prompts.measure_space import measure_missing, measure_pair
from pipeline.reports import collect, write_report
from pipeline.reports.space_pairs import pair_of, space_pairs, stored_spaces
from pipeline.store import TrialStore, open_files
from sept_core.errors import InputError
from sept_core.prompt_space import PromptSpace

Sept = Callable[..., tuple[int, str, str]]

MEASURE = """
import sys
from pipeline.prompts.measure_space import measure_pair
from pipeline.reports import collect
from pipeline.reports.space_pairs import pair_of
from pipeline.store import TrialStore, open_files
store = TrialStore(open_files(sys.argv[1]))
measure_pair(store, sys.argv[1], sys.argv[2], pair_of(collect(store, sys.argv[2]), "coop+sept"))
"""


def files_of(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.rglob("prompt-space-*.json")}


def measured(root: Path, study: str) -> PromptSpace:
    store = TrialStore(open_files(root))
    return measure_pair(store, str(root), SWEEP, pair_of(collect(store, SWEEP), study))


def test_a_study_and_its_twin_are_measured_together(own_root: Path) -> None:
    space = measured(own_root, "coop")
    assert [view.title for view in space.views] == ["hand-written", "CoOp", "CoOp + SEPT"]
    assert (len(space.classes), space.trained, space.groups) == (10, 5, ("base", "new"))
    assert [len(terms) for terms in space.neighbors] == [5] * 10
    assert [len(values) for view in space.views[1:] for values in view.values.values()] == [2] * (7 + 4 + 4 + 7)
    store = TrialStore(open_files(own_root))
    assert stored_spaces(store, space_pairs(collect(store, SWEEP))) == [PromptSpace.from_json(space.to_json())]


def test_zero_shot_of_a_real_encoder_has_a_drift_of_exactly_0(own_root: Path) -> None:
    values = measured(own_root, "zero-shot").views[1].values
    assert values["drift"] == values["drift_base"] == values["drift_new"] == [0.0, 0.0]


def test_the_same_bytes_come_again_and_from_another_process(own_root: Path) -> None:
    measured(own_root, "coop+sept")
    first = files_of(own_root)
    assert len(first) == 1
    measured(own_root, "coop+sept")
    assert files_of(own_root) == first
    for path in own_root.rglob("prompt-space-*.json"):
        path.unlink()
    subprocess.run([sys.executable, "-c", MEASURE, str(own_root), SWEEP], check=True)
    assert files_of(own_root) == first


def test_what_is_looked_at_of_new_classes_changes_no_trial_and_no_choice(
    own_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    measured(own_root, "coop+sept")
    # A sweep that is trained after new classes have been looked at, in the same process, is the same.
    other = tmp_path_factory.mktemp("other")
    finish(other)
    for path in sorted(other.rglob("checkpoint.safetensors")):
        before = own_root / path.relative_to(other)
        assert before.parent.is_dir()  # the same signature
    assert collect(TrialStore(open_files(other)), SWEEP) == collect(TrialStore(open_files(own_root)), SWEEP)


def test_without_neighbours_of_new_classes_it_says_so(own_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = measure_space.find_neighbors

    def base_only(root: object, info: object, given: object = None, protocol: str = "base-to-new") -> object:
        if protocol == "cross-dataset":
            raise InputError("there are none")
        return find(root, info, given, protocol)  # type: ignore[arg-type]

    monkeypatch.setattr(measure_space, "find_neighbors", base_only)
    space = measured(own_root, "coop+sept")
    assert space.groups == ("base",)
    assert space.remarks == ["New classes have no neighbours here, so only their drift is known (there are none)."]
    assert "violated_inter_new" not in space.views[1].values
    assert "drift_new" in space.views[1].values


def test_what_cannot_be_measured_is_told_and_the_rest_is(own_root: Path) -> None:
    store = TrialStore(open_files(own_root))
    table = collect(store, SWEEP)
    assert measure_missing(store, str(own_root), SWEEP, table, seconds=-1).left == ("ESC10.mini.base-to-new.coop+sept",)
    for path in own_root.rglob("checkpoint.safetensors"):
        path.unlink()
    done = measure_missing(store, str(own_root), SWEEP, table)
    (reason,) = done.refused.values()
    assert "checkpoint" in reason
    assert done.measured == 0


def test_a_report_shows_what_is_stored_and_names_the_command_for_the_rest(own_root: Path) -> None:
    store = TrialStore(open_files(own_root))
    _, files = write_report(store, SWEEP)
    assert "sept show done measures it" in store.files.read(files.table).decode()
    measured(own_root, "coop+sept")
    _, files = write_report(store, SWEEP)
    page, text = (store.files.read(key).decode() for key in (files.page, files.table))
    assert "sept show done measures" not in text
    assert "violated margins of new classes: CoOp " in text
    assert page.count("distances of 10 classes to their neighbours") == 3
    assert page.count("map of 10 classes and their neighbours") == 3
    # A damaged measurement is like none.
    (path,) = own_root.rglob("prompt-space-*.json")
    path.write_bytes(path.read_bytes()[:-20])
    assert "sept show done measures it" in store.files.read(write_report(store, SWEEP)[1].table).decode()


def test_sept_show_answers_in_100_columns_and_writes_the_pictures(sept: Sept, own_root: Path) -> None:
    code, out, err = sept("show", SWEEP, "ESC10.coop+sept", "--root", own_root)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    start = next(at for at, line in enumerate(lines) if "hand-written" in line)
    assert "CoOp + SEPT" in lines[start]
    assert max(len(line) for line in lines[start : start + 10]) <= 100
    pictures = [Path(line.removeprefix("Picture ")) for line in lines if line.startswith("Picture ")]
    assert [path.name.rsplit("-", 1)[1] for path in pictures] == ["distances.svg", "map.svg"]
    assert all(path.read_bytes().startswith(b"<svg") for path in pictures)
    # Of either of the twins, it is the same comparison; a sweep with one needs no name.
    for arguments in (("ESC10.coop",), ()):
        assert sept("show", SWEEP, *arguments, "--root", own_root)[1] == out
    plain = json.loads(sept("show", SWEEP, "coop", "--json", "--root", own_root)[1])
    assert [view["title"] for view in plain["views"]] == ["hand-written", "CoOp", "CoOp + SEPT"]


def test_json_of_all_studies_has_the_reason_where_one_could_not_be_measured(sept: Sept, tmp_path: Path) -> None:
    store = TrialStore(open_files(tmp_path))
    store.write_spec(SWEEP, SPEC.replace("coop+sept", "coop+sept, kgcoop+sept"))
    for method in ("coop+sept", "kgcoop+sept"):
        add_trial(store, method, 0, {"n_ctx": 2, "lr": 0.05})
    (checkpoint,) = tmp_path.glob("trials/*.kgcoop+sept/*/checkpoint.safetensors")
    checkpoint.unlink()
    code, out, err = sept("show", SWEEP, "--json", "--root", tmp_path)
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert "views" in found["ESC10.mini.base-to-new.coop+sept"]
    assert "checkpoint" in found["ESC10.mini.base-to-new.kgcoop+sept"]["not_measured"]


def test_margins_with_factors_of_their_own_are_shown_apart(sept: Sept, own_root: Path, tmp_path: Path) -> None:
    assert "its own margins" not in sept("show", SWEEP, "coop+sept", "--root", own_root)[1]
    # A study without a twin is shown alone.
    root = tmp_path / "factors"
    store = TrialStore(open_files(root))
    store.write_spec(SWEEP, SPEC)
    add_trial(store, "coop+sept", 0, {"n_ctx": 2, "lr": 0.05, "margin_inter": 1.5})
    out = sept("show", SWEEP, "--root", root)[1]
    assert "its own margins, new, other neighbours, %" in out
    assert "violated margins of new classes: CoOp + SEPT " in out


def test_sept_report_says_in_a_sentence_what_sept_did(sept: Sept, own_root: Path) -> None:
    assert "prompt space" not in sept("report", SWEEP, "--root", own_root)[1]
    measured(own_root, "coop+sept")
    out = sept("report", SWEEP, "--root", own_root)[1]
    assert "What SEPT did to the prompt space" in out
    assert "ESC10, violated margins of new classes: CoOp " in out


@pytest.mark.parametrize("method", ["tip-adapter", "treff"])
def test_a_cache_has_no_prompt_space(method: str, sept: Sept, own_root: Path) -> None:
    code, _, err = sept("show", SWEEP, f"ESC10.{method}", "--root", own_root)
    assert code == 2
    assert f"'{method}' does not learn text features of any name, so it has no prompt space" in " ".join(err.split())


def test_sept_show_names_the_nearest_study(sept: Sept, own_root: Path) -> None:
    code, _, err = sept("show", SWEEP, "coop+spet", "--root", own_root)
    assert code == 2
    assert "did you mean 'coop+sept'?" in err
