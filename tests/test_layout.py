"""Imports go downward only, at a module's top, for its types alone or within a function; none go in a circle."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up: a room imports from floors below its own, never from a neighbour on its floor.
FLOORS = (
    {"text", "drawing"},
    {"store"},
    {"spec"},
    {"data", "cluster", "neighbors"},
    {"search", "embed"},
    {"watch", "plan", "tracking", "reports"},
    {"prompts", "doctor"},
    {""},  # the Python API
    {"cli"},
)
CORE_FLOORS = (
    {"averages", "determinism", "checked_json", "errors", "suggestions", "text"},
    {"audio", "hyper", "json_dataclasses", "protocol_facts"},
    {"datasets"},
    {"classnames", "encoders"},
    {"prompt", "prompt_form"},
    {"semantic"},
    {"learners"},
    {"clip_batch", "evaluation", "gradients", "methods", "schedule", "train_state"},
    {"epoch_order"},
    {"prediction", "prompt_space", "protocols", "correct_counts", "training", "trial_config"},
    {"results"},
    {"checkpoint", "trial_inputs"},
    {"make_config"},
    {"trial"},
    {"batched_trials"},
    {""},
)


def modules(*packages: str) -> dict[str, Path]:
    found = {}
    for package in packages:
        for file in (ROOT / package).rglob("*.py"):
            found[".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = file
    return found


MODULES = modules("pipeline", "sept_core")


def imported(name: str) -> set[str]:
    """The project's modules that a module names in an import anywhere in its text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inner or {node.module or ""}
    return (found & MODULES.keys()) - {name}


IMPORTS = {name: imported(name) for name in MODULES}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize(("package", "floors"), [("pipeline", FLOORS), ("sept_core", CORE_FLOORS)])
def test_a_room_imports_only_from_floors_below_its_own(package: str, floors: tuple[set[str], ...]) -> None:
    floor = {name: number for number, names in enumerate(floors) for name in names}
    own = {name: path for name, path in MODULES.items() if name.partition(".")[0] == package}
    assert {room(name) for name in own} == floor.keys()
    upward = {
        f"{name} imports {other}"
        for name in own
        for other in IMPORTS[name]
        if other.startswith(package) and room(other) != room(name)
        if floor[room(name)] <= floor.get(room(other), len(floors))
    }
    assert not upward


def test_the_core_knows_nothing_of_the_pipeline() -> None:
    assert not [
        name for name in MODULES if name.startswith("sept_core") for other in IMPORTS[name] if "pipeline" in other
    ]


def test_nothing_that_trains_or_chooses_can_look_at_the_neighbours_of_new_classes() -> None:
    """Only what shows results imports the prompt space, which reads names and neighbours of new classes."""
    reached = {name for name in MODULES if name.startswith(("pipeline.search", "pipeline.embed", "sept_core.trial"))}
    while more := {other for name in reached for other in IMPORTS[name]} - reached:
        reached |= more
    assert len(reached) > 50
    assert not reached & {"sept_core.prompt_space", "pipeline.prompts.measure_space"}


def test_no_imports_go_in_a_circle() -> None:
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_module_is_longer_than_one_reads_in_one_sitting() -> None:
    assert [
        (name, lines) for name, file in MODULES.items() if (lines := len(file.read_text().splitlines())) > 350
    ] == []
