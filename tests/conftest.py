"""Ctrl-C works in what tests start, also in the background, which ignores it; test processes share the cores."""

import os
import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is loaded: threads of several processes that wait for each other take many times as long.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
