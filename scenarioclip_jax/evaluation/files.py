"""A suite's files: finding its images and reading its annotations, with errors that name file and record."""

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.data.stored.labels import normalize_label
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.evaluation import image_files
from scenarioclip_jax.evaluation.score.result import Skips

LONGEST_FIELD = 1 << 27  # characters of a CSV field; the library's own limit is 131,072
NAMED = 5  # images that a message names


class SuiteError(ReadableError, ValueError):
    """A suite can't be scored: one of its files is missing or malformed. The message names file and record.

    Attributes:
      reason: What is wrong.
      remedy: What to do about it; may be empty.
      listed: All images, or other items, that are affected.
    """

    def __init__(self, reason: str, remedy: str = "", listed: Sequence[str] = ()):
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason, self.remedy, self.listed = reason, remedy, list(listed)


class UnsupportedError(SuiteError):
    """The data set lacks what a suite needs, such as negatives or a validation split."""


class Wanted(NamedTuple):
    """A record whose images are to be found.

    Attributes:
      names: Names of its images, with or without extension, below the image folders.
      values: Other data that the suite needs from the record.
      crop: The part of its images that is used: (x0, y0, x1, y1) in pixels of the upright photo; None for all.
    """

    where: str
    names: tuple[str, ...]
    values: Any = None
    crop: tuple[float, float, float, float] | None = None


