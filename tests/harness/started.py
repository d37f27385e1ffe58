"""Processes that tests start and signal.

    command = with_default_signals([sys.executable, "-m", "scenarioclip_jax.main", ...])

A suite that runs in the background has SIGINT ignored, under `nohup` SIGHUP too, and hands that down. A
function that is called between fork and exec (`preexec_fn`) may deadlock in a process full of JAX's threads; a
program that becomes the command does the same safely.
"""

import signal
import sys
from collections.abc import Iterable
from pathlib import Path


def with_default_signals(
    command: Iterable[str | Path], *, ignored: Iterable[signal.Signals] = (), file_size: int = 0
) -> list[str]:
    """A command that runs `command`, in the process that it is started as.

    Args:
      ignored: signals that are ignored from its start on.
      file_size: bytes that a file may have; what is written beyond them fails. 0: no limit.
    """
    numbers = ",".join(str(int(number)) for number in ignored)
    head = [sys.executable, "-IS", __file__, numbers, str(file_size)]
    return [*head, *(str(word) for word in command)]


def _become() -> None:
    import os
    import resource

    ignored, file_size, *command = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    for number in filter(None, ignored.split(",")):
        signal.signal(int(number), signal.SIG_IGN)
    if int(file_size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(file_size),) * 2)
    os.execvp(command[0], command)


if __name__ == "__main__":
    _become()
