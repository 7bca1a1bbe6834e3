"""The registry against the benchmark's table."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sept_core.datasets import DATASETS, get_dataset, halves, prompt_name
from sept_core.errors import InputError

# name: folds, classes, last base class, first new class, what the template says
EXPECTED = {
    "Beijing-Opera": (5, 4, "daluo", "naobo", "This is a sound of {} being played."),
    "CREMA-D": (1, 6, "fear", "happy", "This is a human vocal sound of {} speech."),
    "ESC50": (5, 50, "footsteps", "frog", "This is a characteristic sound of {}."),
    "ESC50-Actions": (5, 10, "crying baby", "drinking sipping", "This is a characteristic sound of {}."),
    "GT-Music-Genre": (1, 10, "hiphop", "jazz", "This is {} music."),
    "NS-Instruments": (1, 10, "keyboard", "mallet", "This is a sound of {} being played."),
    "RAVDESS": (1, 8, "fearful", "happy", "This is a human vocal sound of {} speech."),
    "SESA": (1, 4, "explosion", "gunshot", "This is a sound of {}."),
    "TUT2017": (4, 15, "home", "library", "This is a sound of {}."),
    "UrbanSound8K": (10, 10, "drilling", "engine idling", "This is a characteristic sound of {}."),
    "VocalSound": (1, 6, "Sigh", "Sneeze", "This is a human vocal sound of {}."),
    "ESC10": (5, 10, "fire crackling", "helicopter", "This is a characteristic sound of {}."),
    "FSDD": (6, 10, "one", "seven", "This is a recording of the spoken word {}."),
    "Synth12": (6, 12, "fireworks", "frying", "This is a sound of {}."),
}
KINDS = {"events", "instruments", "emotion", "scenes", "music", "vocal", "speech"}


def test_registry_is_the_benchmarks_eleven_and_the_three_extras() -> None:
    assert list(DATASETS) == list(EXPECTED)
    assert [name for name, info in DATASETS.items() if info.extra] == ["ESC10", "FSDD", "Synth12"]


@pytest.mark.parametrize("name", EXPECTED)
def test_dataset_has_the_benchmarks_classes_folds_and_template(name: str) -> None:
    folds, classes, last_base, first_new, template = EXPECTED[name]
    info = DATASETS[name]
    assert info.name == name
    assert len(info.folds) == len(set(info.folds)) == folds
    assert len(info.classnames) == len(set(info.classnames)) == classes
    assert list(info.classnames) == sorted(info.classnames)
    base, new = halves(info.classnames)
    assert (base[-1], new[0]) == (last_base, first_new)
    assert base + new == info.classnames
    assert len(base) == math.ceil(classes / 2)
    assert info.template == template
    assert info.template.count("{}") == 1
    assert info.kind in KINDS


@pytest.mark.parametrize("name", EXPECTED)
def test_single_split_datasets_test_on_fold_test_and_others_on_each_fold(name: str) -> None:
    info = DATASETS[name]
    assert (info.split == "fixed") == (info.folds == ("test",))


def test_numbered_folds_are_in_numeric_order() -> None:
    assert DATASETS["UrbanSound8K"].folds == ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10")


def test_fsdd_folds_are_its_speakers() -> None:
    assert DATASETS["FSDD"].folds == ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def test_esc50_actions_are_classes_of_esc50() -> None:
    assert set(DATASETS["ESC50-Actions"].classnames) <= set(DATASETS["ESC50"].classnames)


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("esc10", "ESC10"),
        ("ESC-10", "ESC10"),
        ("esc50-actions", "ESC50-Actions"),
        ("esc50_actions", "ESC50-Actions"),
        ("beijing_opera", "Beijing-Opera"),
        ("Beijing Opera", "Beijing-Opera"),
        ("cremad", "CREMA-D"),
    ],
)
def test_a_dataset_is_found_whatever_the_case_and_the_hyphens(given_name: str, name: str) -> None:
    assert get_dataset(given_name) is DATASETS[name]


def test_an_unknown_dataset_is_refused_with_the_nearest_and_all_names() -> None:
    with pytest.raises(InputError) as caught:
        get_dataset("esc-11")
    line = str(caught.value)
    assert "unknown dataset 'esc-11'; did you mean 'ESC10'?" in line
    assert all(name in line for name in DATASETS)
    assert "\n" not in line


def test_a_name_near_to_nothing_gets_no_guess() -> None:
    with pytest.raises(InputError, match=r"unknown dataset 'zzzz'; known: Beijing-Opera"):
        get_dataset("zzzz")


@pytest.mark.parametrize(
    ("classname", "words"),
    [
        ("Throat clearing", "throat clearing"),
        ("city_center", "city center"),
        (" door_wood_knock ", "door wood knock"),
        ("cafe/restaurant", "cafe/restaurant"),
    ],
)
def test_prompt_name_is_lower_case_with_spaces(classname: str, words: str) -> None:
    assert prompt_name(classname) == words


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=2, max_size=20, unique=True), st.randoms())
def test_halves_do_not_depend_on_the_order_given_and_base_takes_the_odd_one(names: list[str], random) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)
    base, new = halves(shuffled)
    assert (base, new) == halves(names)
    assert list(base + new) == sorted(names)
    assert len(base) - len(new) in (0, 1)


def test_halves_refuse_one_class_and_doubled_names() -> None:
    with pytest.raises(InputError, match="at least two"):
        halves(["rain"])
    with pytest.raises(InputError, match="more than once: rain"):
        halves(["rain", "dog", "rain"])


def test_the_registry_is_read_only() -> None:
    with pytest.raises(TypeError):
        DATASETS["mine"] = DATASETS["ESC10"]  # type: ignore[index]


def test_naming_a_dataset_does_not_import_torch() -> None:
    code = "import sys, sept_core.datasets as d; d.get_dataset('esc10'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
