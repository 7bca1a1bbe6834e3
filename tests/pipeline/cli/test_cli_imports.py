"""What trains nothing answers at once: commands that need no array load none of the libraries that take seconds.

Loaded modules are looked at, not a clock, so that this holds on a busy machine too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_results import SWEEP, fill_store, make_cases

from pipeline.store import TrialStore, open_files

HEAVY = ["torch", "torchaudio", "ray", "mlflow", "pandas", "matplotlib", "transformers", "scipy", "sklearn"]

# Runs every command line in one process, and says after each what it has loaded that is heavy.
PROGRAM = """
import json, sys
from pipeline.cli import main
heavy, lines = json.load(sys.stdin)
found = []
for line in lines:
    try:
        main(line)
    except SystemExit as end:
        found.append([end.code, [name for name in heavy if name in sys.modules]])
print(json.dumps(found), file=sys.stderr)
"""

SAYS_WHAT_THERE_IS = [
    ["--help"],
    ["--version"],
    ["doctor", "--help"],
    ["sweep", "launch", "--help"],
    ["data", "list"],
    ["sweep", "status", SWEEP],
    ["sweep", "status", SWEEP, "--json"],
    ["sweep", "list"],
    ["compare", "ESC10.coop", "FSDD.coop"],
    ["best", SWEEP],
    ["neighbors", "esc10", "--estimate"],
]
REFUSED = [
    ["plan", "quickstart"],
    ["sweep", "plan", "nofile.yaml"],
    ["sweep", "plan", "wrong.yaml"],
    ["sweep", "launch", "nofile.yaml"],
    ["sweep", "launch", "wrong.yaml"],
    ["sweep", "submit", "wrong.yaml", "--address", "auto", "--root", "s3://bucket/results"],
    ["sweep", "status", "nosuch"],
    ["sweep", "stop", "nosuch"],
    ["best", "nosuch"],
    ["best", SWEEP, "nosuch"],
    ["trials", "nosuch"],
    ["compare", "ESC10.coop", "nosuch"],
    ["report", "nosuch"],
    ["show", "nosuch"],
    ["show", SWEEP, "nosuch"],
    ["export", "nosuch", "coop", "--to", "prompt"],
    ["export", SWEEP, "nosuch", "--to", "prompt"],
    ["rerun", "nosuch", "0123456789abcdef"],
    ["rerun", SWEEP, "nosuch"],
    ["ablate", "nosuch", "coop+sept"],
    ["ablate", SWEEP, "nosuch"],
    ["track", "sync", "nosuch"],
    ["quickstart", "--workers", "0"],
    ["data", "check", "nosuch", "--audio", "."],
    ["data", "check", "esc10", "--audio", "nofolder"],
    ["data", "prepare", "nosuch", "--audio", "."],
    ["data", "prepare", "mine", "--audio", ".", "--csv", "nofile.csv"],
    ["data", "download", "nosuch", "--out", "audio"],
    ["embed", "nosuch", "--audio", "."],
    ["embed", "esc10", "--audio", "nofolder"],
    ["embed", "esc10", "--audio", ".", "--encoder", "minni"],
    ["neighbors", "nosuch"],
    ["predict", "nofile.wav", "--prompt", "nofolder"],
    ["predict", "wrong.yaml", "--prompt", "nofolder", "--classes", "dog"],
    ["predict", "wrong.yaml", "--prompt", "nofolder"],
    ["doctor", "--spec", "nofile.yaml"],
    ["doctor", "--encoder", "minni"],
]


@pytest.mark.parametrize(("lines", "code"), [(SAYS_WHAT_THERE_IS, 0), (REFUSED, 2)], ids=["says", "refused"])
def test_what_needs_no_array_loads_no_library_of_arrays(lines: list[list[str]], code: int, tmp_path: Path) -> None:
    store = TrialStore(open_files(tmp_path / "sept-runs"))
    fill_store(store, make_cases(1))
    (tmp_path / "wrong.yaml").write_text("name: x\nmethods: [cop]\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([HEAVY, lines]),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    said = done.stderr.splitlines()
    found = dict(zip(map(" ".join, lines), json.loads(said[-1]), strict=True))
    assert found == {" ".join(line): [code, []] for line in lines}, done.stderr


# Runs every command line as on a terminal, up to where it first imports something heavy, and says whether it had
# written anything before that.
FIRST = """
import json, sys
from pipeline.cli import main

class Stop(BaseException):
    pass

class Gate:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in heavy:
            raise Stop
        return None

class Counted:
    def __init__(self, stream):
        self.stream = stream
    def write(self, text):
        written.append(text)
        return len(text)
    def __getattr__(self, name):
        return getattr(self.stream, name)

heavy, lines = json.load(sys.stdin)
sys.meta_path.insert(0, Gate())
written, found, out = [], [], sys.stdout
sys.stdout, sys.stderr = Counted(sys.stdout), Counted(sys.stderr)
for line in lines:
    written.clear()
    try:
        main(line)
    except (Stop, SystemExit):
        found.append(bool("".join(written).strip()))
print(json.dumps(found), file=out)
"""
TAKES_TIME = [
    ["quickstart"],
    ["doctor"],
    ["embed", "esc10", "--audio", "."],
    ["sweep", "plan", "quickstart"],
    ["sweep", "launch", "quickstart"],
    ["sweep", "submit", "quickstart", "--address", "auto"],
    ["sweep", "list"],
    ["sweep", "status", SWEEP],
    ["ui"],
    ["track", "sync", SWEEP],
    ["report", SWEEP],
    ["best", SWEEP],
    ["trials", SWEEP],
    ["compare", "ESC10.coop", "FSDD.coop"],
    ["rerun", SWEEP, "ESC10.coop"],
    ["export", SWEEP, "ESC10.coop", "--to", "prompt"],
    ["predict", "clip.wav", "--prompt", "prompt"],
]


def test_what_takes_time_says_so_before_it_loads_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    done = subprocess.run(
        [sys.executable, "-c", FIRST],
        input=json.dumps([[*HEAVY, "numpy", "optuna", "pyarrow", "yaml"], TAKES_TIME]),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    found = dict(zip(map(" ".join, TAKES_TIME), json.loads(done.stdout.splitlines()[-1]), strict=True))
    assert [line for line, said in found.items() if not said] == []
