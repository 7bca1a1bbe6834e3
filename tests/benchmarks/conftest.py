"""Lets these benchmarks use what the pipeline's own tests use: the tiny sweep, made-up results, real servers."""

import sys
from pathlib import Path

PIPELINE = Path(__file__).parents[1] / "pipeline"
sys.path[:0] = [str(PIPELINE), str(PIPELINE / "search"), str(PIPELINE / "store")]
