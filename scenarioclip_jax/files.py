"""Writing files so that they are whole or not there."""

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces a file by a whole new one, whenever the process ends and however many write it at once.

    Args:
      path: The file; folders that are missing above it are made.
      write: Writes the content to a stream.

    Raises:
      OSError: It can't be written. The old file is still there, if there was one, and nothing else is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own for each writer, in the same folder: a rename within a file system is atomic.
    unfinished = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with unfinished.open("xb") as stream:
            write(stream)
        unfinished.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)  # a disk that fills up while writing names no file
        raise


def write_text(path: Path, text: str) -> None:
    """Replaces a file by one that holds `text` in UTF-8, as `write_whole` does."""
    write_whole(path, lambda stream: stream.write(text.encode()))
