"""What is kept of an album: photos, what they show, and its embeddings, in one SQLite file.

A photo is a path with the state of its file; what it shows belongs to its content, so a copy or a photo that
was moved costs nothing. Everything that belongs to a content is written in one transaction: a process that is
killed leaves whole photos.
"""

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.files import full_disk_named

NAME = "album.sqlite"
VERSION = "1"
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS contents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, width INTEGER, height INTEGER,
    problem TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS photos (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, content INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS items (
    id INTEGER PRIMARY KEY AUTOINCREMENT, content INTEGER NOT NULL, level TEXT NOT NULL, boxes TEXT NOT NULL,
    vector BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS items_of_content ON items (content);
CREATE INDEX IF NOT EXISTS items_of_level ON items (level, content);
CREATE INDEX IF NOT EXISTS photos_of_content ON photos (content);
"""


class AlbumError(ReadableError):
    """An index can't be used. The message says what to do."""


class Item(NamedTuple):
    """Something that can be found in a photo.

    Attributes:
      level: `global`, `object` or `relation`.
      boxes: Where it is: none, one or two boxes in pixels of the upright photo.
      vector: Its embedding, float16 [D], of length 1.
    """

    level: str
    boxes: Sequence[Sequence[float]]
    vector: np.ndarray


class Content(NamedTuple):
    """What one or several photos show.

    Attributes:
      digest: Of the file's bytes and of the boxes that were given for it.
      size: Width and height of the upright photo in pixels.
      problem: Why it, or some of its boxes, couldn't be embedded; "" if all could.
      items: What can be found in it.
    """

    digest: str
    size: tuple[int, int]
    problem: str
    items: Sequence[Item] = ()


class Store:
    """An album's file.

    Args:
      folder: The index.
      make: Whether to make the file if there is none.

    Raises:
      AlbumError: There is none, or it was made by another release or isn't one.
    """

    def __init__(self, folder: Path, *, make: bool = False):
        self.file = folder / NAME
        if not make and not self.file.is_file():
            raise AlbumError(
                f"{folder}: no index of photos; make one with "
                "python -m scenarioclip_jax.search index --model DIR --photos DIR --output DIR"
            )
        with self._usable():
            self._database = sqlite3.connect(self.file, timeout=60.0)
            if make:
                self._database.executescript(_TABLES)
        facts = self.facts()
        if make and "identity" not in facts:
            self.note({"identity": secrets.token_hex(8)})
        if facts.get("version", VERSION) != VERSION:
            raise AlbumError(
                f"{self.file}: made by another release; delete {folder} and index the photos again"
            )

    def close(self) -> None:
        self._database.close()

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Raises AlbumError if SQLite can't read or write the file."""
        try:
            with full_disk_named(self.file.parent):
                yield
        except sqlite3.Error as error:
            folder = self.file.parent
            raise AlbumError(
                f"{self.file}: can't be used ({error}); if it is damaged, delete {folder} and index the photos "
                "again; if it can't be written, give an --output that can"
            ) from None

    def _read(self, query: str, *values: Any) -> list[tuple]:
        with self._usable():
            return self._database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read within belongs to one moment."""
        with self._usable():
            self._database.execute("BEGIN")
        try:
            yield
        finally:
            self._database.rollback()

    def state(self) -> str:
        """A name of what the index holds: another one whenever that has changed, or is another index."""
        facts = self.facts()
        return f"{facts.get('identity', '')}-{facts.get('changes', '0')}"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, after which what was made of the items before is out of date."""
        with self._usable(), self._database:
            yield self._database
            self._database.execute(
                "INSERT INTO facts VALUES ('changes', '1') ON CONFLICT (name) DO UPDATE SET value = value + 1"
            )

    def facts(self) -> dict[str, str]:
        """What is known of the index as a whole: model, its digest, photos' folder, number of changes."""
        return dict(self._read("SELECT name, value FROM facts"))

    def note(self, facts: Mapping[str, str]) -> None:
        rows = ({**facts, "version": VERSION}).items()
        with self._usable(), self._database:
            self._database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    def stamps(self) -> dict[str, str]:
        """The state in which each photo's file was when it was looked at, by path."""
        return dict(self._read("SELECT path, stamp FROM photos"))

    def digests(self) -> set[str]:
        """The digests of all contents."""
        return {digest for (digest,) in self._read("SELECT digest FROM contents")}

    def add(self, contents: Sequence[Content], photos: Sequence[tuple[str, str, str]]) -> None:
        """Keeps new contents, and photos of known ones: path, stamp, digest."""
        with self._writing() as database:
            for digest, (width, height), problem, items in contents:
                cursor = database.execute(
                    "INSERT INTO contents (digest, width, height, problem) VALUES (?, ?, ?, ?)",
                    (digest, width, height, problem),
                )
                database.executemany(
                    "INSERT INTO items (content, level, boxes, vector) VALUES (?, ?, ?, ?)",
                    [
                        (cursor.lastrowid, level, json.dumps(boxes), vector.tobytes())
                        for level, boxes, vector in items
                    ],
                )
            database.executemany(
                "INSERT OR REPLACE INTO photos SELECT ?, ?, id FROM contents WHERE digest = ?",
                photos,
            )

    def forget(self, paths: Sequence[str]) -> None:
        """Forgets photos, and what no photo shows any more."""
        unused = "SELECT 1 FROM contents WHERE id NOT IN (SELECT content FROM photos) LIMIT 1"
        if not paths and not self._read(unused):
            return
        with self._writing() as database:
            database.executemany("DELETE FROM photos WHERE path = ?", [(path,) for path in paths])
            database.execute("DELETE FROM contents WHERE id NOT IN (SELECT content FROM photos)")
            database.execute("DELETE FROM items WHERE content NOT IN (SELECT id FROM contents)")

    def counts(self) -> dict[str, int]:
        """Items by level."""
        return dict(self._read("SELECT level, COUNT(*) FROM items GROUP BY level ORDER BY level"))

    def problems(self) -> list[tuple[str, str]]:
        """Photos that couldn't be embedded, or not all of their boxes, with the reason."""
        return self._read(
            "SELECT path, problem FROM photos JOIN contents ON content = contents.id WHERE problem != '' "
            "ORDER BY path"
        )

    def vectors(self, level: str) -> Iterator[tuple[int, int, bytes]]:
        """Item, content and embedding of a level's items, in the order of their contents.

        An update that was interrupted may leave contents that no photo shows any more; these don't count.
        """
        with self._usable():
            yield from self._database.execute(
                "SELECT id, content, vector FROM items WHERE level = ? AND content IN "
                "(SELECT content FROM photos) ORDER BY content, id",
                (level,),
            )

    def boxes(self, item: int) -> list[list[float]]:
        """Where an item is; nowhere if it was forgotten."""
        found = self._read("SELECT boxes FROM items WHERE id = ?", item)
        return json.loads(found[0][0]) if found else []

    def photos_of(self, content: int) -> tuple[list[str], tuple[int, int]]:
        """The paths of the photos that show something, none if it was forgotten, and their size in pixels."""
        paths = self._read("SELECT path FROM photos WHERE content = ? ORDER BY path", content)
        size = self._read("SELECT width, height FROM contents WHERE id = ?", content)
        return [path for (path,) in paths], size[0] if size else (0, 0)
