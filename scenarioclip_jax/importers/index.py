"""Joins files that are sorted differently, in a temporary SQLite file instead of in memory."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_BATCH = 10_000  # rows that are inserted at once
_CACHE = 32 * 1024  # KiB of pages that SQLite keeps in memory


class Index:
    """Lists of JSON values by kind and key. First everything is added, then it's looked up.

    An index of all photos of a data set takes about as much room on disk as what is put in.
    """

    def __init__(self, path: Path):
        # Another thread may be reading when a progress bar closes; there is one reader at a time all the same.
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        _prepare(self._file, _CACHE)
        self._file.execute("CREATE TABLE items (kind TEXT, key TEXT, body TEXT)")
        self._file.execute("BEGIN")
        self._waiting: list[tuple[str, str, str]] = []
        self._sorted = False

    def add(self, kind: str, key: object, body: Any) -> None:
        """Appends a JSON value to the list of a key."""
        self._waiting.append((kind, str(key), json.dumps(body, separators=(",", ":"))))
        if len(self._waiting) >= _BATCH:
            self._insert()

    def get(self, kind: str, key: object) -> list[Any]:
        """The values of a key, in the order in which they were added."""
        rows = self._rows("SELECT body FROM items WHERE kind=? AND key=?", (kind, str(key)))
        return [json.loads(body) for (body,) in rows]

    def keys(self, *kinds: str) -> Iterator[str]:
        """The keys of some kinds, each once, sorted as text."""
        marks = ",".join("?" * len(kinds))
        query = f"SELECT DISTINCT key FROM items WHERE kind IN ({marks}) ORDER BY key"
        for (key,) in self._rows(query, kinds):
            yield key

    def without(self, kind: str, other: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Keys of a kind that none of the other kinds has, with their number of values."""
        others = list(other)
        marks = ",".join("?" * len(others))
        yield from self._rows(
            "SELECT key, COUNT(*) FROM items a WHERE kind=? AND NOT EXISTS (SELECT 1 FROM items b "
            f"WHERE b.kind IN ({marks}) AND b.key=a.key) GROUP BY key",
            (kind, *others),
        )

    def count(self, kind: str) -> int:
        """Number of keys of a kind."""
        return self._rows("SELECT COUNT(DISTINCT key) FROM items WHERE kind=?", (kind,)).fetchone()[
            0
        ]

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _insert(self) -> None:
        self._file.executemany("INSERT INTO items VALUES (?,?,?)", self._waiting)
        self._waiting.clear()

    def _rows(self, query: str, values: tuple[str, ...]) -> sqlite3.Cursor:
        if self._waiting:
            self._insert()
        if not self._sorted:  # one sort at the end is faster than keeping order all along
            self._file.execute("CREATE INDEX sorted ON items (kind, key)")
            self._sorted = True
        return self._file.execute(query, values)


class Ids:
    """Ids that were there, in a temporary file instead of in memory."""

    def __init__(self, path: Path):
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        _prepare(self._file, _CACHE // 4)
        self._file.execute("CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._file.execute("BEGIN")

    def add(self, id: object) -> bool:
        """Adds an id; returns whether it's new."""
        return bool(self._file.execute("INSERT OR IGNORE INTO ids VALUES (?)", (str(id),)).rowcount)


def _prepare(file: sqlite3.Connection, cache: int) -> None:
    """For a file that nobody needs after a crash; `cache` is in KiB."""
    for setting in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{cache}"):
        file.execute(f"PRAGMA {setting}")
