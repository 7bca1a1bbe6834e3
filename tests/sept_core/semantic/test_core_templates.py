"""Templates: ten or more per kind of dataset, each with one place for the name."""

from __future__ import annotations

import pytest

from sept_core.datasets import DATASETS
from sept_core.errors import InputError
from sept_core.semantic.templates import fill, load_templates

KINDS = sorted({info.kind for info in DATASETS.values()})


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_ten_or_more_distinct_templates_with_one_slot(kind: str) -> None:
    templates = load_templates(kind)
    assert len(templates) >= 10
    assert len({template.casefold() for template in templates}) == len(templates)
    for template in templates:
        assert template.count("{}") == 1
        assert template.count("{") == template.count("}") == 1
        assert template == template.strip()
        assert template.isascii()
        assert template.endswith(".")


@pytest.mark.parametrize("name", DATASETS)
def test_zero_shot_template_of_a_dataset_is_not_repeated(name: str) -> None:
    assert DATASETS[name].template not in load_templates(DATASETS[name].kind)


def test_unknown_kind_is_named_with_those_there_are() -> None:
    with pytest.raises(
        InputError, match="no templates for the kind 'event'; did you mean 'events'\\? known: emotion, events,"
    ):
        load_templates("event")


def test_fill_puts_names_in_the_form_of_prompts_in_order() -> None:
    assert fill("The sound of {}.", ["Sea_Waves", "dog bark"]) == ["The sound of sea waves.", "The sound of dog bark."]


def test_fill_takes_names_with_braces_as_they_are() -> None:
    assert fill("The sound of {}.", ["a {0} b", "{}"]) == ["The sound of a {0} b.", "The sound of {}."]


@pytest.mark.parametrize(("template", "slots"), [("The sound.", 0), ("{} and {}", 2), ("The sound of {name}.", 0)])
def test_template_without_exactly_one_slot_is_refused(template: str, slots: int) -> None:
    with pytest.raises(InputError, match=f"exactly one '{{}}' for the class name, this one has {slots}"):
        fill(template, ["rain"])


def test_empty_name_is_refused() -> None:
    with pytest.raises(InputError, match="name number 2 is empty"):
        fill("The sound of {}.", ["rain", " "])
