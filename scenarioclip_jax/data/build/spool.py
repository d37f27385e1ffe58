"""Keeps the records of a data set on disk between two steps of a build, so that memory stays small."""

import pickle
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scenarioclip_jax.data.build.records import Record

BLOCK = 32  # records that are written, and read, at once
_PLACE = struct.Struct("<Q")


class Spool(NamedTuple):
    """Records in a file of compressed blocks. It is handed to every process, so it holds no list of them.

    Attributes:
      path: The file; where each block starts in it, and the last one ends, is in another.
      count: Number of records.
    """

    path: Path
    count: int

    @property
    def blocks(self) -> int:
        return -(-self.count // BLOCK)

    def records(self, blocks: range | None = None) -> Iterator[Record]:
        """Yields the records of some blocks, of all by default, in order."""
        blocks = range(self.blocks) if blocks is None else blocks
        with self.path.open("rb") as file, _places(self.path).open("rb") as places:
            for block in blocks:
                places.seek(block * _PLACE.size)
                start, end = (_PLACE.unpack(places.read(_PLACE.size))[0] for _ in range(2))
                file.seek(start)
                yield from pickle.loads(zlib.decompress(file.read(end - start)))


class SpoolWriter:
    """Writes a spool; records are numbered in the order in which they come."""

    def __init__(self, path: Path):
        self._path, self._file, self._places = path, path.open("wb"), _places(path).open("wb")
        self._waiting, self._count = [], 0
        self._places.write(_PLACE.pack(0))

    def add(self, record: Record) -> None:
        self._waiting.append(record)
        self._count += 1
        if len(self._waiting) == BLOCK:
            self._write()

    def _write(self) -> None:
        # Within a block, equal texts are stored once.
        self._file.write(zlib.compress(pickle.dumps(self._waiting, pickle.HIGHEST_PROTOCOL), 1))
        self._places.write(_PLACE.pack(self._file.tell()))
        self._waiting = []

    def finish(self) -> Spool:
        if self._waiting:
            self._write()
        self._file.close()
        self._places.close()
        return Spool(self._path, self._count)


def _places(path: Path) -> Path:
    return path.with_name(f"{path.name}.places")
