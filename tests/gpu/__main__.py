"""Run the sections: ``python -m tests.gpu --out FOLDER [--sections equality,step] [--small] [--device cpu]``.

Exit codes: 0 all sections were run or had to be skipped, 1 a section failed (the others went on), 2 usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Read when CUDA starts: makes matrix products deterministic, as in a trial.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch

from .actors import actors
from .bench import Bench, MissingError, ToleranceError, machine, write_json
from .embedding import batch_size, embedding
from .equal import bfloat16, equality
from .speed import compiled, fusing, memory
from .step import step

__all__ = ["SECTIONS", "main"]

Section = Callable[[Bench], dict[str, Any]]

SECTIONS: Mapping[str, tuple[Section, float]] = {
    "equality": (equality, 5),
    "step": (step, 4),
    "fusing": (fusing, 3),
    "memory": (memory, 3),
    "batch-size": (batch_size, 2),
    "embedding": (embedding, 2),
    "bfloat16": (bfloat16, 5),
    "actors": (actors, 4),
    "compiled": (compiled, 5),
}
"""By name: the section, and its share of the time. Unused time goes to the following sections."""

FILE = "results.json"


def main(arguments: Sequence[str] | None = None, sections: Mapping[str, tuple[Section, float]] = SECTIONS) -> int:
    """The command; returns its exit code."""
    given = _arguments(arguments, sections)
    given.out.mkdir(parents=True, exist_ok=True)
    chosen = [name for name in sections if name in given.sections]
    end = time.monotonic() + 60 * given.minutes
    if given.device == "cpu":
        torch.set_num_threads(1)  # as in a trial
    document: dict[str, Any] = {
        "machine": machine(given.device),
        "small": given.small,
        "sections": {},
    }
    for at, name in enumerate(chosen):
        run, share = sections[name]
        shares = sum(sections[other][1] for other in chosen[at:])
        began = time.monotonic()
        bench = Bench(given.device, given.small, until=began + max(0.0, end - began) * share / shares)
        print(f"== {name}", flush=True)
        entry = _outcome(run, bench)
        entry["seconds"] = time.monotonic() - began
        if bench.left_out:
            entry["no_time_for"] = bench.left_out
            print(f"  no time for: {', '.join(bench.left_out)}")
        print(
            f"  {entry['state']} after {entry['seconds']:.1f} s {entry.get('error', entry.get('reason', ''))}",
            flush=True,
        )
        document["sections"][name] = entry
        write_json(given.out / FILE, document)
    print(f"written: {given.out / FILE}")
    return 1 if any(entry["state"] == "failed" for entry in document["sections"].values()) else 0


def _outcome(run: Section, bench: Bench) -> dict[str, Any]:
    """A section's entry in the results; if it fails, its earlier findings are kept."""
    failed: dict[str, Any] = {"state": "failed", "found_before": bench.rows}
    try:
        return {"state": "done", "result": run(bench)}
    except MissingError as error:
        return {"state": "skipped", "reason": str(error)}
    except ToleranceError as error:
        return {"state": "failed", "error": str(error), "result": error.result}
    except Exception as error:  # the other sections go on
        return failed | {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    finally:
        torch.use_deterministic_algorithms(False)
        if bench.on_gpu:
            torch.cuda.empty_cache()


def _arguments(arguments: Sequence[str] | None, sections: Mapping[str, object]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description="Measure on a GPU; see docs/gpu.md.")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=f"where {FILE} is written")
    parser.add_argument("--sections", default=",".join(sections), help="some of: %(default)s")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="the GPU unless said otherwise")
    parser.add_argument("--small", action="store_true", help="everything at toy size, on a CPU where there is no GPU")
    parser.add_argument("--minutes", type=float, default=7.5, help="for all sections together (default %(default)s)")
    given = parser.parse_args(arguments)
    given.sections = [name.strip() for name in given.sections.split(",")]
    for name in given.sections:
        if name not in sections:
            parser.error(f"unknown section '{name}'; known: {', '.join(sections)}")
    if given.out.exists() and not given.out.is_dir():
        parser.error(f"--out {given.out} is not a folder")
    if given.minutes <= 0:
        parser.error(f"--minutes {given.minutes:g} leaves no time")
    there = torch.cuda.is_available()
    if given.device is None:
        given.device = "cuda" if there or not given.small else "cpu"
    if given.device == "cuda" and not there:
        parser.error("torch finds no GPU here; --device cpu measures a CPU, --small tries the command itself")
    return given


if __name__ == "__main__":
    sys.exit(main())
