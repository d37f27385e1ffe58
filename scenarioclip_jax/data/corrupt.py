"""Records that can't be read: corrupt ones are counted and replaced, refused ones are not."""

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from scenarioclip_jax import faults
from scenarioclip_jax.data.source import Source
from scenarioclip_jax.data.stored.scene import Scene
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.faults import InputUnavailableError

Made = TypeVar("Made")


class CorruptDataError(ReadableError, RuntimeError):
    """More records could not be read than `max_corrupt_share` allows."""


class Corrupt(NamedTuple):
    """A record that is damaged, and why."""

    index: int
    reason: str


class Refused(NamedTuple):
    """A record that the system refuses to read at the moment, and why."""

    index: int
    reason: str

    def error(self) -> InputUnavailableError:
        return InputUnavailableError(
            f"record {self.index} can't be read now and isn't counted as corrupt: {self.reason}"
        )


def read_scene(source: Source, index: int) -> Scene | Corrupt:
    """Reads a record, again after a while if the system refuses to.

    Raises:
      InputUnavailableError: The system still refuses; the record may be intact.
    """
    read = read_and_make(source, index, lambda scene: scene)
    if isinstance(read, Refused):
        raise read.error()
    return read


def read_and_make(
    source: Source, index: int, make: Callable[[Scene], Made]
) -> Made | Corrupt | Refused:
    """Reads a record and makes something of it, again after a while if the system refuses to."""
    for pause in (*faults.PAUSES, None):
        name = "unreadable"
        # Damaged bytes may raise anything, from struct.error to SyntaxError. A bug in the code would make every
        # record corrupt, which stops the run and shows the reasons.
        try:
            scene = source[index]
            name = f"scene {scene.id}"
            return make(scene)
        except Exception as error:
            why = f"{name}: {type(error).__name__}: {error}"
            if not faults.passes(error):
                return Corrupt(index, why)
            if pause is None:
                return Refused(index, f"{why} ({faults.remedy(error)})")
            time.sleep(pause)
    raise AssertionError


class CorruptLog:
    """Collects the distinct corrupt records of a run; raises if they are too large a share of the data set."""

    def __init__(self, records: int, max_share: float):
        self._records, self._max_share = records, max_share
        self.reasons: dict[int, str] = {}  # by index in the source

    def add(self, corrupt: Sequence[Corrupt]) -> None:
        """Adds records that this process found, with their reasons.

        Raises:
          CorruptDataError: Too large a share of all records is corrupt.
        """
        for each in corrupt:
            if each.index not in self.reasons:
                self.reasons[each.index] = each.reason
                logging.warning("record %d is corrupt and skipped: %s", each.index, each.reason)
        self._check()

    def know(self, indices: Iterable[int]) -> None:
        """Adds records that another process found, or that this run found before it was stopped.

        Raises:
          CorruptDataError: Too large a share of all records is corrupt.
        """
        for index in indices:
            self.reasons.setdefault(index, "found before, or by another process")
        self._check()

    def _check(self) -> None:
        if len(self.reasons) > self._max_share * self._records:
            raise CorruptDataError(
                f"{len(self.reasons)} of {self._records} records are corrupt, more than "
                f"data.max_corrupt_share={self._max_share}: {name_some(self.reasons)}; build the data "
                "set again, or allow a larger share"
            )


def name_some(reasons: dict[int, str], most: int = 5) -> str:
    """The first records and their reasons, for a message."""
    named = "; ".join(f"record {i}: {why}" for i, why in itertools.islice(reasons.items(), most))
    return named + (f"; and {len(reasons) - most} more" if len(reasons) > most else "")
