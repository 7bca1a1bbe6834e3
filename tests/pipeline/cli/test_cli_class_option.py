from __future__ import annotations

import pytest

from pipeline.cli.console import class_option


@pytest.mark.parametrize(
    ("method", "option"),
    [
        ("coop+sept", "--classes 'rain, wind, my new class'"),
        ("tip-adapter", "--classes 'rain, wind, my new class'"),
        ("palm", "--classes 'rain, wind'"),
        ("linear-probe", "--classes 'rain, wind'"),
    ],
)
def test_a_suggested_prediction_has_a_new_class_if_the_method_can_name_it(method: str, option: str) -> None:
    assert class_option(["rain", "dog, barking", "wind"], method) == option
