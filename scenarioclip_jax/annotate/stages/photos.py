"""The first step, `photos`: lists the photos below a folder, and reads each once, to the last pixel.

A photo's id is its path in that folder. What is known of it (size, digest of the content) counts as long as its
file has the same length and time; a photo whose content is the same under a new time makes nothing stale.
Nor does what a frame has from its video (`frame_index.py`): only `assemble` uses that.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.annotate import near_duplicates
from scenarioclip_jax.annotate.frame_index import Sources
from scenarioclip_jax.annotate.records import Entry, Records, json_digest, result_line
from scenarioclip_jax.annotate.results import Failure, Photo
from scenarioclip_jax.annotate.shards import ALL, Shard
from scenarioclip_jax.annotate.stage import Done
from scenarioclip_jax.annotate.work import Work
from scenarioclip_jax.data import images
from scenarioclip_jax.data.build.photo_files import open_photo
from scenarioclip_jax.data.build.photo_folders import Folders, PhotoError
from scenarioclip_jax.data.photo_listing import found_below

NAME = "photos"
_VERSION = 1
_THREADS = min(8, os.cpu_count() or 1)


def key_of(file: Path, source: dict[str, str]) -> str | None:
    """What a photo's record is current by: version, length, time, its video; None if there is no such file.

    A link to nothing is there: it fails as a photo, and is told of.
    """
    try:
        try:
            found, kind = file.stat(), ""
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                raise
            found, kind = file.lstat(), ":link"
    except (FileNotFoundError, NotADirectoryError):
        return None
    key = f"{_VERSION}:{found.st_size}:{found.st_mtime_ns}{kind}"
    return f"{key}:{json_digest(source)}" if source else key


class Listing:
    """The photos that are listed.

    Args:
      work: The working folder.
      shard: The share of the photos.
    """

    def __init__(self, work: Work, shard: Shard = ALL):
        self._work, self.records = work, work.records(NAME, shard.has)
        self._folders, self._sources = work.photos(), Sources(work.images)

    def current(self) -> Iterator[tuple[str, Entry]]:
        """Photos that could be read and haven't changed since, in the order of their ids."""
        for id in self.records.ids():
            if (entry := self.find(id)) and entry.done:
                yield id, entry

    def failed(self) -> Iterator[tuple[str, Entry]]:
        """Photos that can't be read."""
        for id in self.records.ids():
            if (entry := self.find(id)) and not entry.done:
                yield id, entry

    def find(self, id: str) -> Entry | None:
        """The current record of a photo, of a result or a failure; None if it isn't there or has changed."""
        for path in dict.fromkeys((id, _as_path(id))):
            key = key_of(self._work.images / path, self._sources.find(path))
            if key and (entry := self.records.find(id, key)):
                return entry
        return None

    def known(self, id: str) -> dict[str, Any]:
        """What is known of a photo that is listed."""
        entry = self.find(id)
        if entry is None or not entry.done:
            raise KeyError(id)
        return self.records.read(entry)["output"]

    def source(self, id: str) -> dict[str, str]:
        """What a frame has from its video: `group`, maybe `action`. A current record's key is of the same."""
        return self._sources.find(id)

    def photo(self, id: str, entry: Entry) -> Photo:
        """A photo to give to a model."""
        known = self.records.read(entry)["output"]

        def opened():
            return images.open_image(self._folders.find(id), name=repr(id)).picture

        return Photo(id, (known["width"], known["height"]), opened)

    def close(self) -> None:
        self.records.close()


class New(NamedTuple):
    """A photo to list: its path, its key, and what is known of it by its video."""

    path: str
    key: str
    source: dict[str, str]

    def line(self, output: dict[str, Any]) -> dict[str, Any]:
        """Its line. The source isn't part of the output, whose digest the stages go by."""
        line = result_line(self.path, self.key, output, {})
        return line | {"source": self.source} if self.source else line


def to_list(work: Work, shard: Shard, records: Records, attempts: int) -> Iterator[New]:
    """Photos of a share that aren't listed, or have changed since."""
    sources = Sources(work.images)
    for path in found_below(work.images, work.follow_links):
        if not shard.has(as_text(path)):  # as its record is looked for
            continue
        source = sources.find(path)
        key = key_of(work.images / path, source)
        entry = records.find(as_text(path), key) if key else None
        if key and (
            entry is None
            or (not entry.done and records.attempts_left(as_text(path), entry, attempts))
        ):
            yield New(path, key, source)


def examine(work: Work, ids: Iterator[str]) -> Iterator[Done]:
    """Reads photos, several at a time."""
    folders = work.photos()
    waiting: list[Future[Done]] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for id in ids:
                waiting.append(pool.submit(_examined, folders, id))
                if len(waiting) > 2 * _THREADS:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _examined(folders: Folders, id: str) -> Done:
    if as_text(id) != id:
        return Done(id, Failure("file_name", f"{id!r} isn't UTF-8; rename the file"))
    try:
        photo = open_photo(folders, id)
        content = folders.find(id).read_bytes()
    except PhotoError as error:
        return Done(id, Failure(error.reason, _told(folders, id, error)))
    width, height = photo.picture.size
    output = {"sha256": hashlib.sha256(content).hexdigest(), "width": width, "height": height}
    output["hash"] = near_duplicates.hash_of(photo.picture)
    return Done(id, output)


def _told(folders: Folders, id: str, error: PhotoError) -> str:
    """Why a photo can't be used. The remedy for a link is another one than that of the build."""
    if error.reason != "path_outside_root":
        return str(error)
    return (
        f"{id!r} leads by a link to {os.path.realpath(folders.root / id)}, out of the photos' folder; to allow "
        "all links, run with --follow-links"
    )


def as_text(id: str) -> str:
    """A path whose bytes aren't UTF-8 with those bytes escaped; any other as it is."""
    return id.encode("utf-8", "backslashreplace").decode()


def _as_path(id: str) -> str:
    """The path of an id that `as_text` made."""
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: chr(0xDC00 + int(found[1], 16)), id)
