from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pipeline.store import Files
from pipeline.store.launch_messages import LaunchProgress, Noticeboard, TrialProgress

MINE, OTHER = "00000000000000aa", "00000000000000bb"
TRIALS = (TrialProgress("FSDD.mini.base-to-new.coop", 3, 10, 20, 2, 71.5), TrialProgress("s", 0, 10, 10, 0, None))


def test_what_a_launch_tells_is_read_by_its_token_only(files: Files) -> None:
    board = Noticeboard(files, "tiny")
    assert board.progress(MINE) is None
    board.tell(LaunchProgress(MINE, 2, TRIALS))
    assert board.progress(MINE) == LaunchProgress(MINE, 2, TRIALS)
    assert board.progress(OTHER) is None
    board.take_down(OTHER)
    assert board.progress(MINE) == LaunchProgress(MINE, 2, TRIALS)
    board.take_down(MINE)
    board.take_down(MINE)
    assert board.progress(MINE) is None


def test_damaged_notices_are_as_if_they_were_not_there(files: Files) -> None:
    board = Noticeboard(files, "tiny")
    board.tell(LaunchProgress(MINE, 2, TRIALS))
    board.ask_to_stop(MINE)
    for key in ("sweeps/tiny/progress.json", f"sweeps/tiny/stop/{MINE}.json"):
        files.write(key, files.read(key).replace(b'"token": "0', b'"token": "1'))
    assert board.progress(MINE) is None
    assert board.stop_request(MINE) is None
    assert board.ask_to_stop(MINE) == board.stop_request(MINE)


@pytest.mark.parametrize("never", [10**18, -1])
def test_a_notice_with_a_time_that_no_calendar_has_is_damaged(files: Files, never: int) -> None:
    board = Noticeboard(files, "tiny")
    board.tell(LaunchProgress(MINE, 2, (replace(TRIALS[0], heard_ms=never),)))
    assert board.progress(MINE) is None


def test_a_request_is_for_one_launch_and_the_first_one_stands(files: Files) -> None:
    board = Noticeboard(files, "tiny")
    with ThreadPoolExecutor(4) as pool:
        requests = set(pool.map(board.ask_to_stop, [MINE] * 4))
    assert requests == {board.stop_request(MINE)}
    assert board.stop_request(OTHER) is None
    board.ask_to_stop(OTHER)
    board.drop_other_stops(MINE)
    assert board.stop_request(MINE) is not None
    assert board.stop_request(OTHER) is None
    board.drop_stop(MINE)
    board.drop_stop(MINE)
    assert board.stop_request(MINE) is None
    assert files.list("sweeps/tiny") == []
