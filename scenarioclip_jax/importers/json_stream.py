"""Reads large JSON files piece by piece, and says what is wrong with those that can't be read."""

import contextlib
import gzip
import io
import json
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import ijson

from scenarioclip_jax.importers.source import SourceError

_MARKS = {
    b"PK\x03\x04": "a ZIP archive; unpack it and name the file in it",
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself: git lfs pull",
    b"<": "a web page; download the file itself",
    b"PAR1": "a Parquet file; write its rows as JSON lines",
}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a file, plain or gzipped, for reading bytes.

    Raises:
      SourceError: It can't be read, isn't what it should be, or is cut short; also while it's being read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
            file.seek(0)
            for mark, kind in _MARKS.items():
                if start.lstrip().startswith(mark):
                    raise SourceError(f"{path} is {kind}")
            if start.startswith(b"\x1f\x8b"):
                with gzip.open(file) as unpacked:
                    yield unpacked  # type: ignore[misc]  # a GzipFile reads bytes, too
            elif start.startswith(b"\xef\xbb\xbf"):
                file.seek(3)
                yield file
            else:
                yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{path} is damaged or cut short ({error}); download it again") from error
    except IsADirectoryError as error:
        raise SourceError(f"{path} is a folder; name the file") from error
    except FileNotFoundError as error:
        raise SourceError(
            f"{path}: there is no such file; check the path{_beside(path)}"
        ) from error
    except OSError as error:
        raise SourceError(f"{path} can't be read ({error.strerror or error})") from error


def items(path: Path, prefix: str) -> Generator[Any, None, None]:
    """Yields the values at a prefix of a JSON file, such as `annotations.item`, one at a time.

    Raises:
      SourceError: The file can't be read.
    """
    with opened(path) as file, _explained(path):
        yield from ijson.items(file, prefix, use_float=True)


def pairs(path: Path, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the (key, value) pairs of an object in a JSON file, one at a time; raises SourceError."""
    with opened(path) as file, _explained(path):
        yield from ijson.kvitems(file, prefix, use_float=True)


def keys(path: Path) -> list[str]:
    """The keys of the object that a JSON file holds, or [] if it holds an array; raises SourceError.

    It reads the whole file.
    """
    with opened(path) as file, _explained(path):
        return [
            value for prefix, event, value in ijson.parse(file) if not prefix and event == "map_key"
        ]


def is_array(path: Path) -> bool:
    """Whether a JSON file holds an array; raises SourceError."""
    with opened(path) as file:
        return file.read(64).lstrip()[:1] == b"["


def first(path: Path, prefix: str) -> Any:
    """The first value at a prefix, or None; raises SourceError."""
    with contextlib.closing(items(path, prefix)) as values:
        return next(values, None)


def lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yields (number from 1, value) for the lines of a file of JSON lines.

    Raises:
      SourceError: The file can't be read, or a line isn't JSON.
    """
    with opened(path) as file:
        for number, line in enumerate(
            io.TextIOWrapper(file, encoding="utf-8", errors="replace"), 1
        ):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise SourceError(
                        f"{path} line {number} isn't JSON ({error}); correct it, or download the file again"
                    ) from error


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except ijson.IncompleteJSONError as error:
        # yajl raises this for what is wrong within the file, too.
        text = " ".join(str(error).split())
        if "premature" in text or "ncomplete" in text:
            raise SourceError(f"{path} is cut short; download it again") from error
        raise SourceError(
            f"{path} isn't JSON: {text[:200]}; correct it, or download it again"
        ) from error
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path} isn't JSON: {error}; correct it, or download it again"
        ) from error


def _beside(path: Path) -> str:
    try:
        names = sorted(p.name for p in path.parent.iterdir() if p.suffix == path.suffix)
    except OSError:
        return f" ({path.parent} isn't a folder, either)"
    return f" ({path.parent} has {', '.join(names[:5])})" if names else ""
