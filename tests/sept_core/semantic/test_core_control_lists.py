"""Control lists: neighbours that are known to be bad, made of nothing but the classes that are trained on."""

from __future__ import annotations

import pytest

from pipeline.data.prepared import find_neighbors
from sept_core.datasets import DATASETS, prompt_name, trained_classes
from sept_core.errors import InputError
from sept_core.semantic.control_lists import CONTROLS, control_lists
from sept_core.semantic.neighbors import check_neighbors


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("protocol", ["base-to-new", "few-shot"])
def test_control_lists_of_every_dataset_keep_the_rules_and_are_long_enough(name, protocol, tmp_path) -> None:
    for info in DATASETS.values():
        lists = find_neighbors(tmp_path, info, f"control:{name}", protocol)
        trained = trained_classes(info.classnames, protocol)
        assert lists.by_class.keys() == set(map(prompt_name, trained))
        assert name == "other-classes" or check_neighbors(lists, trained) == []
        assert min(map(len, lists.by_class.values())) >= 5, info.name
        assert lists.digest == find_neighbors(tmp_path, info, f"control:{name}", protocol).digest
        assert lists.digest != find_neighbors(tmp_path, info, None, protocol).digest


def test_other_classes_gives_each_class_the_terms_of_the_next_one(tmp_path) -> None:
    info = DATASETS["FSDD"]
    shipped = find_neighbors(tmp_path, info)
    lists = find_neighbors(tmp_path, info, "control:other-classes")
    classes = sorted(shipped.by_class)
    for one, other in zip(classes, [*classes[1:], classes[0]], strict=True):
        assert lists.by_class[one] == shipped.by_class[other]


def test_an_unknown_control_or_a_single_class_is_refused(tmp_path) -> None:
    shipped = find_neighbors(tmp_path, DATASETS["FSDD"])
    with pytest.raises(InputError, match="no control lists 'random'; did you mean 'random-words'"):
        control_lists("random", shipped, ["one", "two"])
    with pytest.raises(InputError, match="a single class has no other"):
        control_lists("other-classes", shipped, ["one"])
