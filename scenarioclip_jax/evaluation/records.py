"""Records of a suite's annotation files, in JSON, JSON Lines and CSV, with errors that name file and record."""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.data.stored.labels import normalize_label
from scenarioclip_jax.evaluation import image_files
from scenarioclip_jax.evaluation.files import Files, SuiteError
from scenarioclip_jax.evaluation.score.result import Skips
from scenarioclip_jax.json_values import is_number

LONGEST_FIELD = 1 << 27  # characters of a CSV field; the library's own limit is 131,072


class Row(NamedTuple):
    """A record with its place in a file, for messages."""

    values: dict[str, Any]
    where: str

    def get(self, name: str, kind: type | tuple[type, ...] = str) -> Any:
        """Returns a field of the record; raises SuiteError if it is missing or has the wrong type."""
        if name not in self.values:
            has = ", ".join(map(str, self.values)) or "none"
            raise SuiteError(f"{self.where}: no field {name!r}; it has {has:.300}")
        value = self.values[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = kind if isinstance(kind, tuple) else (kind,)
            names = " or ".join(one.__name__ for one in wanted)
            raise SuiteError(f"{self.where}: {name!r} is {value!r:.80}, expected {names}")
        return value

    def caption(self, name: str) -> str:
        """Returns a text in the form used in training: lower case, one space between words."""
        return self.text(self.get(name), name)

    def category(self, name: str) -> str:
        """Returns the name of a category, such as a relation, however it is written: `Next_To` is `next to`."""
        return self.text(self.get(name).replace("_", " "), name)

    def text(self, value: Any, name: str) -> str:
        if not isinstance(value, str) or not _encodes(value) or not normalize_label(value):
            raise SuiteError(f"{self.where}: {name!r} is {value!r:.80}, expected a text")
        return normalize_label(value)

    def number(self, name: str) -> float:
        value = self.get(name, (int, float))
        if not is_number(value):
            raise SuiteError(f"{self.where}: {name!r} is {value!r:.80}, expected a number")
        return float(value)

    def numbers(self, name: str, count: int) -> list[float]:
        value = self.get(name, list)
        if len(value) != count or not all(is_number(one) for one in value):
            raise SuiteError(f"{self.where}: {name!r} is {value!r:.80}, expected {count} numbers")
        return [float(one) for one in value]


def _encodes(text: str) -> bool:
    """Whether a text can be encoded; half of a surrogate pair can't, and no tokenizer accepts it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def parts(files: Files, names: Mapping[str, str], skips: Skips) -> Iterator[tuple[str, list[Row]]]:
    """Yields the records of a suite with several files, part by part; parts with a missing file are counted.

    Args:
      names: File names by part.

    Raises:
      SuiteError: None of the files exists, or one is malformed.
    """
    for part, path in part_files(files, names, skips):
        yield part, json_rows(path, files.digests)


def part_files(files: Files, names: Mapping[str, str], skips: Skips) -> Iterator[tuple[str, Path]]:
    """Yields the files of a suite with several, by part; parts with a missing file are counted.

    Args:
      names: File names by part.

    Raises:
      SuiteError: None of the files exists.
    """
    if files.path.is_file():  # one of the files was named
        chosen = {part: files.path for part, name in names.items() if files.path.name == name}
        if not chosen:
            raise SuiteError(f"{files.path}: expected a file named {' or '.join(names.values())}")
    else:
        chosen = {part: files.path / name for part, name in names.items()}
        if not any(path.is_file() for path in chosen.values()):
            raise SuiteError(f"{files.path}: neither {' nor '.join(names.values())} is there")
    for part, name in names.items():
        if part in chosen and chosen[part].is_file():
            yield part, chosen[part]
        else:
            skips.add("file is missing", str(chosen.get(part, files.path.with_name(name))))


def read_json(path: Path, digests: dict[str, str] | None = None) -> Any:
    """Returns the content of a JSON file.

    Args:
      digests: Mapping that gets the file's SHA-256.

    Raises:
      SuiteError: The file doesn't exist or isn't JSON.
    """
    text = read_text(path, digests)
    return _parse(text, f"{path} is", whole=True)


def json_rows(path: Path, digests: dict[str, str] | None = None) -> list[Row]:
    """Returns the records of a JSON list, or of a JSON object of records."""
    content = read_json(path, digests)
    if isinstance(content, dict):
        return rows(list(content.values()), path, [f"[{key!r}]" for key in content])
    return rows(content, path)


def rows(content: Any, path: Path, places: Sequence[str] | None = None, prefix: str = "") -> list:
    """Turns a list of objects into rows.

    Raises:
      SuiteError: The content isn't a list, is empty, or contains anything but objects.
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


def check_ids(records: Sequence[Row], kind: type | tuple[type, ...], name: str = "id") -> None:
    """Raises SuiteError if two records have one id, or if ids are partly numbers and partly texts."""
    first: dict[Any, Row] = {}
    for row in records:
        number = row.get(name, kind)
        other = first.setdefault(number, row)
        if other is not row:
            raise SuiteError(f"{row.where}: its {name} {number!r} is also that of {other.where}")
        if type(number) is not type(records[0].values[name]):
            raise SuiteError(
                f"{row.where}: its {name} {number!r} is a {type(number).__name__}, unlike that of "
                f"{records[0].where}; write all as numbers or all as texts"
            )


def json_lists(
    path: Path, names: Sequence[str], digests: dict[str, str] | None = None, remedy: str = ""
) -> list[Row]:
    """Returns the records of a JSON list of lists, whose fields get names by their place.

    Args:
      remedy: What the message says to do about a record that is no such list.

    Raises:
      SuiteError: The content isn't a list, is empty, or contains anything but lists of as many fields.
    """
    content = read_json(path, digests)
    if not isinstance(content, list) or not content:
        raise SuiteError(f"{path}: expected a list of records, not empty")
    found = []
    for index, values in enumerate(content):
        where = f"{path} [{index}]"
        if not isinstance(values, list) or len(values) != len(names):
            expected = f"expected [{', '.join(names)}]"
            raise SuiteError(f"{where}: {values!r:.80}, {expected}", remedy)
        found.append(Row(dict(zip(names, values, strict=True)), where))
    return found


def jsonl_rows(path: Path, digests: dict[str, str] | None = None) -> list[Row]:
    """Returns the records of a file with one JSON object per line; empty lines are skipped."""
    found = []
    # Only a line feed ends a line of JSON Lines; `splitlines` would also split texts at U+2028 and others.
    for number, line in enumerate(read_text(path, digests).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        values = _parse(line, f"{where}:")
        if not isinstance(values, dict):
            hint = " (the file is a JSON list, not JSON Lines)" if isinstance(values, list) else ""
            raise SuiteError(f"{where}: {values!r:.80}, expected an object{hint}")
        found.append(Row(values, where))
    if not found:
        raise SuiteError(f"{path}: no record in it")
    return found


def csv_rows(path: Path, digests: dict[str, str] | None = None) -> list[Row]:
    """Returns the records of a CSV file with a header; all values are strings."""
    found = []
    # Opened without newline translation, because only the CSV reader knows which line ends are quoted.
    lines = csv.DictReader(io.StringIO(read_text(path, digests), newline=""), strict=True)
    limit = csv.field_size_limit(LONGEST_FIELD)
    try:
        header = list(lines.fieldnames or ())
        if twice := dict.fromkeys(name for name in header if header.count(name) > 1):
            raise SuiteError(f"{path}: {_twice(twice, 'its header')}")
        for values in lines:
            where = f"{path} line {lines.line_num}"
            if None in values or None in values.values():
                raise SuiteError(f"{where}: its fields don't fit the header")
            found.append(Row(values, where))
    except csv.Error as error:
        # Names the line where the record begins, since an unclosed quote runs to the end of the file.
        raise SuiteError(f"{path} line {lines.line_num + 1}: not valid CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)
    if not found:
        raise SuiteError(f"{path}: no record in it")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ValueError if it has a key twice, since JSON would keep the last value only."""
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = dict.fromkeys(key for key in keys if keys.count(key) > 1)
        raise ValueError(_twice(twice, "an object"))
    return values


def _twice(names: Iterable[str], where: str) -> str:
    named = ", ".join(map(repr, names))
    return f"{where} has {named:.300} twice, of which only the last would count; write it once"


def _parse(text: str, subject: str, whole: bool = False) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        hint = ""
        if whole and error.msg == "Extra data":
            hint = " (it looks like JSON Lines; one JSON list or object is expected)"
        raise SuiteError(f"{subject} not valid JSON: {error}{hint}") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number with thousands of digits, or thousands of brackets
        raise SuiteError(f"{subject} not valid JSON: {error}") from None


def read_bytes(path: Path, digests: dict[str, str] | None = None) -> bytes:
    """Reads an annotation file.

    Args:
      digests: Mapping that gets the file's SHA-256.

    Raises:
      SuiteError: The file can't be read, or is a web page or the like in its place.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SuiteError(f"{path} can't be read: {error}") from None
    if digests is not None:
        digests[str(path)] = hashlib.sha256(data).hexdigest()
    if kind := image_files.foreign(data):
        raise SuiteError(f"{path} can't be read: it is {kind}, not the annotation file")
    return data


def read_text(path: Path, digests: dict[str, str] | None = None) -> str:
    """Reads a text file in UTF-8, or in UTF-16 or UTF-32 as its first bytes tell."""
    data = read_bytes(path, digests)
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SuiteError(
            f"{path} line {line} can't be read: {error}", "save the file as UTF-8"
        ) from None
