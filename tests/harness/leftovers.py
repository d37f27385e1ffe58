"""Ends what tests leave running, so that one that fails disturbs no other.

Processes are known by a variable of the environment that they inherit, also where their parents have gone.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

SESSION = "SCENARIOCLIP_TEST_SESSION"  # one run of the suite
TEST = (
    "PYTEST_CURRENT_TEST"  # set by pytest: the test, and whether it is set up, called or torn down
)


def end_all(session: str) -> list[str]:
    """Ends what a run of the suite has left, and returns their commands."""
    return _end({SESSION: session})


def end_of(session: str, test: str) -> list[str]:
    """Ends what a test has started while it was called, and returns their commands.

    What fixtures start may serve other tests.
    """
    return _end({SESSION: session, TEST: f"{test} (call)"})


def _end(marks: dict[str, str]) -> list[str]:
    ended = []
    for process in _marked(marks):
        with contextlib.suppress(OSError):
            command = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
            if "multiprocessing.resource_tracker" in command:
                continue  # Python's own, which lives as long as the process that runs the tests
            os.kill(int(process.name), signal.SIGKILL)
            ended.append(command.strip())
    return ended


def _marked(marks: dict[str, str]) -> Iterator[Path]:
    wanted = {f"{name}={value}".encode() for name, value in marks.items()}
    for process in Path("/proc").glob("[0-9]*"):  # nothing, on other systems than Linux
        if int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if wanted <= set(process.joinpath("environ").read_bytes().split(b"\0")):
                yield process
