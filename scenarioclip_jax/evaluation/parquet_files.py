"""Reads Parquet files in the form of Hugging Face's data sets, whose images are inside.

Suites take images from files, so those in here are written to a folder that lasts as long as the process.
"""

import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.image_files import EXTENSIONS, foreign
from scenarioclip_jax.evaluation.records import Row
from scenarioclip_jax.files import sha256_of

_ROWS = 64  # read at once, since each may hold megabytes


class Unpacked(NamedTuple):
    """Records of a file, whose images are names below a folder."""

    rows: list[Row]
    folder: Path


def read_parquet(
    path: Path, images: Sequence[str], digests: dict[str, str] | None = None
) -> Unpacked:
    """Returns the records of a file.

    Args:
      images: The columns that hold images: {bytes, path}.
      digests: Mapping that gets the file's SHA-256.

    Raises:
      SuiteError: The file can't be read or has no record, a column of images is missing, an image has no bytes,
        or there is no room to unpack them.
    """
    try:
        state = path.stat()
        with path.open("rb") as file:
            start = file.read(200)
        if digests is not None:
            digests[str(path)] = sha256_of(path)
    except OSError as error:
        raise SuiteError(f"{path} can't be read: {error}") from None
    if not start.startswith(b"PAR1") and (kind := foreign(start)):
        raise SuiteError(f"{path} can't be read: it is {kind}, not a Parquet file")
    rows, folder = _unpack(path, tuple(images), state.st_mtime_ns, state.st_size)
    return Unpacked([Row(dict(values), where) for values, where in rows], Path(folder.name))


@functools.lru_cache(maxsize=64)
def _unpack(
    path: Path, images: tuple[str, ...], modified: int, size: int
) -> tuple[list[tuple[dict[str, Any], str]], tempfile.TemporaryDirectory]:
    """Unpacks a file; its time and size are arguments so that a changed file is read anew."""
    folder = tempfile.TemporaryDirectory(prefix=f"{path.stem}_")
    found = []
    for number, values in enumerate(_records(path, images)):
        where = f"{path} row {number}"
        for column in images:
            values[column] = _write(values[column], column, where, Path(folder.name), number)
        found.append((values, where))
    if not found:
        raise SuiteError(f"{path}: no record in it")
    return found, folder


def _records(path: Path, images: Sequence[str]) -> Iterator[dict[str, Any]]:
    try:
        with parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            if missing := [name for name in images if name not in columns]:
                raise SuiteError(
                    f"{path}: no column {missing[0]!r}; it has {', '.join(columns)[:300] or 'none'}"
                )
            for batch in file.iter_batches(_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, SuiteError):
            raise
        raise SuiteError(
            f"{path} isn't a readable Parquet file: {error}", "copy it again"
        ) from None


def _write(value: Any, column: str, where: str, folder: Path, number: int) -> str:
    """Writes an image and returns its name."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes) or not content:
        raise SuiteError(
            f"{where}: {column!r} holds no bytes of an image",
            "copy the file that has its images inside, as the hub keeps it",
        )
    given = PurePosixPath(str(value.get("path") or "")) if isinstance(value, dict) else None
    ending = given.suffix.lower() if given and given.suffix.lower() in EXTENSIONS else ".jpg"
    name = f"{number}_{column}{ending}"
    try:
        (folder / name).write_bytes(content)
    except OSError as error:
        raise SuiteError(
            f"{where}: its images can't be unpacked into {folder}: {error}",
            "set TMPDIR to a folder with more room",
        ) from None
    return name
