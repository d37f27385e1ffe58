"""Reading ahead, so that processes that train as one can all save when one of them can't go on.

A train step needs every process: one that has no batch leaves the others waiting within it, with a state that
they have given away. So each holds the next `AHEAD` batches before it takes a step. One that can't read another
posts the step at which its batches end, and waits until all others know; they can't be there yet, since a step
waits for the one before it. Then all go on to that step, save, and end with the same cause.
"""

import collections
import json
import threading
import time
from typing import Any

import jax

from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.pipeline import TrainIterator
from scenarioclip_jax.faults import InputUnavailableError
from scenarioclip_jax.parallel.distributed import Board, wait_for_all

# A process may have handed over the step that another one hasn't begun, and the one after it: see `train.loop`.
AHEAD = 3
LOOK_SECONDS = 0.5  # between looks at what others posted
KNOWN_SECONDS = 60.0  # to wait for the others


class Alone:
    """The same for the only process of a job, which saves by itself."""

    def __init__(self, batches: TrainIterator):
        self._batches = batches

    def __enter__(self) -> "Alone":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def start(self) -> None:
        """Nothing is read ahead but by the iterator itself."""

    def __next__(self) -> Batch:
        return next(self._batches)

    def end(self, step: int) -> None:
        """No process has posted anything."""


class Together:
    """The batches of one of several processes.

    Args:
      batches: of this process, the next of which is that of `step`.
      step: steps that were taken.
      last: step of the run; nothing is read beyond it.
    """

    def __init__(self, batches: TrainIterator, step: int, last: int):
        self._batches, self._step, self._last = batches, step, last
        self._read: collections.deque[Batch] = collections.deque()
        self._error: Exception | None = None
        self._board = Board("batches that can't be read")
        self._ends: dict[int, tuple[int, str]] = {}  # by process: step and cause
        self._left = threading.Event()
        self._looker = threading.Thread(target=self._look, daemon=True, name="looks at others")

    def __enter__(self) -> "Together":
        return self

    def __exit__(self, *_: Any) -> None:
        self._left.set()
        if self._looker.is_alive():
            self._looker.join(60)

    def start(self) -> None:
        """Reads the first batches. All processes call it at the same place, before the first step."""
        self._looker.start()
        self._fill()
        wait_for_all("the first batches are read")
        self._look_once()

    def __next__(self) -> Batch:
        self._fill()
        if not self._read:
            assert self._error is not None  # or something would have been read
            raise self._error  # posted, but the others don't answer
        self._step += 1
        return self._read.popleft()

    def end(self, step: int) -> None:
        """Asked before every step and its validation.

        Raises:
          LastBatchError: some process has no batch for the next step; all raise it at the same one.
        """
        if self._ends and step >= min(at for at, _ in self._ends.values()):
            raise LastBatchError(self._cause())

    def _fill(self) -> None:
        while (
            self._error is None
            and len(self._read) < AHEAD
            and self._step + len(self._read) < self._last
        ):
            try:
                self._read.append(next(self._batches))
            except Exception as error:
                self._error = error
                self._post()

    def _post(self) -> None:
        me = jax.process_index()
        end = self._step + len(self._read)
        self._board.write(f"end/{me}", json.dumps([end, str(self._error)]))
        deadline = time.monotonic() + KNOWN_SECONDS
        while len(self._board.read(f"known/{me}/")) < jax.process_count():
            if time.monotonic() > deadline:
                self._read.clear()
                return
            time.sleep(LOOK_SECONDS / 5)

    def _look(self) -> None:
        """Runs in a thread: the others' main threads may wait within a step."""
        while not self._left.wait(LOOK_SECONDS):
            try:
                self._look_once()
            except Exception:  # the process that keeps the board is gone, and the job with it
                return

    def _look_once(self) -> None:
        for name, value in self._board.read("end/").items():
            process = int(name)
            if process not in self._ends:
                self._ends[process] = tuple(json.loads(value))
                self._board.write(f"known/{process}/{jax.process_index()}", "")

    def _cause(self) -> Exception:
        if self._error is not None:
            return self._error
        process = min(self._ends, key=lambda each: self._ends[each])
        return InputUnavailableError(
            f"process {process} of {jax.process_count()} has no batch for step "
            f"{self._ends[process][0] + 1}, so all stop: {self._ends[process][1]}"
        )


class LastBatchError(Exception):
    """All processes are at the same step, after which one has no batch. Its cause is the error to show."""

    def __init__(self, cause: Exception):
        super().__init__(str(cause))
        self.cause = cause


def read_ahead(batches: TrainIterator, step: int, last: int) -> Alone | Together:
    """The batches of this process. See `Together`."""
    return Alone(batches) if jax.process_count() == 1 else Together(batches, step, last)
