"""The orchestration: spec, embedding, trial store, search, execution, tracking, report, command line.

Stands on ``sept_core``, never the other way round. Importing this package costs nothing: each module imports the
libraries it needs, and the command line imports modules only when a command runs.
"""
