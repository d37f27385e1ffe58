"""Files that are either complete or absent, and their digests; JSON that all can read."""

import contextlib
import errno
import hashlib
import json
import math
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

UNFINISHED = ".unfinished-"  # in the names of files that are being written


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields another name for a file, which gets its own once all is written.

    Even if the process dies, or several processes write the file at once, it is whole: that of the last one.
    """
    # Each writer uses its own name in the same folder, because a rename within a file system is atomic.
    unfinished = path.with_name(f".{path.name}{UNFINISHED}{secrets.token_hex(4)}")
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces a file atomically, see `whole`.

    Args:
      path: The file; missing parent folders are created.
      write: Function that writes the content to a stream.

    Raises:
      OSError: The file can't be written. An old file is still there, and nothing else is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole(path) as unfinished, unfinished.open("xb") as stream:
            write(stream)
    except OSError as error:
        error.filename = str(path)  # the error of a full disk names no file
        raise


def write_text(path: Path, text: str) -> None:
    """Replaces a file by `text` in UTF-8, as `write_whole` does."""
    write_whole(path, lambda stream: stream.write(text.encode()))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Turns the errors of a full disk, of whatever library, into an OSError that says what to do."""
    try:
        yield
    except (RuntimeError, sqlite3.OperationalError, OSError) as error:
        if not _disk_is_full(error):
            raise
        free = shutil.disk_usage(folder).free
        raise OSError(
            f"{folder} can't be written to ({error}); {free / 1e6:,.0f} MB are free there. "
            "Make room and start the same command again, or name another --output"
        ) from error


def _disk_is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, sqlite3.OperationalError):
        return "full" in str(error)
    return "No space left" in str(error)  # of ArrayRecord's writer


def json_text(value: Any, **options: Any) -> str:
    """A value as JSON, with null for numbers that are NaN or infinite, which JSON can't hold.

    Args:
      value: Mappings, lists, texts and numbers.
      options: Those of `json.dumps`.
    """
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
