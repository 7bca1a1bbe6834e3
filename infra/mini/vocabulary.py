"""The phrases of the pretraining: concepts with synonyms (``vocabulary.txt``), and the templates around them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DIGITS", "ESC10", "TEMPLATES", "Concept", "read_vocabulary"]

# Hand-crafted templates of the benchmark and similar ones; "{}" is the bare name, which a learned context precedes.
TEMPLATES = (
    "{}",
    "This is a characteristic sound of {}.",
    "This is a recording of the spoken word {}.",
    "This is a sound of {}.",
    "This is a sound of {} being played.",
    "This is a human vocal sound of {}.",
    "This is a human vocal sound of {} speech.",
    "This is {} music.",
    "the sound of {}",
    "a recording of {}",
    "an audio clip of {}",
    "{} can be heard",
    "{} in the background",
    "a loud {}",
    "a distant {}",
    "I can hear {}",
    "someone says {}",
    "a field recording with {}",
)

ESC10 = (
    "baby cry",
    "chainsaw",
    "clock tick",
    "dog bark",
    "fire crackling",
    "helicopter",
    "person sneeze",
    "rain",
    "rooster",
    "sea waves",
)
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Concept:
    """One concept.

    Attributes:
        section: Kind of concept, such as ``animals``.
        names: Its name first, then synonyms and variants.
    """

    section: str
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the class."""
        return self.names[0]


def read_vocabulary() -> list[Concept]:
    """All concepts of ``vocabulary.txt``, in the order of the file."""
    concepts: list[Concept] = []
    section = ""
    for raw in Path(__file__).with_name("vocabulary.txt").read_text(encoding="utf-8").splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
        else:
            concepts.append(Concept(section, tuple(name.strip() for name in line.split("|"))))
    return concepts