class Located(NamedTuple):
    """A record with its images, all of which can be read and hold its crop."""

    where: str
    paths: tuple[Path, ...]
    values: Any
    crop: tuple[float, float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Files:
    """Where a suite's files are.

    Attributes:
      path: The annotation file, or the folder with several.
      images: Folders that image names are relative to; the first that has the image is used.
      skip_missing: Whether to leave out and count records whose image is missing or unreadable, instead of
        stopping.
      suite: The suite's name in the config, for messages.
      threads: Number of threads that check images.
      proposals: File of boxes to score in place of the annotated ones (`evaluation.proposals`); None: those.
      digests: SHA-256 of each annotation file that was read, by path.
      photos: Digest of the pixels of each image that is scored (`data.photo_digests`), by path.
    """

    path: Path
    images: tuple[Path, ...]
    skip_missing: bool = False
    suite: str = "SUITE"
    threads: int = 2
    proposals: Path | None = None
    digests: dict[str, str] = dataclasses.field(default_factory=dict, compare=False)
    photos: dict[str, int] = dataclasses.field(default_factory=dict, compare=False)

    def locate(self, wanted: Sequence[Wanted], skips: Skips) -> list[Located]:
        """Finds the images of records and checks that each can be decoded.

        Images that are damaged but can be decoded are scored, and reported in `skips`. So are records whose
        crop lies outside of their image; these are left out.

        Raises:
          SuiteError: An image is missing or unreadable and may not be skipped, or is outside the folders; or no
            record is left.
        """
        finder = image_files.Finder(self.images, (name for each in wanted for name in each.names))
        found, absent = [], []
        for each in wanted:
            for name in each.names:
                if image_files.leaves(name):
                    raise SuiteError(
                        f"{each.where}: the image {name!r} must lie below the image folder"
                    )
            paths = tuple(map(finder.find, each.names))
            gone = [name for name, path in zip(each.names, paths, strict=True) if path is None]
            if gone:
                absent.append((each.where, gone))
            else:
                found.append(Located(each.where, paths, each.values, each.crop))
        checked = self._check({path for each in found for path in each.paths})
        reasons = {path: each.unreadable for path, each in checked.items() if each.unreadable}
        damaged = [each for each in found if any(path in reasons for path in each.paths)]
        kept = [each for each in found if not any(path in reasons for path in each.paths)]
        if not self.skip_missing:
            self._refuse(absent, reasons, damaged)
        whole = len(kept)
        kept = [each for each in kept if _holds_crop(each, skips)]
        scored = {path for each in kept for path in each.paths}
        self.photos.update({str(path): image_files.digest_of(path) for path in scored})
        skips.damaged |= {str(path): checked[path].damaged for path in checked.keys() & scored}
        for where, names in absent:
            skips.add("image is missing", f"{where}: {', '.join(names)}")
        for each in damaged:
            bad = next(path for path in each.paths if path in reasons)
            skips.add("image can't be read", f"{each.where}: {bad}: {reasons[bad]}")
        if wanted and not kept:
            raise SuiteError(
                f"{wanted[0].where}: no record is left: of {len(wanted)}, {len(absent)} lack an image in "
                f"{self._folders()}, {len(damaged)} have one that can't be read, and {whole - len(kept)} a "
                "box outside of it",
                f"name the folder of the images with --config.{self.suite}.images=DIR",
                listed=[name for _, names in absent for name in names],
            )
        return kept

    def _check(self, paths: Collection[Path]) -> dict[Path, image_files.Checked]:
        try:
            return image_files.check(paths, self.threads)
        except image_files.RefusedError as error:
            raise SuiteError(
                f"{self.path}: an image was refused by the system, which says nothing of the image: {error}",
                "see to that and run it again",
            ) from error

    def _folders(self) -> str:
        return " or ".join(map(str, self.images))

    def _refuse(self, absent: list, reasons: Mapping[Path, str], damaged: list[Located]) -> None:
        """Raises SuiteError if an image is missing or unreadable."""
        remedies = "set config.skip_missing=True to leave such records out and count them"
        if absent:
            where, names = absent[0]
            others = sum(len(names) for _, names in absent) - 1
            more = f", nor are {others} others" if others else ""
            raise SuiteError(
                f"{where}: the image {names[0]!r} isn't in {self._folders()}{more}",
                f"name their folder with config.{self.suite}.images=DIR, or {remedies}",
                listed=[name for _, names in absent for name in names]
                + [f"{path}: {why}" for path, why in reasons.items()],
            )
        if damaged:
            listed = [f"{path}: {why}" for path, why in sorted(reasons.items())]
            first = next(path for path in damaged[0].paths if path in reasons)
            others = len(listed) - 1
            more = f", nor can {others} other image{'s' if others > 1 else ''}" if others else ""
            raise SuiteError(
                f"{damaged[0].where}: {first}: the image can't be read{more}: {reasons[first]}",
                f"get them again, or {remedies}",
                listed=listed,
            )


def _holds_crop(record: Located, skips: Skips) -> bool:
    """Whether the record's crop shares pixels with its images; if not, that is noted."""
    if record.crop is None:
        return True
    for path in record.paths:
        size = image_files.size_of(path)
        if image_files.pixels_of(record.crop, size) is None:
            box = ", ".join(f"{edge:g}" for edge in record.crop)
            skips.add(
                "its box lies outside of its picture",
                f"{record.where}: ({box}) in {path}, {size[0]} x {size[1]} pixels",
            )
            return False
    return True


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
        if not _is_number(value):
            raise SuiteError(f"{self.where}: {name!r} is {value!r:.80}, expected a number")
        return float(value)

    def numbers(self, name: str, count: int) -> list[float]:
        value = self.get(name, list)
        if len(value) != count or not all(_is_number(one) for one in value):
            raise SuiteError(f"{self.where}: {name!r} is {value!r:.80}, expected {count} numbers")
        return [float(one) for one in value]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


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


def read_text(path: Path, digests: dict[str, str] | None = None) -> str:
    """Reads a text file in UTF-8, or in UTF-16 or UTF-32 as its first bytes tell."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SuiteError(f"{path} can't be read: {error}") from None
    if digests is not None:
        digests[str(path)] = hashlib.sha256(data).hexdigest()
    if kind := image_files.foreign(data):
        raise SuiteError(f"{path} can't be read: it is {kind}, not the annotation file")
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SuiteError(
            f"{path} line {line} can't be read: {error}", "save the file as UTF-8"
        ) from None
