"""Writing files."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Makes a file that is whole or not there, whenever the process ends and however many write it at once.

    Args:
      path: the file, in a folder that is there.
      write: writes the content to a stream.

    Raises:
      OSError: it can't be written; nothing is left of it.
    """
    unfinished = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}-", delete=False
        ) as stream:
            unfinished = Path(stream.name)
            write(stream)
        unfinished.chmod(0o644)
        unfinished.replace(path)
    except BaseException:
        if unfinished:
            with contextlib.suppress(OSError):
                unfinished.unlink()
        raise
