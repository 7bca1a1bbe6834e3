"""Replies of every kind: taken where they hold terms, reported in the server's words where not, never paid in vain."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from chat_server import KEY, NAMES, YARD, Asked, Reply, Run, Server, chat, fail_first, fault, good

from pipeline.neighbors.reply import said
from sept_core.datasets import DatasetInfo
from sept_core.errors import InputError, SeptError

LARGE = DatasetInfo("Large", "events", tuple(f"kind {a}{b}" for a in "bcdf" for b in "ghjkl"), "{}.", ("t",), "fixed")


def choice(message: Any, **other: Any) -> Reply:
    return Reply({"choices": [{"message": message, **other}]})


def text(asked: Asked) -> str:
    return json.dumps({"terms": good(asked)})


def halves(asked: Asked) -> list[str]:
    whole = text(asked)
    return [whole[:9], whole[9:]]


@pytest.mark.parametrize(
    "answer",
    [
        lambda asked: choice({"content": [{"type": "text", "text": part} for part in halves(asked)]}),
        lambda asked: choice({"content": [{"type": "thinking", "text": "x"}, {"type": "text", "text": text(asked)}]}),
        lambda asked: choice({"content": halves(asked)}),
        lambda asked: chat(f"```json\n{text(asked)}\n```"),
        lambda asked: chat(good(asked), message={"reasoning_content": '{"terms": ["a draft"]}'}),
        lambda asked: chat(None, message={"tool_calls": [{"function": {"name": "f", "arguments": text(asked)}}]}),
        lambda asked: chat(None, message={"function_call": {"name": "f", "arguments": text(asked)}}),
        lambda asked: Reply({"choices": [{"message": {"content": t}} for t in (None, "no", text(asked))]}),
        lambda asked: Reply({"error": None, "choices": [{"message": {"content": text(asked)}}]}),
        lambda asked: choice({"content": text(asked), "refusal": None}, finish_reason="length"),
    ],
)
def test_terms_are_taken_wherever_a_reply_holds_them(server: Server, run: Run, answer: Any) -> None:
    server.respond = answer
    assert run().neighbors.by_class["rain"] == ("rain aa", "rain ab", "rain ac")
    assert len(server.asked) == len(NAMES)


UNUSABLE: list[tuple[Any, str]] = [
    (chat("I can't help."), "the answer holds no list of terms: 'I can't help.'; use another --model"),
    (chat("{}"), "the answer holds no list of terms: '{}'"),
    (chat('{"terms": "rain"}'), "the answer holds no list of terms"),
    (chat("[1, 2, 3]"), "the answer holds no list of terms"),
    (chat("[" * 5000), "the answer holds no list of terms"),
    (
        chat('{"terms": ["rain a", "ra', finish="length"),
        "cut off at the token limit: .*set --max-tokens, or ask",
    ),
    (chat("", finish="length"), "the answer was cut off at the token limit; set --max-tokens"),
    (chat(None, message={"refusal": "Not this."}), "the model refuses to answer: 'Not this.'; use another --model"),
    (choice({"content": [{"type": "refusal", "refusal": "Not this."}]}), "the model refuses to answer: 'Not this.'"),
    (chat("", finish="content_filter"), "a content filter withheld the answer"),
    (fault(400, "filtered", code="content_filter"), "a content filter refuses the request: 'filtered'"),
    (
        Reply({"error": {"message": "flagged", "code": 403, "metadata": {"flagged_input": "x"}}}, 403),
        "a content filter refuses the request: 'flagged'",
    ),
    (chat(None), "the answer is empty"),
    (choice({"content": [{"type": "text"}]}), "the answer is empty"),
    (chat(None, message={"tool_calls": [{"function": {"arguments": "{}"}}]}), "the model calls a tool"),
    (chat(None, message={"reasoning": "hm"}), "the model only reasoned and gave no answer; set --max-tokens"),
    (Reply({"error": {"message": "upstream down", "code": 502}}), "reports an error .*: 'upstream down'; do what"),
    (Reply({"error": "upstream down", "choices": None}), "reports an error in place of an answer: 'upstream down'"),
    (Reply({"error": "down", "choices": []}), "reports an error in place of an answer: 'down'"),
    (Reply([{"error": {"message": "down"}}]), "reports an error in place of an answer: 'down'"),
    (Reply({"choices": [{"error": {"message": "down"}, "finish_reason": "error"}]}), "an error in place .*: 'down'"),
    (Reply({"choices": []}), "the server sent no answer from a model: '{\"choices\": \\[\\]}'"),
    (Reply({"choices": None}), "the server sent no answer from a model"),
    (Reply({"choices": [None, 3, {}]}), "the server sent no answer from a model"),
    (Reply({"detail": "no such route"}), "the server sent no answer from a model: 'no such route'"),
    (Reply("null"), "the server sent no answer from a model"),
    (Reply("[1]"), "an error in place of an answer: '1'"),
    (
        Reply("<html><script>x()</script><h1>Sign in</h1></html>", headers={"content-type": "text/html"}),
        "the server sent a web page in place of an answer: 'Sign in'; check --base-url; it commonly ends in /v1",
    ),
    (Reply("not json"), "the server's answer is not JSON: 'not json'"),
    (
        Reply('data: {"choices": [{"delta": {"content": "a"}}]}\n\n'),
        "the server streams its answer, although that was not",
    ),
]


@pytest.mark.parametrize(("answer", "complaint"), UNUSABLE)
def test_a_first_round_without_a_usable_answer_ends_it_with_the_one_reason_in_one_line(
    server: Server, run: Run, answer: Reply, complaint: str
) -> None:
    server.respond = lambda asked: answer
    with pytest.raises(SeptError) as caught:
        run()
    line = str(caught.value)
    assert re.search(complaint, line)
    assert line.startswith(f"{server.host}: none of 3 answers can be used: ")
    assert line.isprintable()
    assert len(server.asked) == len(NAMES)
    assert not run.out.exists()


@pytest.mark.parametrize("answer", [answer for answer, _ in UNUSABLE])
def test_one_unusable_answer_is_counted_and_the_class_asked_again(server: Server, run: Run, answer: Reply) -> None:
    server.respond = fail_first(1, answer)
    outcome = run()
    assert outcome.unusable == 1
    assert server.classes == {"dog bark": 2, "rain": 1, "sea waves": 1}


def test_of_many_classes_only_the_first_few_are_paid_for_in_vain(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat("no")
    with pytest.raises(SeptError, match=r"none of [56] answers can be used, so no more were asked for: "):
        run(info=LARGE)
    assert len(server.asked) <= 6
    server.respond = lambda asked: chat("no") if asked.number < 10 else chat(good(asked))
    assert len(run(info=LARGE).neighbors.by_class) == 20


def test_different_reasons_do_not_end_the_first_round(server: Server, run: Run) -> None:
    reasons = [chat("no"), chat(None), chat("", finish="length")]
    server.respond = lambda asked: reasons[asked.number] if asked.number < 3 else chat(good(asked))
    assert dict(run().reasons) == {
        "the answer holds no list of terms": 1,
        "the answer is empty": 1,
        "the answer was cut off at the token limit": 1,
    }


def test_a_class_that_the_model_refuses_twice_is_not_asked_for_again_and_is_named(server: Server, run: Run) -> None:
    server.respond = lambda asked: (
        chat(None, message={"refusal": "No rain."}) if asked.classname == "rain" else chat(good(asked)[: asked.number])
    )
    complaint = r"class 'rain'.*: 3 of 3 .* still missing \(the model refuses to answer: 'No rain\.', 2 answers\); use"
    with pytest.raises(SeptError, match=complaint):
        run()
    assert server.classes["rain"] == 2
    assert len(list(run.cache.glob("*.json"))) == 2


def test_a_model_that_gives_only_garbage_writes_nothing(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat("no") if asked.classname == "rain" else chat(good(asked))
    with pytest.raises(SeptError, match=r"class 'rain': 3 of 3 .* still missing .*holds no list of terms: 'no'"):
        run()
    assert not run.out.exists()
    assert server.classes["rain"] == 2


@pytest.mark.parametrize(("knows", "tries"), [({"json_object"}, 2), (set(), 3)])
@pytest.mark.parametrize(
    "refusal",
    [
        *(fault(status, "response_format is not supported") for status in (400, 404, 415, 422, 500, 501, 503)),
        fault(400, "bad request", param="response_format"),
        fault(404, "No endpoints found that can handle the requested parameters."),
        fault(500, "JSON schema is not available"),
        Reply({"detail": [{"loc": ["body", "response_format"], "msg": "extra fields not permitted"}]}, 422),
        Reply([{"error": {"message": "Unknown name 'response_format'"}}], 400),
        Reply({"error": "response_format: unknown field"}, 500),
        Reply("unsupported: response_format", 501),
        Reply({"error": {"message": "response_format unsupported", "code": 400}}, 200),
        Reply({"error": {"message": "Bad Request"}}, 400),
        Reply("", 422),
    ],
)
def test_structured_output_is_dropped_once_for_all_where_the_reply_blames_it(
    server: Server, run: Run, refusal: Reply, knows: set[str], tries: int
) -> None:
    def respond(asked: Asked) -> Reply:
        form = asked.body.get("response_format")
        return refusal if form is not None and form["type"] not in knows else chat(good(asked))

    server.respond = respond
    run()
    assert len(server.asked) == len(NAMES) + tries - 1
    assert {asked.headers["x-stainless-retry-count"] for asked in server.asked} == {"0"}


@pytest.mark.parametrize(
    "failure",
    [
        fault(400, "maximum context length is 4096 tokens"),
        fault(400, "Invalid model name", param="model"),
        fault(404, "The model 'm' does not exist"),
        fault(501, "chat completions are not implemented"),
        Reply({"detail": [{"loc": ["body", "n"], "msg": "missing", "input": {"response_format": 1}}]}, 422),
    ],
)
def test_structured_output_is_kept_where_the_reply_blames_something_else(
    server: Server, run: Run, failure: Reply
) -> None:
    server.respond = lambda asked: failure
    with pytest.raises(SeptError):
        run()
    assert len(server.asked) == 1


def test_the_token_limit_goes_by_the_name_that_the_server_knows(server: Server, run: Run) -> None:
    def respond(asked: Asked) -> Reply:
        if "max_tokens" in asked.body:
            return fault(400, "Unsupported parameter: 'max_tokens' .* Use 'max_completion_tokens' instead.")
        return chat(good(asked))

    server.respond = respond
    run(max_tokens=700)
    assert len(server.asked) == len(NAMES) + 1
    assert all(asked.body["max_completion_tokens"] == 700 for asked in server.asked[1:])
    assert all(asked.body["response_format"]["type"] == "json_schema" for asked in server.asked)


def test_a_token_limit_of_ones_own_is_to_be_raised_above_what_it_was(server: Server, run: Run) -> None:
    server.respond = lambda asked: chat('{"terms": ["a', finish="length")
    with pytest.raises(SeptError, match="set --max-tokens above 50, or"):
        run(max_tokens=50)
    assert all(asked.body["max_tokens"] == 50 for asked in server.asked)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "m"}}, "m"),
        ({"error": "m"}, "m"),
        ({"error": True, "message": "m"}, "m"),
        ({"message": "m"}, "m"),
        ({"detail": "m"}, "m"),
        ({"detail": [{"loc": ["body", "x"], "msg": "m"}, {"loc": ["y"], "msg": "n"}]}, "body.x: m; y: n"),
        ({"errors": [{"message": "m"}, "n"]}, "m; n"),
        ([{"error": {"message": "m"}}], "m"),
        (["m", "n"], "m; n"),
        ("m", "m"),
        ("<html><head><title>502</title></head><body>Bad gateway</body></html>", "502 Bad gateway"),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": "m"}}}, "Provider returned error (m)"),
        ({"odd": 1}, '{"odd": 1}'),
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_the_servers_words_are_shown_whatever_form_they_have(
    server: Server, run: Run, body: Any, words: str, status: int
) -> None:
    server.respond = lambda asked: Reply(body, status)
    with pytest.raises(SeptError) as caught:
        run(retries=0)
    assert str(caught.value) == f"{server.host}: {status} {words}"


def test_words_are_found_in_bodies_that_nest_without_end() -> None:
    body: Any = "m"
    for _ in range(5000):
        body = {"error": [body]}
    assert said(body) == ""


def test_azures_address_carries_its_version_and_its_key_in_a_header_of_its_own(server: Server, run: Run) -> None:
    base = server.url.removesuffix("/v1")
    run(base_url=f"{base}/openai/deployments/d?api-version=2024-10-21")
    run(base_url=f"{base}/openai/deployments/d/chat/completions?api-version=2024-10-21", model="n", force=True)
    assert {asked.path for asked in server.asked} == {"/openai/deployments/d/chat/completions?api-version=2024-10-21"}
    assert {asked.headers["api-key"] for asked in server.asked} == {KEY}
    assert all("authorization" not in asked.headers for asked in server.asked)


def test_azures_address_without_a_version_gets_the_hint_and_one_with_it_does_not(server: Server, run: Run) -> None:
    server.respond = lambda asked: fault(404, "Resource not found")
    deployment = server.url.removesuffix("/v1") + "/openai/deployments/d"
    with pytest.raises(InputError, match="Azure's address needs \\?api-version=VERSION at its end"):
        run(base_url=deployment)
    with pytest.raises(InputError) as caught:
        run(base_url=f"{deployment}?api-version=preview")
    assert "api-version" not in str(caught.value)


def test_the_estimate_bounds_the_requests_and_no_run_exceeds_the_bound(server: Server, run: Run) -> None:
    from pipeline.neighbors import estimate

    most = estimate(YARD, "m", 3, cache_dir=run.cache).most_requests
    server.respond = lambda asked: chat(["rain", f"{asked.classname} {'x' * (1 + asked.number)}"][: asked.number % 3])
    with pytest.raises(SeptError):
        run(n=9)
    assert len(server.asked) <= most == 12
