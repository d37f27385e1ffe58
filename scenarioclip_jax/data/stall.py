"""Detects reading that never finishes: after a set time, prints stack traces and ends it."""

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import TypeVar

from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError

Result = TypeVar("Result")
POLL_SECONDS = 0.5  # between checks whether to give up waiting
DUMP_SECONDS = 2.0  # time for the workers to write their stacks


_left_behind: list[threading.Thread] = []  # still waiting for input that was given up


class StalledInputError(ReadableError, RuntimeError):
    """No batch came within the set time, or before a stop was requested.

    In the first case the stacks of all threads and workers are on stderr.
    """


def reading_hangs() -> bool:
    """Whether a thread of this process still waits for input that was given up.

    If so, only `os._exit` ends the process, since the interpreter would wait for the reading threads.
    """
    return any(thread.is_alive() for thread in _left_behind)


def within(
    seconds: float,
    function: Callable[[], Result],
    what: str,
    workers: Callable[[], Sequence[BaseProcess]] = tuple,
    give_up: Callable[[], bool] = lambda: False,
) -> Result:
    """Calls `function` and returns its result, or raises its error.

    Args:
      seconds: Longest wait; 0 waits forever.
      what: Name of what is awaited, for the message.
      workers: Function that returns the reading processes.
      give_up: Function that is called now and then; returning True ends the wait.

    Raises:
      StalledInputError: It took longer, and reading workers were ended; or `give_up` returned True. A stuck
        thread of this process can't be ended, see `reading_hangs`.
    """
    outcome: dict = {}

    def call() -> None:
        try:
            outcome["result"] = function()
        except BaseException as error:
            outcome["error"] = error

    # Not a pool's thread, because the interpreter would wait for it at exit.
    thread = threading.Thread(target=call, daemon=True, name="waiting for input")
    thread.start()
    deadline = time.monotonic() + (seconds or float("inf"))
    while thread.is_alive() and not give_up() and (left := deadline - time.monotonic()) > 0:
        thread.join(min(left, POLL_SECONDS))
    if thread.is_alive():
        _left_behind.append(thread)
        if give_up():
            raise StalledInputError(f"stopped while waiting for {what}")
        _dump_stacks(workers())
        raise StalledInputError(
            f"{what} did not come within data.stall_seconds={seconds:g}; the stacks above show where reading "
            "hangs (often a disk or a network mount). What was saved is safe: start the same command again "
            "to go on, with a larger data.stall_seconds if reading is only slow"
        )
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


def _dump_stacks(workers: Sequence[BaseProcess]) -> None:
    """Writes the stacks of this process and its workers to stderr, and ends the workers."""
    say("input stalled; stacks of the training process:", error=True)
    # Uses the real file, because a test runner or a notebook may have replaced it by one without a descriptor.
    if sys.__stderr__ is not None:
        faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
    for worker in workers:
        assert worker.pid is not None  # it was started
        say(f"stacks of reading worker {worker.pid}:", error=True)
        os.kill(worker.pid, signal.SIGUSR1)
        time.sleep(DUMP_SECONDS / len(workers))
    for worker in workers:
        worker.kill()


def init_worker(index: int, count: int) -> None:
    """Runs first in every reading worker; sets how it handles signals and the end of its parent."""
    del index, count
    # A scheduler or a terminal signals the whole process group; the parent saves first and then ends its
    # workers itself.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if sys.__stderr__ is not None:
        faulthandler.register(signal.SIGUSR1, sys.__stderr__, all_threads=True)
    end_with_parent()


def end_with_parent() -> None:
    """Makes this process end when its parent is killed and can't end it; it would hold memory forever."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
