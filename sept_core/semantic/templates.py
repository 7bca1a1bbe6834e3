"""Hand-crafted templates h_t of the margins m_{i,j,n} (SEPT, arXiv 2601.20867), by kind of dataset.

The margin of a class and a neighbour is the mean, over T of these templates, of the distance between the two filled
texts. They are in ``data/templates.json``, the most generic first, so that the first T are a sensible choice for any T.
The zero-shot template of a dataset is in the registry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files

from sept_core.datasets import prompt_name
from sept_core.errors import InputError
from sept_core.suggestions import known_words

__all__ = ["fill", "load_templates", "templates_digest"]

_SLOT = "{}"


def load_templates(kind: str) -> tuple[str, ...]:
    """The packaged templates of a kind of dataset, each with exactly one ``{}``, most generic first.

    Args:
        kind: events, instruments, emotion, scenes, music, vocal or speech.

    Raises:
        InputError: There are no templates for this kind.
    """
    source = files("sept_core") / "semantic" / "data" / "templates.json"
    by_kind: dict[str, list[str]] = json.loads(source.read_text(encoding="ascii"))
    if kind not in by_kind:
        raise InputError(f"no templates for the kind '{kind}'", fix=known_words(kind, sorted(by_kind)))
    return tuple(by_kind[kind])


def templates_digest(kind: str) -> str:
    """First 16 hex digits of the SHA-256 of a kind's templates; part of a trial's signature if SEPT is on."""
    canonical = json.dumps(load_templates(kind), separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:16]


def fill(template: str, names: Sequence[str], *, lower: bool = True) -> list[str]:
    """Put every name into the template, in the form that prompts use (lower case, underscores to spaces).

    Args:
        template: A text with exactly one ``{}``.
        names: Class names or neighbours, N of them.
        lower: Whether to lower-case them; not if they already have the form of the learned prompt.

    Returns:
        N texts, in the order of ``names``.

    Raises:
        InputError: The template does not have exactly one ``{}``, or a name is empty.
    """
    slots = template.count(_SLOT)
    if slots != 1:
        raise InputError(
            f"a template needs exactly one '{{}}' for the class name, this one has {slots}",
            where=f"template '{template}'",
            fix="write it like 'This is a sound of {}.'",
        )
    prompts = []
    for position, name in enumerate(names):
        spoken = prompt_name(name, lower=lower)
        if not spoken:
            raise InputError(
                f"name number {position + 1} is empty", where=f"template '{template}'", fix="give every class a name"
            )
        # Not str.format: a name may contain braces.
        prompts.append(template.replace(_SLOT, spoken))
    return prompts
