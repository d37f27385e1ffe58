"""Makes many calls of a function: here, in several processes that end with the one that started them."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from scenarioclip_jax.data.stall import end_with_parent
from scenarioclip_jax.errors import ReadableError

Result = TypeVar("Result")


class LostProcessError(ReadableError, RuntimeError):
    """The system ended a process."""


class Pool(Protocol):
    """Makes calls of a function; `in_processes` and `beam.BeamPool` do it in different places."""

    def __call__(
        self, function: Callable[..., Result], arguments: Iterable[tuple], count: int
    ) -> Iterator[Result]:
        """Yields the results of calls, in their order.

        Args:
          function: Function of a module. A call that is made twice must do no harm.
          arguments: The arguments of each call.
          count: Number of calls.
        """
        ...


def local_pool(workers: int) -> Pool:
    """Returns a pool of so many processes of this machine."""
    return lambda function, arguments, count: in_processes(function, arguments, min(workers, count))


def in_processes(
    function: Callable[..., Result], arguments: Iterable[tuple], workers: int
) -> Iterator[Result]:
    """Yields the results of calls, in their order.

    With one worker, they are made in this process. Few calls are handed out ahead, so the arguments may be an
    iterator of any length. If the caller stops early, or an error or a signal ends it, the processes are ended.

    Args:
      function: Function of a module.
      arguments: The arguments of each call.
      workers: Number of processes.

    Raises:
      LostProcessError: The system ended a process, usually because memory ran out.
    """
    if workers <= 1:
        for each in arguments:
            yield function(*each)
        return
    # A forked process may hang in a lock that another thread held.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, _begin)
    waiting: list[concurrent.futures.Future] = []
    try:
        for each in arguments:
            waiting.append(pool.submit(function, *each))
            if len(waiting) > 2 * workers:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
        pool.shutdown()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise LostProcessError(
            "a process of the build was ended by the system, most likely because memory ran out; start the "
            "same command again with fewer --workers: it goes on with what is done"
        ) from error
    finally:
        _end(pool)


def _end(pool: concurrent.futures.ProcessPoolExecutor) -> None:
    processes: dict[int, Any] = dict(getattr(pool, "_processes", None) or {})
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes.values():
        with contextlib.suppress(OSError, ValueError):
            process.terminate()
    for process in processes.values():
        process.join()


def _begin() -> None:
    """Runs first in every process: the parent alone answers to a terminal, and ends the others."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


def processes(workers: int | None) -> int:
    """Number of processes: as many as this one may use cores, unless given."""
    return workers or len(os.sched_getaffinity(0))
