"""The exact prompts for the language model, and their version, which is part of the cache's keys.

The dataset's name is not sent: a model may know a public dataset's classes by its name, the new ones included.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.neighbors.terms import MAX_WORDS
from sept_core.datasets import DatasetInfo, prompt_name, trained_classes

__all__ = ["PROMPT_VERSION", "SCHEMA", "dataset_digest", "known_to_model", "messages", "prompt_text"]

SYSTEM = (
    "You list related terms for the classes of audio datasets. Answer with one JSON object and nothing else: "
    '{"terms": ["...", "..."]}'
)
REQUEST = """\
An audio dataset holds {subject}. Its classes: {classes}.
For the class '{classname}' give {count} related terms, best first: synonyms, fine-grained acoustic variants and \
natural-language expressions for the same sound.
Each term is English, 1 to {words} words in lower-case ASCII letters, without figures or punctuation.
Never use the name of another class, an inflection of it, or a term that would describe another class as well. \
No term may occur twice or be the name of the class itself."""
FOLLOW_UP = """
You gave these terms before; give {count} others: {given}."""
SUBJECTS = {
    "events": "short recordings of sound events",
    "instruments": "notes and strokes of musical instruments",
    "emotion": "spoken sentences, each in one emotion",
    "scenes": "recordings of everyday acoustic scenes",
    "music": "excerpts of music, each of one genre",
    "vocal": "non-speech sounds of the human voice",
    "speech": "spoken words",
}

PROMPT_VERSION = hashlib.sha256(json.dumps([SYSTEM, REQUEST, FOLLOW_UP, SUBJECTS]).encode()).hexdigest()[:8]
"""A digest of the texts themselves, so that no change of a word goes unnoticed."""

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"terms": {"type": "array", "items": {"type": "string"}}},
    "required": ["terms"],
    "additionalProperties": False,
}
"""JSON schema of an answer, in the subset that strict structured output allows."""


def dataset_digest(info: DatasetInfo) -> str:
    """16 hex digits that identify the request: the data set's name, its kind and the class names that are sent."""
    names = sorted(prompt_name(name) for name in info.classnames)
    return hashlib.sha256(json.dumps([info.name, info.kind, names]).encode()).hexdigest()[:16]


def known_to_model(info: DatasetInfo, protocol: str) -> DatasetInfo:
    """The data set with only the classes that the protocol trains on, since only these are sent to the model.

    All of `pipeline.neighbors` works on the result, so that prompts, rules and cache know no other classes.
    """
    return replace(info, classnames=trained_classes(info.classnames, protocol))


def prompt_text(info: DatasetInfo, classname: str, count: int) -> str:
    """The first request for a class.

    Args:
        info: The data set, with the classes that the model may know (`known_to_model`).
        classname: The class, in the form that prompts use; ``CLASS`` to get the text itself.
        count: How many terms to ask for.
    """
    return REQUEST.format(
        subject=SUBJECTS[info.kind],
        classes=", ".join(prompt_name(name) for name in info.classnames),
        classname=classname,
        count=count,
        words=MAX_WORDS,
    )


def messages(info: DatasetInfo, classname: str, count: int, given: Sequence[str] = ()) -> list[dict[str, str]]:
    """The chat to send; ``given`` are the terms of earlier answers, which the model must not repeat."""
    request = prompt_text(info, classname, count)
    if given:
        # A model can write half characters, which no request can contain.
        terms = ", ".join(dict.fromkeys(given)).encode(errors="replace").decode()
        request += FOLLOW_UP.format(count=count, given=terms)
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": request}]
