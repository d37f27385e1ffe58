"""Reading a suite's files, with errors that name the file and the record."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.data.annotations import normalize_label
from scenarioclip_jax.data.shards import DataSetError
from scenarioclip_jax.evaluation.result import Skips

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")


class SuiteError(DataSetError):
    """A file of a suite is missing or malformed. The message names the file and the record."""


class Files(NamedTuple):
    """Where a suite's files are.

    Attributes:
      path: the annotation file, or the folder of several.
      images: folders that image names are relative to; the first that has the image counts.
      skip_missing: leave out records whose image isn't there, and count them, instead of stopping.
    """

    path: Path
    images: tuple[Path, ...]
    skip_missing: bool = False

    def image(self, name: str, where: str, skips: Skips) -> Path | None:
        """The path of an image; None if it isn't there and may be skipped.

        Raises:
          SuiteError: the image isn't there and may not be skipped, or lies outside the folders.
        """
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise SuiteError(f"{where}: the image {name!r} must lie below the image folder")
        for folder in self.images:
            if (folder / name).is_file():
                return folder / name
        if self.skip_missing:
            skips.add("image is missing", f"{where}: {name}")
            return None
        folders = " or ".join(map(str, self.images))
        raise SuiteError(
            f"{where}: the image {name!r} isn't in {folders}; set config.skip_missing=True to leave such "
            "records out and count them"
        )

    def image_by_id(self, image_id: str, where: str, skips: Skips) -> Path | None:
        """As `image`, for a name without extension."""
        for ending in EXTENSIONS[1:]:
            for folder in self.images:
                if (folder / f"{image_id}{ending}").is_file():
                    return folder / f"{image_id}{ending}"
        return self.image(f"{image_id}{EXTENSIONS[0]}", where, skips)


class Row(NamedTuple):
    """A record with its place, for messages."""

    values: dict[str, Any]
    where: str

    def get(self, name: str, kind: type | tuple[type, ...] = str) -> Any:
        """A field of the record; raises SuiteError if it is missing or of another type."""
        if name not in self.values:
            raise SuiteError(
                f"{self.where}: no field {name!r}; it has {', '.join(map(str, self.values)) or 'none'}"
            )
        value = self.values[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = kind if isinstance(kind, tuple) else (kind,)
            names = " or ".join(one.__name__ for one in wanted)
            raise SuiteError(f"{self.where}: {name!r} is {value!r:.80}, expected {names}")
        return value

    def caption(self, name: str) -> str:
        """A text as training has it: lower case, one space between words."""
        return self.text(self.get(name), name)

    def text(self, value: Any, name: str) -> str:
        if not isinstance(value, str) or not normalize_label(value):
            raise SuiteError(f"{self.where}: {name!r} is {value!r:.80}, expected a text")
        return normalize_label(value)

    def numbers(self, name: str, count: int) -> list[float]:
        value = self.get(name, list)
        if len(value) != count or not all(_is_number(one) for one in value):
            raise SuiteError(f"{self.where}: {name!r} is {value!r:.80}, expected {count} numbers")
        return [float(one) for one in value]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def parts(files: Files, names: Mapping[str, str], skips: Skips) -> Iterator[tuple[str, list[Row]]]:
    """The records of a suite of several files, part by part; a part whose file is missing is counted.

    Args:
      names: file names by part.

    Raises:
      SuiteError: none of the files is there, or one is malformed.
    """
    found = {part: files.path / name for part, name in names.items()}
    if not any(path.is_file() for path in found.values()):
        raise SuiteError(f"{files.path}: neither {' nor '.join(names.values())} is there")
    for part, path in found.items():
        if path.is_file():
            yield part, json_rows(path)
        else:
            skips.add("file is missing", str(path))


def read_json(path: Path) -> Any:
    """Raises SuiteError: the file isn't there or is no JSON."""
    try:
        return json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise SuiteError(f"{path} is not valid JSON: {error}") from None


def json_rows(path: Path) -> list[Row]:
    """The records of a JSON list, or of a JSON object of records."""
    content = read_json(path)
    if isinstance(content, dict):
        return rows(list(content.values()), path, [f"[{key!r}]" for key in content])
    return rows(content, path)


def rows(content: Any, path: Path, places: Sequence[str] | None = None, prefix: str = "") -> list:
    """A list of objects as rows.

    Raises:
      SuiteError: it is no list, is empty, or holds something else than objects.
    """
    if not isinstance(content, list) or not content:
        raise SuiteError(f"{path}{prefix and f' {prefix}'}: expected a list of records, not empty")
    found = []
    for index, values in enumerate(content):
        where = f"{path} {prefix}{places[index] if places else f'[{index}]'}"
        if not isinstance(values, dict):
            raise SuiteError(f"{where}: {values!r:.80}, expected an object")
        found.append(Row(values, where))
    return found


def jsonl_rows(path: Path) -> list[Row]:
    """The records of a file with a JSON object a line; empty lines are left out."""
    found = []
    for number, line in enumerate(_read(path).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise SuiteError(f"{where}: not valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise SuiteError(f"{where}: {values!r:.80}, expected an object")
        found.append(Row(values, where))
    if not found:
        raise SuiteError(f"{path}: no record in it")
    return found


def csv_rows(path: Path) -> list[Row]:
    """The records of a CSV file with a header; all values are strings."""
    lines = csv.DictReader(_read(path).splitlines(keepends=True))
    found = []
    for values in lines:
        where = f"{path} line {lines.line_num}"
        if None in values or None in values.values():
            raise SuiteError(f"{where}: its fields don't fit the header")
        found.append(Row(values, where))
    if not found:
        raise SuiteError(f"{path}: no record in it")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path} can't be read: {error}") from None
