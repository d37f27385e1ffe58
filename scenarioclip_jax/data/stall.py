"""Reading that takes for ever: seen after a set time, shown with stack traces, and ended."""

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import TypeVar

Result = TypeVar("Result")
DUMP_SECONDS = 2.0  # for the workers to write their stacks


class StalledInputError(RuntimeError):
    """No batch came within the set time. The stacks of all threads and workers are on stderr."""


def within(
    seconds: float,
    function: Callable[[], Result],
    what: str,
    workers: Callable[[], Sequence[multiprocessing.Process]] = tuple,
) -> Result:
    """Calls `function` and returns its result, or what it raises.

    Args:
      seconds: to wait; 0 waits for ever.
      what: is being waited for, for the message.
      workers: gives the processes that read.

    Raises:
      StalledInputError: it took longer. Reading workers are ended; a stuck thread of this process can't be,
        so the caller should end the process without waiting for its threads.
    """
    if not seconds:
        return function()
    outcome: dict = {}

    def call() -> None:
        try:
            outcome["result"] = function()
        except BaseException as error:
            outcome["error"] = error

    # Not a pool's thread: the interpreter would wait for it at its end.
    thread = threading.Thread(target=call, daemon=True, name="waiting for input")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        _dump_stacks(workers())
        raise StalledInputError(
            f"{what} did not come within data.stall_seconds={seconds:g}; the stacks above show where reading "
            "hangs (often a disk or a network mount). What was saved is safe: start the same command again "
            "to go on, with a larger data.stall_seconds if reading is only slow"
        )
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


def _dump_stacks(workers: Sequence[multiprocessing.Process]) -> None:
    """Writes the stacks of this process and of its workers to stderr, and ends the workers."""
    print("input stalled; stacks of the training process:", file=sys.stderr, flush=True)
    # The real file: a test runner or a notebook may have put something without a descriptor in its place.
    faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
    for worker in workers:
        print(f"stacks of reading worker {worker.pid}:", file=sys.stderr, flush=True)
        os.kill(worker.pid, signal.SIGUSR1)
        time.sleep(DUMP_SECONDS / len(workers))
    for worker in workers:
        worker.kill()


def init_worker(index: int, count: int) -> None:
    """Runs first in every reading worker: how it meets signals and the end of its parent."""
    del index, count
    # A scheduler signals the whole process group; the parent saves first and ends its workers itself.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.register(signal.SIGUSR1, sys.__stderr__, all_threads=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed outright can't end its workers; they would hold memory for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
