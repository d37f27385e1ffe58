"""Reading ahead, so that all processes of a job can save when one of them can't read on.

A train step needs every process: if one has no batch, the others wait inside the step, with a state that they
have already donated. So each process holds the next `AHEAD` batches before it takes a step. A process that
can't read another batch posts the step at which its batches end and waits until all others know; they can't
have reached that step yet, since a step waits for the one before it. Then all continue to that step, save, and
end with the same cause.
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

# A process may have dispatched a step that another one hasn't begun, and the step after it: see `train.loop`.
AHEAD = 3
LOOK_SECONDS = 0.5  # between checks of what others posted
KNOWN_SECONDS = 60.0  # how long to wait for the others


class Alone:
    """The same interface for a job's only process, which saves by itself."""

    def __init__(self, batches: TrainIterator):
        self._batches = batches

    def __enter__(self) -> "Alone":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def start(self) -> None:
        """Does nothing: only the iterator itself reads ahead."""

    def __next__(self) -> Batch:
        return next(self._batches)

    def end(self, step: int) -> None:
        """Does nothing: no process posts anything."""


class Together:
    """The batches of one of several processes.

    Args:
      batches: This process's batches, positioned after `step`.
      step: Steps taken so far.
      last: Last step of the run; nothing is read beyond it.
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
        """Reads the first batches. All processes call it at the same point, before the first step."""
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
        """Ends the run if batches end at this step; called before every step and its validation.

        Raises:
          LastBatchError: Some process has no batch for the next step. All processes raise it at the same step.
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
        """Runs in a thread, because the main threads of other processes may be waiting inside a step."""
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
    """One process has no further batch, and all are at the same step. `cause` is the error to show."""

    def __init__(self, cause: Exception):
        super().__init__(str(cause))
        self.cause = cause


def read_ahead(batches: TrainIterator, step: int, last: int) -> Alone | Together:
    """Returns the batches of this process, see `Together`."""
    return Alone(batches) if jax.process_count() == 1 else Together(batches, step, last)
