from __future__ import annotations

from sept_core.methods import declared_hyper, hyper_parameters, known_methods, split_method


def test_every_hyper_parameter_of_every_method_has_a_label_that_fits_an_axis() -> None:
    declared = declared_hyper()
    assert {name for method in known_methods() for name in hyper_parameters(*split_method(method))} <= declared.keys()
    for name, parameter in declared.items():
        assert f"({name})" in parameter.label
        assert 3 + len(name) < len(parameter.label) <= 56
