"""Reads CSV files row by row."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from scenarioclip_jax.importers.json_stream import opened
from scenarioclip_jax.importers.source import SourceError


def rows(path: Path, flag: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line, row) of a CSV file with a header. A row that is cut short lacks its last columns.

    Args:
      path: The file, plain or gzipped.
      flag: The flag that named it, for the message.
      columns: Columns that it needs; a name with `|` has alternatives.

    Raises:
      SourceError: It can't be read, or lacks a column.
    """
    with opened(path) as file:
        reader = csv.DictReader(
            io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
        )
        there = reader.fieldnames or []
        missing = [name for name in columns if not set(name.split("|")) & set(there)]
        if missing:
            raise SourceError(
                f"{flag} {path} has no column {', '.join(missing)}; "
                f"it has {', '.join(there[:8]) or 'nothing'}. "
                "Name another file, or give this one with another flag"
            )
        for row in reader:
            values = {k: v for k, v in row.items() if isinstance(k, str) and v is not None}
            yield reader.line_num, values


def pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Yields the first two columns of a CSV file, with or without a header; raises SourceError."""
    with opened(path) as file:
        for row in csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline="")):
            if len(row) >= 2:
                yield row[0], row[1]
