"""The state of a sweep that another process runs, and how to ask it to stop."""
