"""Measures what every scene of a data set needs, in parts that are saved as they are done."""

import contextlib
import gzip
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from scenarioclip_jax.data.packing.needs import Needs, measure
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.faults import InputUnavailableError, passes, remedy
from scenarioclip_jax.files import write_whole
from scenarioclip_jax.progress_bar import progress_bar

RECORDS = 2048  # records in a part, which takes a second or so to measure


class MeasuringStopped(Exception):
    """A stop was requested while scenes were measured. What was measured is kept."""


class Crew(NamedTuple):
    """The processes that measure scenes together."""

    index: int  # index of this process
    count: int
    wait: Callable[[str], None]  # returns when all processes have called it
    stop: Callable[[], bool]  # all processes call it equally often and get the same answer
    everybody: Callable[[bool], bool] = bool  # whether it is true in all processes


ALONE = Crew(0, 1, lambda where: None, lambda: False)


class Parts:
    """What the scenes of a source need, in parts of `RECORDS` records.

    Args:
      source: The scenes.
      settings: The settings that their needs depend on.
      folder: Folder to keep parts in, created when needed; None keeps nothing. Parts with unreadable records
        are not kept, since the cause may be temporary.

    Attributes:
      failed: Errors of the records that couldn't be read, by record.
    """

    def __init__(self, source, settings: DataSettings, folder: Path | None):
        self._source, self._settings, self.folder = source, settings, folder
        self._count = math.ceil(len(source) / RECORDS)
        self._here: dict[int, list[dict | None]] = {}
        self.failed: dict[int, Exception] = {}

    def measure(self, crew: Crew) -> None:
        """Measures what isn't measured yet; the processes of the crew take parts in turn.

        Raises:
          MeasuringStopped: `crew.stop` returned True.
          InputUnavailableError: The system refuses to read a record.
        """
        bar = progress_bar(
            total=len(self._source),
            desc="Measuring scenes for data.balance",
            unit=" scenes",
            mininterval=5,
            disable=crew.index > 0,
        )
        with bar:
            # Loops over finished parts too, because all processes have to call `stop` equally often.
            for first in range(0, self._count, crew.count):
                if (part := first + crew.index) < self._count and not self._is_kept(part):
                    values = self._measure(part)
                    if not self._is_kept(part):
                        self._here[part] = values
                bar.update(min(RECORDS * crew.count, len(self._source) - bar.n))
                if crew.stop():
                    raise MeasuringStopped
        crew.wait("all scenes are measured")

    def needs(self) -> Iterator[dict[str, Needs] | None]:
        """What each record needs, in order; None for a record that couldn't be read.

        A part that another machine measured and that isn't visible from here is measured again.
        """
        for part in range(self._count):
            values = self._here.pop(part, None) or self._read(part)
            for levels in values or self._measure(part):
                yield levels and {level: Needs(*need) for level, need in levels.items()}

    def _measure(self, part: int) -> list[dict | None]:
        records = range(part * RECORDS, min((part + 1) * RECORDS, len(self._source)))
        values, failed = [], {}
        found = measure(self._source, self._settings, records)
        for record, needs in zip(records, found, strict=True):
            if isinstance(needs, Exception):
                if passes(needs):
                    raise InputUnavailableError(
                        f"record {record} can't be read now, so it can't be measured for data.balance: {needs} "
                        f"({remedy(needs)}). What was measured is kept; start the same command again"
                    ) from needs
                failed[record] = needs
            values.append(None if isinstance(needs, Exception) else needs)
        self.failed |= failed
        if not failed:
            self._keep(part, values)
        return values

    def _file(self, part: int) -> Path:
        assert self.folder is not None  # whoever asks has looked
        return self.folder / f"{part:06d}.json.gz"

    def _is_kept(self, part: int) -> bool:
        return self.folder is not None and self._file(part).is_file()

    def _keep(self, part: int, values: list) -> None:
        if self.folder is None:
            return
        content = gzip.compress(json.dumps(values).encode(), 1)
        with contextlib.suppress(OSError):  # the folder can't be written to, or the disk is full
            self.folder.mkdir(exist_ok=True)
            write_whole(self._file(part), lambda stream: stream.write(content))

    def _read(self, part: int) -> list[dict | None] | None:
        if not self._is_kept(part):
            return None
        try:
            return json.loads(gzip.decompress(self._file(part).read_bytes()))
        except (OSError, EOFError, ValueError):
            return None
