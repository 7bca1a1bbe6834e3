"""What becomes of the terms in an answer: the rules, and what is dropped with which reason."""

from __future__ import annotations

import json
import re

import pytest
from chat_server import YARD, Asked, Reply, Run, Server, chat, good

from pipeline.neighbors.prompt import known_to_model, messages
from pipeline.neighbors.terms import MAX_READ, read_terms, sort_out
from sept_core.datasets import DATASETS, prompt_name
from sept_core.semantic import load_neighbors


def test_names_of_other_classes_are_dropped_with_the_reason_and_others_asked_for(server: Server, run: Run) -> None:
    def respond(asked: Asked) -> Reply:
        if asked.classname == "rain" and "You gave these terms before" not in asked.body["messages"][1]["content"]:
            return chat(["drizzle", "a dog barking in drizzle", "rainy sea-waves"])
        return chat(good(asked))

    server.respond = respond
    outcome = run()
    assert [str(line) for line in outcome.dropped] == [
        "rain: 'a dog barking in drizzle' contains the name of the class 'dog bark'",
        "rain: 'rainy sea-waves' contains the name of the class 'sea waves'",
    ]
    assert outcome.neighbors.by_class["rain"] == ("drizzle", "rain aa", "rain ab")
    assert (
        "others: drizzle, a dog barking in drizzle, rainy sea-waves."
        in (server.asked[-1].body["messages"][1]["content"])
    )
    assert load_neighbors("Yard", run.out) == outcome.neighbors


def test_a_term_offered_for_two_classes_serves_neither() -> None:
    offered = {"dog bark": ["woof", "noise"], "rain": ["noise", "drizzle"], "sea waves": ["surf", "tide"]}
    state = sort_out(YARD, offered, 2)
    assert state.by_class == {"dog bark": ("woof",), "rain": ("drizzle",), "sea waves": ("surf", "tide")}
    assert state.missing == {"dog bark": 1, "rain": 1}
    assert [str(line) for line in state.dropped] == [
        "dog bark: 'noise' was also offered for 'rain'",
        "rain: 'noise' was also offered for 'dog bark'",
    ]


def test_what_is_offered_again_and_again_is_told_once_and_repeated_to_the_model_once(server: Server, run: Run) -> None:
    def respond(asked: Asked) -> Reply:
        if asked.classname == "rain":
            return chat(["dogs bark", "w" * 5000, *good(asked, start=10 * asked.number)[:2]])
        return chat(good(asked))

    server.respond = respond
    dropped = run(n=6).dropped
    assert server.classes["rain"] == 3
    assert [str(line) for line in dropped] == [
        "rain: 'dogs bark' contains the name of the class 'dog bark'",
        f"rain: '{'w' * 100}' has 100 characters, more than 60",
    ]


def test_half_a_character_in_a_term_does_not_stop_the_next_request(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat(["\ud800 a"]) if asked.number == 0 else chat(good(asked))
    assert [line.term for line in run().dropped] == ["\ud800 a"]
    assert "give 7 others: ? a." in server.asked[-1].body["messages"][1]["content"]


def test_a_model_is_shown_each_of_its_terms_once() -> None:
    request = messages(YARD, "rain", 5, ["drizzle", "mist", "drizzle"])[1]["content"]
    assert request.endswith("You gave these terms before; give 5 others: drizzle, mist.")


@pytest.mark.parametrize(
    ("term", "reason"),
    [
        ("rain", "is the name of the class itself"),
        ("drizzle", "is in the list twice"),
        ("", "is empty"),
        (" . ", "is empty"),
        ("w" * 61, "has 61 characters, more than 60"),
        ("one two three four five six", "has 6 words, more than 5"),
        ("pluie légère", "is not written in plain English letters"),
        ("\N{CJK UNIFIED IDEOGRAPH-96E8}", "is not written in plain English letters"),
        ("100 mm an hour", "is not written in plain English letters"),
        ("drizzle; fog", "is not written in plain English letters"),
        ("dogs bark", "contains the name of the class 'dog bark'"),
    ],
)
def test_each_rule_drops_the_term_that_breaks_it(term: str, reason: str) -> None:
    state = sort_out(YARD, {"rain": ["drizzle", term]}, 2)
    assert state.by_class["rain"] == ("drizzle",)
    assert [line.reason for line in state.dropped] == [reason]


def test_case_quotes_and_spaces_around_a_term_are_put_right() -> None:
    state = sort_out(YARD, {"rain": [' "Heavy_ Drizzle." ', "monsoon\N{RIGHT SINGLE QUOTATION MARK}s end"]}, 2)
    assert state.by_class["rain"] == ("heavy drizzle", "monsoon's end")
    assert state.dropped == ()


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ('{"terms": ["a", "b"]}', ["a", "b"]),
        ('["a"]', ["a"]),
        ('Sure [see below]: {"terms": ["a"]} Bye {x}', ["a"]),
        ('```json\n{"terms": ["a", 3, null]}\n```', ["a"]),
        ('As {"terms": ["...", "..."]}: ["x"], so {"terms": ["a"]}', ["a"]),
        ('{"result": {"terms": ["a"]}}', ["a"]),
        ("", None),
        ('{"terms": []}', None),
    ],
)
def test_terms_are_found_where_an_answer_has_them(text: str, terms: list[str] | None) -> None:
    assert read_terms(text) == terms


def test_an_endless_answer_is_read_to_a_bound() -> None:
    assert read_terms(json.dumps({"terms": ["a"] * 10_000})) == ["a"] * MAX_READ


@pytest.mark.parametrize("protocol", ["base-to-new", "cross-dataset"])
@pytest.mark.parametrize("name", DATASETS)
def test_every_registered_dataset_can_be_asked_for_and_its_packaged_lists_would_pass(name: str, protocol: str) -> None:
    info = known_to_model(DATASETS[name], protocol)
    chat = messages(info, prompt_name(info.classnames[0]), 24)
    assert all(f" {prompt_name(classname)}" in chat[1]["content"] for classname in info.classnames)
    new = [prompt_name(other) for other in DATASETS[name].classnames if other not in info.classnames]
    assert len(new) == (len(DATASETS[name].classnames) // 2 if protocol == "base-to-new" else 0)
    # The dataset's name would bring them in as well.
    for message in chat:
        for word in (*new, prompt_name(name)):
            assert not re.search(rf"\b{re.escape(word)}\b", message["content"].lower()), word
    packaged = load_neighbors(name, protocol=protocol).by_class
    state = sort_out(info, packaged, min(map(len, packaged.values())))
    assert (state.by_class, state.missing, state.dropped) == (packaged, {}, ())
