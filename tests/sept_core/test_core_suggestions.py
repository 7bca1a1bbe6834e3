from __future__ import annotations

import pytest

from sept_core.methods import known_methods
from sept_core.suggestions import known_words, nearest

METHODS = known_methods()


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("coop+spet", METHODS, "coop+sept"),
        ("CoOp", METHODS, "coop"),
        ("zero_shot", METHODS, "zero-shot"),
        ("FSDDD", ["ESC10", "FSDD"], "FSDD"),
        ("esc_50", ["ESC10", "ESC50"], "ESC50"),
        ("held-out", ["heldout", "nested", "paper"], "heldout"),
        ("kg", METHODS, None),  # kgcoop and kgcoop+sept begin so
        ("clap", ["laion-clap", "mini"], "laion-clap"),
        ("msclap-2023", ["msclap-2022", "msclap-2023"], "msclap-2023"),
        ("xyz", METHODS, None),
        ("", METHODS, None),
        ("anything", [], None),
    ],
)
def test_the_word_that_was_meant(word: str, known: list[str], meant: str | None) -> None:
    assert nearest(word, known) == meant


def test_an_unknown_word_ends_with_the_nearest_and_all_in_their_order() -> None:
    assert known_words("minni", ["mini", "laion-clap"]) == "did you mean 'mini'? known: mini, laion-clap"
    assert known_words("xyz", ["mini", "laion-clap"]) == "known: mini, laion-clap"
