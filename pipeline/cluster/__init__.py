"""The Ray of a command, jobs on it, and how it fails."""
