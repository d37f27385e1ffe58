"""One thread owns the device: requests wait for it in a bounded queue, and those of a kind go together."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from scenarioclip_jax.errors import ReadableError


class QueueFullError(ReadableError):
    """As many requests wait as may, or the service stops."""


class _Job(NamedTuple):
    run: Callable[[Sequence[Any]], Sequence[Any]]
    item: Any
    future: Future


class Batcher:
    """Runs functions of lists in one thread. Waiting items of the same function are joined in one call.

    Args:
      waiting: Most items that wait.
      most: Most items of a call.
      note: Is told the number of items of each call.
    """

    def __init__(
        self, waiting: int, most: int = 32, note: Callable[[int], None] = lambda count: None
    ):
        self._waiting, self._most, self._note = waiting, most, note
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="device", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._jobs)

    def submit(self, run: Callable[[Sequence[Any]], Sequence[Any]], item: Any) -> Future:
        """Puts an item into the queue; the future has what `run` returns for it, or its error.

        Raises:
          QueueFullError: There is no room, or the batcher is closed.
        """
        with self._changed:
            if self._closed:
                raise QueueFullError("the service is stopping; ask another one")
            if len(self._jobs) >= self._waiting:
                raise QueueFullError(f"{self._waiting} requests wait already; try again later")
            future: Future = Future()
            self._jobs.append(_Job(run, item, future))
            self._changed.notify()
            return future

    def close(self) -> None:
        """Takes nothing more, and returns when all that waits is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while jobs := self._next():
            # From here on nobody can cancel them; who has gone away isn't served.
            jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if jobs:
                self._note(len(jobs))
                self._do(jobs)

    def _next(self) -> list[_Job]:
        """The oldest job with all of its kind; none when the batcher is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return []
            alike = [job for job in self._jobs if job.run == self._jobs[0].run][: self._most]
            chosen = set(map(id, alike))
            self._jobs = deque(job for job in self._jobs if id(job) not in chosen)
            return alike

    def _do(self, jobs: list[_Job]) -> None:
        try:
            found = jobs[0].run([job.item for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return
            for job in jobs:  # one bad item mustn't spoil the others
                self._do([job])
            return
        for job, each in zip(jobs, found, strict=True):
            job.future.set_result(each)
