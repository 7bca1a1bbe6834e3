"""The command line ``sept``: thin; words to calls, errors to exit codes, a file per command group.

Importing it costs a tenth of a second: every command imports what it needs when it runs.
"""

from pipeline.cli.app import main

__all__ = ["main"]
