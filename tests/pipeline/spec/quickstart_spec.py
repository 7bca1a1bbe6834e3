"""The quickstart sweep with changes, for tests of specs."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.spec import SweepSpec, load_sweep
from sept_core.errors import InputError


def quickstart(**changes: Any) -> SweepSpec:
    return load_sweep("quickstart", changes)


def refusal(changes: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        load_sweep("quickstart", changes)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("quickstart.yaml")
    return line
