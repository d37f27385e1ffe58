"""Files of lines that only grow: JSON, a line each, written whole or not at all.

What a killed process left of a line is cut off when the file is opened again, and ignored until then.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from scenarioclip_jax.errors import ReadableError


class WorkError(ReadableError, ValueError):
    """A working folder can't be used as asked. The message says what to do."""


def append_alone(path: Path, taken: str) -> BinaryIO:
    """Opens a file for appending, by this process alone; cuts off a line without its end.

    Args:
      path: The file; it is made if there is none.
      taken: What to do if another process has it.

    Raises:
      WorkError: Another process has it.
    """
    file = path.open("ab")
    try:
        lock_file(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        cut_unfinished(path)
    except BlockingIOError:
        file.close()
        raise WorkError(f"{path}: {taken}") from None
    except BaseException:
        file.close()
        raise
    return file


def lock_file(file: IO[Any], how: int) -> None:
    """Locks a file, where the file system has locks; raises BlockingIOError."""
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def encode_line(line: dict[str, Any]) -> bytes:
    """A line of a file that only grows."""
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _head(line: bytes) -> dict[str, Any]:
    """What a line says beside its output, which is long and rarely needed; raises ValueError.

    Within a JSON text, quotes are escaped, so these bytes begin the output. A disk that lost power leaves NUL
    bytes in the place of what it didn't write.
    """
    head, found, _ = line.partition(b',"output":')
    if not found:
        return json.loads(line)
    if b"\0" in line or not line.endswith(b"}\n"):
        raise ValueError("the line is damaged")
    return json.loads(head + b"}")


def read_lines(path: Path, damaged: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The complete lines of a file, with their places."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        offset = 0
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):  # else a process is writing it, or was killed
                try:
                    values = _head(line)
                    is_record = isinstance(values, dict) and {"id", "key"} <= values.keys()
                except ValueError:
                    is_record = False
                if is_record:
                    yield offset, values
                else:
                    damaged.append(f"{path}:{number}")
            offset += len(line)


def cut_unfinished(path: Path) -> None:
    """Cuts off a line that a killed process left without its end."""
    with path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            step = min(end, 1 << 16)
            file.seek(end - step)
            if (found := file.read(step).rfind(b"\n")) >= 0:
                end = end - step + found + 1
                break
            end -= step
        if end < size:
            file.truncate(end)
