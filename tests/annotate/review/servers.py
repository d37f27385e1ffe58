"""The review server as a process of its own."""

import contextlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.harness.started import with_default_signals

PATIENCE = 60  # seconds


class Server(NamedTuple):
    """A running server."""

    process: subprocess.Popen
    address: str


@contextlib.contextmanager
def served(
    work: Path, reviewer: str, *more: str, ignored: Sequence[signal.Signals] = ()
) -> Iterator[Server]:
    """Starts the command and waits for its address; ends it, however the test ends.

    `ignored`: signals that are ignored when it starts.
    """
    command = [sys.executable, "-m", "scenarioclip_jax.annotate", "review", f"--output={work}"]
    command += [f"--reviewer={reviewer}", "--no-browser", *more]
    with subprocess.Popen(
        with_default_signals(command, ignored=ignored),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        late = threading.Timer(PATIENCE, process.kill)
        late.start()
        try:
            told = []
            for line in process.stdout:
                told.append(line)
                if found := re.search(r"http://\S+", line):
                    break
            else:
                raise AssertionError(f"the server told no address: {''.join(told)}")
            late.cancel()
            yield Server(process, found[0])
        finally:
            late.cancel()
            process.kill()
