"""``sept neighbors``."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest
import typer
from chat_server import KEY, Asked, Reply, Server, chat, fault, good
from typer.testing import CliRunner

from pipeline.cli.neighbors import neighbors as command
from sept_core.errors import InputError
from sept_core.semantic import load_neighbors

ROOT = Path(__file__).parents[3]


def invoke(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [*arguments])


def test_the_command_shows_the_cost_before_and_after_what_was_dropped_and_the_file(
    server: Server, tmp_path: Path
) -> None:
    server.respond = lambda asked: chat(["an explosion far off", "a siren far off", *good(asked)])
    arguments = ["sesa", "--model", "m", "--n", "2", "--base-url", server.url, "--root", str(tmp_path)]
    result = invoke(*arguments, "--price-in", "1", "--price-out", "10")
    assert result.exit_code == 0, result.output
    assert re.search(r"2 requests, about \d+ tokens sent and \d+ received: cost 0\.\d+", result.output)
    assert "at most 8 requests that you pay for" in result.output
    assert "Consumed 200 tokens sent and 100 received: cost 0.0012" in result.output
    assert "casual: 'an explosion far off' contains the name of the class 'explosion'" in result.output
    # Offered for both classes, the siren serves neither.
    assert "casual: 'a siren far off' was also offered for 'explosion'" in result.output
    written = load_neighbors("SESA", tmp_path / "neighbors" / "base" / "sesa.json")
    assert (written.origin["model"], written.written_from) == ("m", ("casual", "explosion"))


def test_for_base_to_new_no_name_of_a_new_class_is_sent_and_a_term_that_names_one_is_kept_and_reported(
    server: Server, tmp_path: Path
) -> None:
    server.respond = lambda asked: chat([f"siren and {asked.classname}", *good(asked)])
    arguments = ["sesa", "--model", "m", "--n", "2", "--base-url", server.url, "--root", str(tmp_path)]
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert "2 terms kept that happen to name a new class, which the model did not know" in result.output
    assert "casual: 'siren and casual' (siren); explosion: 'siren and explosion' (siren)" in result.output
    assert {asked.classname for asked in server.asked} == {"casual", "explosion"}
    assert not re.search("siren|gun|sesa", "".join(json.dumps(asked.body) for asked in server.asked).lower())
    written = load_neighbors("SESA", tmp_path / "neighbors" / "base" / "sesa.json")
    assert written.by_class["casual"][0] == "siren and casual"
    assert not re.search("gunshot", json.dumps(dict(written.origin)))


def test_for_cross_dataset_all_classes_are_asked_for_and_written_apart(server: Server, tmp_path: Path) -> None:
    arguments = ["sesa", "--for", "cross-dataset", "--n", "2", "--base-url", server.url, "--root", str(tmp_path)]
    assert invoke(*arguments).exit_code == 0
    assert {asked.classname for asked in server.asked} == {"casual", "explosion", "gunshot", "siren"}
    written = load_neighbors("SESA", tmp_path / "neighbors" / "all" / "sesa.json", protocol="cross-dataset")
    assert written.written_from == ("casual", "explosion", "gunshot", "siren")
    # What was answered for the one is not taken for the other: its prompt was another.
    assert invoke("sesa", *arguments[3:]).exit_code == 0
    assert len(server.asked) == 6


def test_the_command_can_show_only_the_estimate_and_says_when_the_cost_is_unknown(
    server: Server, tmp_path: Path
) -> None:
    result = invoke("sesa", "--base-url", server.url, "--root", str(tmp_path), "--estimate")
    assert result.exit_code == 0
    assert "cost unknown" in result.output
    assert server.asked == []


def test_the_command_tells_machines_everything_as_json(server: Server, tmp_path: Path) -> None:
    result = invoke("sesa", "--n", "2", "--base-url", server.url, "--root", str(tmp_path), "--json")
    told = json.loads(result.stdout)
    assert told["usage"] == {"answers": 2, "input_tokens": 200, "output_tokens": 100, "uncounted": 0}
    assert told["cost"] is None
    assert (told["for"], told["naming_new"]) == ("base-to-new", {})


def test_the_command_tells_what_was_consumed_even_where_it_fails(server: Server, tmp_path: Path) -> None:
    server.respond = lambda asked: chat(good(asked)) if asked.number == 0 else fault(401, f"{KEY} is wrong")
    arguments = ["--n", "2", "--base-url", server.url, "--root", str(tmp_path), "--concurrency", "1"]
    result = invoke("sesa", *arguments)
    assert isinstance(result.exception, InputError)
    assert "Consumed 100 tokens sent and 50 received" in result.output
    assert KEY not in result.output + "".join(traceback.format_exception(result.exception))


def test_an_interrupted_command_says_how_it_goes_on_and_ends_with_the_code_for_that(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.neighbors.generate", interrupted)
    result = invoke("sesa", "--base-url", server.url, "--root", str(tmp_path))
    assert result.exit_code == 75
    assert "the same command continues from there" in result.output


def test_ctrl_c_while_the_server_is_silent_says_what_is_waited_for_and_ends_with_the_code_for_going_on(
    server: Server, tmp_path: Path
) -> None:
    arrived, over = threading.Event(), threading.Event()

    def respond(asked: Asked) -> Reply:
        arrived.set()
        over.wait(60)
        return chat(good(asked))

    server.respond = respond
    program = "from pipeline.cli import main; main()"
    arguments = ["neighbors", "sesa", "--n", "2", "--base-url", server.url, "--root", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert arrived.wait(60)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Stopping; waiting for the answers in progress"):
                break
        over.set()
        said = process.stdout.read()
        process.wait(60)
    finally:
        over.set()
        process.kill()
    assert process.returncode == 75
    assert "the same command continues from there" in said
    assert not (tmp_path / "neighbors").exists()
    assert 1 <= len(list((tmp_path / "cache" / "neighbors").glob("*.json"))) == len(server.asked)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sesa", "--model", " "], "--model: no model is named"),
        (["sesa", "--price-in", "1"], "give both --price-in and --price-out"),
        (["sessa"], "did you mean 'SESA'"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    result = invoke(*arguments, "--root", str(tmp_path), "--base-url", "http://127.0.0.1:9/v1")
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)
