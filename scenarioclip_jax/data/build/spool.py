"""Keeps the records of a data set on disk between two steps of a build, so that memory stays small."""

import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scenarioclip_jax.data.build.records import Record

BLOCK = 32  # records that are written, and read, at once


class Spool(NamedTuple):
    """Records in a file of compressed blocks.

    Attributes:
      path: The file.
      offsets: Where each block starts in it, and where the last one ends.
      count: Number of records.
    """

    path: Path
    offsets: list[int]
    count: int

    def records(self, blocks: range | None = None) -> Iterator[Record]:
        """Yields the records of some blocks, of all by default, in order."""
        with self.path.open("rb") as file:
            for block in range(len(self.offsets) - 1) if blocks is None else blocks:
                file.seek(self.offsets[block])
                content = file.read(self.offsets[block + 1] - self.offsets[block])
                yield from pickle.loads(zlib.decompress(content))


class SpoolWriter:
    """Writes a spool; records are numbered in the order in which they come."""

    def __init__(self, path: Path):
        self._path, self._file = path, path.open("wb")
        self._offsets, self._waiting, self._count = [0], [], 0

    def add(self, record: Record) -> None:
        self._waiting.append(record)
        self._count += 1
        if len(self._waiting) == BLOCK:
            self._write()

    def _write(self) -> None:
        # Within a block, equal texts are stored once.
        self._file.write(zlib.compress(pickle.dumps(self._waiting, pickle.HIGHEST_PROTOCOL), 1))
        self._offsets.append(self._file.tell())
        self._waiting = []

    def finish(self) -> Spool:
        if self._waiting:
            self._write()
        self._file.close()
        return Spool(self._path, self._offsets, self._count)
