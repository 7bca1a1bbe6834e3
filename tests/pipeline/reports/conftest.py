import sys
from pathlib import Path

# The tiny sweep of the search's tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "search"))
