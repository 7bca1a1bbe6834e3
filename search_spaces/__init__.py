"""Search spaces and sweeps as YAML: one space per baseline, one for SEPT, and sweeps that are ready to run."""
