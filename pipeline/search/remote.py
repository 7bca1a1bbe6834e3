"""A sweep launched from outside of a cluster (``ray://``): the command runs on the cluster's head, its words come back.

Ray Tune's driver cannot run in a Ray client: it needs a node of the cluster around it. So the client starts the same
command on the head node, reads what it says, and passes a request to stop on to it. Where the client is lost, nothing
is: the command either goes on (`sept sweep stop` ends it) or is gone, and launching again resumes.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.cluster.address import knock, use_token
from pipeline.cluster.liveness import RayLost
from pipeline.text import one_line
from sept_core.errors import InputError, SeptError

__all__ = ["launch_remotely"]

# Seconds between two looks at what the command has said.
_POLL_S = 0.5
# The head has this resource whatever it was started with; a share of it places the command there.
_ON_HEAD = {"node:__internal_head__": 0.001}


class _Command:
    """The command, on the cluster's head; what it says is kept until it is asked for."""

    def __init__(self, name: str, spec: str, options: Sequence[str]) -> None:
        import ray

        self._folder = tempfile.TemporaryDirectory(prefix="sept-launch-")
        file = Path(self._folder.name, f"{name}.yaml")
        file.write_text(spec, encoding="utf-8")
        self._said = Path(self._folder.name, "said.txt")
        sept = [sys.executable, "-c", "from pipeline.cli import main; main()"]
        address = ray.get_runtime_context().gcs_address
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [*sept, "sweep", "launch", str(file), "--address", address, *options],
                stdout=said,
                stderr=said,
                # Ray's own variables would tell the command that it is one of Ray's workers.
                env={name: value for name, value in os.environ.items() if not _of_a_worker(name)},
            )
        self._read = 0

    def listen(self) -> tuple[str, int | None]:
        """What has been said since the last time, and the exit code once it has ended."""
        code = self._process.poll()
        with self._said.open("rb") as said:
            said.seek(self._read)
            data = said.read()
        if code is None:
            data = data[: data.rfind(b"\n") + 1]
        self._read += len(data)
        return data.decode("utf-8", "replace"), code

    def stop(self) -> None:
        """Ask it to stop as Ctrl-C does; a second time ends it at once."""
        self._process.send_signal(signal.SIGTERM)


def _of_a_worker(variable: str) -> bool:
    return variable.startswith("RAY_") and "AUTH" not in variable


def launch_remotely(address: str, name: str, spec: str, options: Sequence[str], echo: Callable[[str], None]) -> int:
    """Run ``sept sweep launch`` on a cluster that this machine is no part of, to its end.

    Ctrl-C stops it gracefully.

    Args:
        address: ``ray://HOST:PORT``, where the cluster's client server listens.
        name: Of the sweep.
        spec: Its complete YAML.
        options: Of the command besides; places in them are the cluster's.
        echo: Called with what the command says, in whole lines.

    Returns:
        The command's exit code.

    Raises:
        InputError: No cluster there, or one of other versions of Python or Ray.
        RayLost: The cluster has gone away meanwhile.
        SeptError: The command cannot be run there.
    """
    use_token(address)
    import ray

    knock(address)
    try:
        context = ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"no cluster that this machine can be a client of ({one_line(error)})",
            where=f"address {address}",
            fix="check the address, and that Python and Ray have one version here and there",
        ) from error
    try:
        actor: Any = ray.remote(_Command)
        command = actor.options(num_cpus=0, resources=_ON_HEAD).remote(name, spec, list(options))
        return _follow(ray, command, echo)
    except (ConnectionError, ray.exceptions.RayActorError) as error:
        if "creation task" in str(error):
            raise SeptError(f"the command could not be started at {address}: {one_line(error)}") from error
        raise RayLost(f"{address} is gone ({one_line(error)}); the same command goes on") from error
    except ray.exceptions.RayError as error:
        raise SeptError(f"the command at {address} failed: {one_line(error)}") from error
    finally:
        context.disconnect()


def _follow(ray: Any, command: Any, echo: Callable[[str], None]) -> int:
    def asked(*_: object) -> None:
        ray.get(command.stop.remote())

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while True:
            said, code = ray.get(command.listen.remote())
            if said:
                echo(said)
            if code is not None:
                return int(code)
            time.sleep(_POLL_S)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
