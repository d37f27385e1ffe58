"""The records of a stage: a line for each photo, in files that only grow (`line_files.py`).

A stage has a folder with one file for each process that runs a share of it, `0-of-1.jsonl`. Which line of a
photo counts is decided by its key (`chain.py`): lines of other keys are stale.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.annotate.line_files import (
    WorkError,
    append_alone,
    encode_line,
    lock_file,
    read_lines,
)
from scenarioclip_jax.annotate.results import Failure
from scenarioclip_jax.annotate.shards import Shard

FORGIVEN = "forgiven.jsonl"  # written by `retry`
_SYNC_SECONDS = 5.0  # how often what was written is forced to the disk


class Entry(NamedTuple):
    """Where the line of a photo is, and what decides whether it counts.

    Attributes:
      key: What made it.
      digest: Digest of its output; "" for a failure.
      attempts: Number of this failure of the photo with this key, from 1; 0 for a result.
      kind: The failure's kind, or "".
    """

    key: str
    digest: str
    attempts: int
    kind: str
    file: int
    offset: int

    @property
    def done(self) -> bool:
        return bool(self.digest)


def json_digest(value: Any) -> str:
    """A digest of a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Records:
    """Reads the records of a stage.

    Args:
      folder: The stage's folder, which may not exist yet.
      wanted: Whether a photo's records are kept in mind, by its id.

    Attributes:
      damaged: Lines that can't be read, which count as absent: file and number.
    """

    def __init__(self, folder: Path, wanted: Callable[[str], bool] = lambda id: True):
        self.folder, self.damaged = folder, []
        self._files = sorted(p for p in folder.glob("*-of-*.jsonl")) if folder.is_dir() else []
        self._streams: dict[int, Any] = {}
        # Of most photos there is one entry; a list for each would take a fifth of the memory.
        self._entries: dict[str, Entry | list[Entry]] = {}
        self._forgiven: dict[tuple[str, str], int] = {}
        for number, path in enumerate(self._files):
            for offset, line in read_lines(path, self.damaged):
                if wanted(line["id"]):
                    # The stages have their ids in common.
                    self._add(sys.intern(line["id"]), entry_of(line, number, offset))
        for _, line in read_lines(folder / FORGIVEN, self.damaged):
            self._forgiven[line["id"], line["key"]] = line["attempts"]

    def _add(self, id: str, entry: Entry) -> None:
        entries = self._all(id)
        for position, other in enumerate(entries):
            if other.key == entry.key:
                if (entry.done, entry.attempts) >= (other.done, other.attempts):
                    entries[position] = entry
                break
        else:
            entries.append(entry)
        self._entries[id] = entries if len(entries) > 1 else entries[0]

    def _all(self, id: str) -> list[Entry]:
        found = self._entries.get(id)
        return [] if found is None else [found] if isinstance(found, Entry) else found

    def find(self, id: str, key: str) -> Entry | None:
        """The entry of a photo that this key made; a result rather than a failure."""
        return next((entry for entry in self._all(id) if entry.key == key), None)

    def has_any(self, id: str) -> bool:
        """Whether there is an entry of a photo, of whatever key."""
        return id in self._entries

    def ids(self) -> list[str]:
        """The photos that have entries, sorted."""
        return sorted(self._entries)

    def attempts_left(self, id: str, entry: Entry, limit: int) -> bool:
        """Whether a failure may be tried again."""
        return entry.attempts - self._forgiven.get((id, entry.key), 0) < limit

    def read(self, entry: Entry) -> dict[str, Any]:
        """The line of an entry.

        Raises:
          WorkError: It is damaged.
        """
        if entry.file not in self._streams:
            self._streams[entry.file] = self._files[entry.file].open("rb")
        stream = self._streams[entry.file]
        stream.seek(entry.offset)
        line = stream.readline()
        try:
            return json.loads(line)
        except ValueError as error:
            raise WorkError(
                f"{self._files[entry.file]}: the line at byte {entry.offset} is damaged ({error}); remove it, "
                "and run the stage again"
            ) from error

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()

    def forgive(self, failures: list[tuple[str, Entry]]) -> None:
        """Lets failures be tried again as if they were new."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / FORGIVEN).open("ab") as file:
            lock_file(file, fcntl.LOCK_EX)
            for id, entry in failures:
                line = {"id": id, "key": entry.key, "attempts": entry.attempts}
                file.write(encode_line(line))


def entry_of(line: dict[str, Any], file: int, offset: int) -> Entry:
    """The entry of a line."""
    failure = line.get("failure") or {}
    return Entry(
        line["key"],
        line.get("digest", ""),
        line.get("attempts", 0),
        failure.get("kind", ""),
        file,
        offset,
    )


def result_line(id: str, key: str, output: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """The line of a result; `made` says by what."""
    return {"id": id, "key": key, "digest": json_digest(output), "output": output, "made": made}


def failure_line(id: str, key: str, failure: Failure, attempts: int) -> dict[str, Any]:
    """The line of a failure, which is the `attempts`-th of this photo with this key."""
    told = {"kind": failure.kind, "detail": failure.detail[:2000]}
    return {"id": id, "key": key, "failure": told, "attempts": attempts}


class Writer:
    """Appends the records of one share of a stage; only one process at a time can.

    Args:
      folder: The stage's folder.
      shard: The share.

    Raises:
      WorkError: Another process runs this share, or another division of the stage into shares.
    """

    def __init__(self, folder: Path, shard: Shard):
        folder.mkdir(parents=True, exist_ok=True)
        self._held = contextlib.ExitStack()
        self._path = folder / f"{shard.index}-of-{shard.count}.jsonl"
        try:
            self._hold_division(folder, shard)
            taken = (
                "another process runs this share of the stage; wait for its end, or give each process a share "
                "of its own: --shard 0/2, --shard 1/2, …"
            )
            self._file = self._held.enter_context(append_alone(self._path, taken))
        except BaseException:
            self._held.close()
            raise
        self._synced = time.monotonic()

    def _hold_division(self, folder: Path, shard: Shard) -> None:
        """Refuses to run beside processes that divide the photos otherwise: both would do the same ones."""
        lock = self._held.enter_context((folder / ".division").open("a+", encoding="ascii"))
        with contextlib.suppress(BlockingIOError):  # others run it, and have written their number
            lock_file(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            lock.write(str(shard.count))
            lock.flush()
        lock_file(lock, fcntl.LOCK_SH)
        lock.seek(0)
        if (others := lock.read()) != str(shard.count):
            raise WorkError(
                f"{folder}: processes run this stage in {others} shares now, and this one is {shard}; use the "
                "same number of shares, or wait for their end"
            )

    def write(self, line: dict[str, Any]) -> None:
        """Appends a line; it is in the file when this returns."""
        with self._named():
            self._file.write(encode_line(line))
            self._file.flush()
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def close(self) -> None:
        with self._named(), self._held:
            os.fsync(self._file.fileno())

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Names the file in errors such as that of a full disk, which name none."""
        try:
            yield
        except OSError as error:
            error.filename = str(self._path)
            raise

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
