"""What a build knows about every record, in a file: ids, groups, pixels, and where its scene is stored.

SQLite keeps it on disk, so a build of 100 million photos needs no more memory than one of 10,000.
"""

import hashlib
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from scenarioclip_jax.data.build.records import Record

_AT_ONCE = 10_000  # rows
_CACHE = 8 << 10  # KiB of the file that SQLite keeps in memory; the system caches the rest
_TABLE = """
CREATE TABLE scenes (
  position INTEGER PRIMARY KEY,  -- of the record, counted over all metadata files
  id TEXT UNIQUE,
  place TEXT,                    -- file and index, for messages
  content BLOB,                  -- digest of the record
  named TEXT,                    -- the split that it names
  together TEXT,                 -- its group
  pixels TEXT,                   -- digest of its photo; NULL: the scene can't be used
  chunk INTEGER, row INTEGER,    -- where its scene is stored
  size INTEGER,                  -- bytes of that
  split TEXT,                    -- the split that it was assigned to
  ordered BLOB                   -- what scenes of a split are sorted by
)
"""


class Row(NamedTuple):
    """A scene that can be used, on its way to a split."""

    position: int
    id: str
    where: str
    named: str  # the split that its record names; "" for none
    group: str
    pixels: str  # digest of its photo if another scene shows the same; else ""


class Stored(NamedTuple):
    """A scene that was made and stored."""

    position: int
    pixels: str  # digest of the photo
    chunk: int
    row: int
    size: int  # bytes


class Index:
    """The index; its file is new and is removed with the folder of the build.

    Args:
      path: The file; None keeps the index in memory.
    """

    def __init__(self, path: Path | None = None):
        self._database = sqlite3.connect(path or ":memory:", isolation_level=None)
        # An interrupted build makes the index again, so nothing has to survive a crash.
        for setting in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE}"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(_TABLE)
        self._database.execute("BEGIN")
        self._count = 0

    def add(self, record: Record) -> tuple[str, bool] | None:
        """Adds a record.

        Returns:
          None; or, if its id is known, the place of the record that has it and whether both say the same.
        """
        said = repr(record._replace(where="")).encode()
        content = hashlib.blake2b(said, digest_size=16).digest()
        values = (self._count, record.id, record.where, content, record.split, record.group)
        inserted = self._database.execute(
            "INSERT OR IGNORE INTO scenes (position, id, place, content, named, together) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            values,
        )
        if inserted.rowcount:
            self._count += 1
            return None
        where, first = self._database.execute(
            "SELECT place, content FROM scenes WHERE id = ?", (record.id,)
        ).fetchone()
        return where, first == content

    def store(self, scenes: Iterable[Stored]) -> None:
        """Notes where scenes are stored."""
        self._database.executemany(
            "UPDATE scenes SET pixels = ?2, chunk = ?3, row = ?4, size = ?5 WHERE position = ?1",
            scenes,
        )

    def rows(self) -> Iterator[Row]:
        """Yields all scenes that can be used, in the order of their records."""
        self._find_shared()
        last = -1
        while True:  # in parts, so that the index may be changed in between
            rows = self._database.execute(
                "SELECT position, id, place, named, together, "
                "CASE WHEN pixels IN (SELECT pixels FROM shared) THEN pixels ELSE '' END "
                "FROM scenes WHERE pixels IS NOT NULL AND position > ? ORDER BY position LIMIT ?",
                (last, _AT_ONCE),
            ).fetchall()
            yield from map(Row._make, rows)
            if len(rows) < _AT_ONCE:
                return
            last = rows[-1][0]

    def _find_shared(self) -> None:
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS shared AS SELECT pixels FROM scenes WHERE pixels IS NOT NULL "
            "GROUP BY pixels HAVING COUNT(*) > 1"
        )

    def shared_photos(self) -> Iterator[tuple[str, list[str]]]:
        """Yields, for each photo that several scenes show, its split and the ids of these scenes."""
        self._find_shared()
        found: dict[str, tuple[str, list[str]]] = {}
        for pixels, split, id in self._database.execute(
            "SELECT pixels, split, id FROM scenes WHERE pixels IN (SELECT pixels FROM shared) "
            "ORDER BY position"
        ):
            found.setdefault(pixels, (split, []))[1].append(id)
        yield from found.values()

    def assign(self, of: Callable[[Row], tuple[str, bytes]]) -> None:
        """Sets the split of every scene, and what scenes are sorted by within it."""
        rows = self.rows()
        while some := list(itertools.islice(rows, _AT_ONCE)):
            self._database.executemany(
                "UPDATE scenes SET split = ?, ordered = ? WHERE position = ?",
                [(*of(row), row.position) for row in some],
            )
        self._database.execute("CREATE INDEX by_split ON scenes (split, ordered)")

    def size(self, split: str) -> tuple[int, int]:
        """Number of scenes in a split, and their bytes."""
        return self._database.execute(
            "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM scenes WHERE split = ?", (split,)
        ).fetchone()

    def places(self, split: str) -> Iterator[tuple[int, int]]:
        """Yields (chunk, row) of the scenes of a split in their final order."""
        return self._database.execute(
            "SELECT chunk, row FROM scenes WHERE split = ? ORDER BY ordered", (split,)
        )

    def digests(self, split: str) -> Iterator[str]:
        """Yields the digests of the photos of a split."""
        for (pixels,) in self._database.execute(
            "SELECT pixels FROM scenes WHERE split = ?", (split,)
        ):
            yield pixels

    def close(self) -> None:
        self._database.close()
