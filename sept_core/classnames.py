"""Checks that given class names differ; loads no torch.

Whether the text tower of an encoder can distinguish them is decided by its tokenizer
(``tokenize_names`` in ``encoders/prefix.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from sept_core.datasets import prompt_name
from sept_core.errors import InputError

__all__ = ["check_names"]


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Class names as used in prompts.

    Raises:
        InputError: Fewer than two, an empty one, or two that are the same in a prompt.
    """
    prompts = tuple(prompt_name(name) for name in names)
    if len(prompts) < 2:
        raise InputError("fewer than two class names", fix="give at least two")
    seen: dict[str, str] = {}
    for name, prompt in zip(names, prompts, strict=True):
        if not prompt:
            raise InputError("a class name is empty", fix="leave it out")
        if prompt in seen:
            alike = (
                f"'{seen[prompt]}' and '{name}' are the same in a prompt"
                if seen[prompt] != name
                else f"'{name}' is given twice"
            )
            raise InputError(alike, fix="leave one of them out")
        seen[prompt] = name
    return prompts
