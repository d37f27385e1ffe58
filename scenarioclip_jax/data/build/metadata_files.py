"""Finds the annotation files of a data root and decodes them: JSON or JSON lines, plain or gzip, any UTF.

A file that can't be parsed is an error, since half of a data set may be in it; its intact part is read only if
the user asks for it. In JSON lines, each line is independent.
"""

import contextlib
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scenarioclip_jax import faults
from scenarioclip_jax.data.build.problems import DROPPED, NOTED, AnnotationError, Problems
from scenarioclip_jax.shell import to_paste

_NAME = re.compile(r"(metadata|annotations).*\.jsonl?(\.gz)?", re.IGNORECASE)
_COPY = re.compile(r" ?\((\d+)\)(?=\.)")  # as browsers name a second download
_DIGITS = 4000  # of an integer; Python refuses longer ones
_RECORD = re.compile(r'\{\s*"(?:id|image_path|action|dense_caption|objects|relations)"\s*:')
_MARKS = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "a ZIP archive; unpack it"}
_MARKS |= {b"version https://git-lfs": "a Git LFS pointer; fetch the file itself: git lfs pull"}
_MARKS |= {b"PAR1": "a Parquet file; write its rows as JSON lines"}


class Repeated(dict):
    """A JSON object that has a key twice; the last value counts."""

    keys_given_twice: tuple[str, ...] = ()


def metadata_files(root: Path) -> list[Path]:
    """The annotation files of a data root, in the order of their names, with copies (`metadata (1).json`) last.

    They are named `metadata*.json`, `.jsonl`, or either with `.gz`; if there are none, `annotations*` is read.

    Raises:
      AnnotationError: There are none.
    """
    try:
        names = sorted(path.name for path in root.iterdir() if path.is_file())
    except OSError as error:
        reason = "isn't a folder" if not root.is_dir() else f"can't be read ({error.strerror})"
        raise AnnotationError(
            f"{root} {reason}, so there is no metadata*.json. Name the folder that holds the annotations: "
            "--metadata DIR"
        ) from error
    found = [name for name in names if _NAME.fullmatch(name)]
    found = [name for name in found if name.lower().startswith("metadata")] or found
    if not found:
        others = [name for name in names if re.search(r"\.jsonl?(\.gz)?$", name, re.IGNORECASE)]
        hint = f"; of {', '.join(others[:5])}, rename what holds them" if others else ""
        raise AnnotationError(
            f"{root} exists, but holds no metadata*.json. Name the folder that holds the annotations: "
            f"--metadata DIR{hint}"
        )

    def order(name: str) -> tuple[str, int]:
        copy = _COPY.search(name)
        return _COPY.sub("", name), int(copy[1]) if copy else 0

    return [root / name for name in sorted(found, key=order)]


def entries(path: Path, problems: Problems, *, skip_broken: bool) -> Iterator[tuple[str, Any]]:
    """Yields (where, entry) for all records in a file.

    Args:
      path: One of `metadata_files`.
      problems: Collects what is left out.
      skip_broken: Whether to list a file that can't be parsed, and read its intact part, instead of stopping.

    Raises:
      AnnotationError: The file can't be parsed, or holds something else.
    """
    text = ""
    try:
        if re.search(r"\.jsonl(\.gz)?$", path.name, re.IGNORECASE) and not _is_whole(path):
            yield from _lines(_stream(path), path.name, problems)
            return
        text = read_text(path)
        try:
            content = parse(text)
        except ValueError as error:
            if not str(error).startswith("Extra data") or not _are_lines(text):
                raise
            yield from _lines(text.split("\n"), path.name, problems)
            return
        yield from _of_content(content, path.name)
    except (OSError, ValueError, RecursionError, EOFError, zlib.error) as error:
        faults.refuse(error, path)
        broken = AnnotationError(_explain(path, error))
        if not skip_broken:
            raise broken from error
        reason = "malformed_file" if isinstance(error, _FormatError) else "malformed_json"
        problems.add(reason, DROPPED, "file", path.name, str(broken))
        if isinstance(error, json.JSONDecodeError):
            yield from _what_is_left(text, path.name, problems)


def read_text(path: Path) -> str:
    """Reads a text file in any UTF, unpacked if it is gzipped; raises OSError or ValueError."""
    content = path.read_bytes()
    if _kind_of(content) == "gzip":
        content = gzip.decompress(content)
    encoding = json.detect_encoding(content)
    return content.decode("utf-8-sig" if encoding == "utf-8" else encoding)


def _kind_of(content: bytes) -> str:
    """What a file is, by its first bytes: "gzip", or "" for text; raises _FormatError for anything else."""
    for mark, kind in _MARKS.items():
        if content.startswith(mark):
            if kind != "gzip":
                raise _FormatError(f"it is {kind}")
            return kind
    return ""


def parse(text: str) -> Any:
    """Parses JSON; integers of any length and objects with a repeated key aren't errors."""
    return json.loads(text, object_pairs_hook=_object, parse_int=_integer)


class _FormatError(ValueError):
    """A file is well-formed but doesn't contain annotations."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    keys = [key for key, _ in pairs]
    values = Repeated(values)
    values.keys_given_twice = tuple(dict.fromkeys(key for key in keys if keys.count(key) > 1))
    return values


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _DIGITS else float(digits)


def _of_content(content: Any, name: str) -> Iterator[tuple[str, Any]]:
    data = content
    if isinstance(content, dict):
        data = content["data"] if _holds_records(content) else None
    if isinstance(content, Repeated) and "data" in content.keys_given_twice:
        raise _FormatError("it has 'data' twice, of which JSON keeps the last only; write it once")
    if isinstance(data, list):
        field = "data" if isinstance(content, dict) else ""
        for index, entry in enumerate(data):
            yield f"{name} {field}[{index}]", entry
            data[index] = None  # what was read isn't needed any more
    elif isinstance(content, dict) and "image_path" in content:
        yield f"{name} [0]", content
    else:
        raise _FormatError('expected {"data": [record, ...]}, ' + _looks_like(content))


def _holds_records(content: dict[str, Any]) -> bool:
    """Whether an object is {"data": [record, ...]}; a record may have a field of that name, too."""
    return isinstance(content.get("data"), list) and not {"id", "image_path"} & content.keys()


def _looks_like(content: Any) -> str:
    if not isinstance(content, dict):
        return f"got {show(content)}"
    keys = ", ".join(map(repr, list(content)[:6])) or "no keys"
    if {"images", "annotations"} <= content.keys():
        return f"got what looks like COCO's format ({keys}); convert it"
    return f"got an object with {keys}"


def _are_lines(text: str) -> bool:
    first = next((line for line in text.split("\n") if line.strip()), "")
    try:
        return isinstance(parse(first), dict)
    except (ValueError, RecursionError):
        return False


def _stream(path: Path) -> Iterator[str]:
    """Yields the lines of a file, without holding more than one of them in memory.

    Of UTF-16 and UTF-32, in which the end of a line has several bytes, the whole file is read.
    """
    with path.open("rb") as plain:
        start = plain.read(64)
        packed = _kind_of(start) == "gzip"
        plain.seek(0)
        with gzip.GzipFile(fileobj=plain) if packed else contextlib.nullcontext(plain) as file:
            start = file.read(64)
            if packed and _kind_of(start) == "gzip":
                raise _FormatError("it is gzipped twice; unpack it once")
            encoding = json.detect_encoding(start)
            if not encoding.startswith("utf-8"):
                yield from read_text(path).split("\n")
                return
            file.seek(0)
            for number, line in enumerate(file, 1):
                try:
                    yield (
                        line.decode("utf-8-sig" if number == 1 else "utf-8")
                        .rstrip("\n")
                        .lstrip("\ufeff")
                    )
                except UnicodeDecodeError as error:
                    raise _FormatError(f"line {number}: {_no_utf(error, path)}") from error


def _is_whole(path: Path) -> bool:
    """Whether a file is one JSON value, whatever its name says: a list, or an object over several lines."""
    first = next((line.strip() for line in _stream(path) if line.strip()), "")
    return first.startswith("[") or first == "{"


def _lines(lines: Iterable[str], name: str, problems: Problems) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = parse(line)
        except (ValueError, RecursionError) as error:
            where, detail = f"{name} line {number}", f"no JSON: {_position(error)}; {show(line)}"
            problems.add("malformed_json", DROPPED, "scene", where, detail)
            continue
        if isinstance(entry, dict) and _holds_records(entry):
            yield from _of_content(entry, f"{name} line {number}")
        else:
            yield f"{name} line {number}", entry


def _what_is_left(text: str, name: str, problems: Problems) -> Iterator[tuple[str, Any]]:
    """Yields the intact records of a broken file and lists the others."""
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)
    number, found = 0, _RECORD.search(text)
    while found:
        line = text.count("\n", 0, found.start()) + 1
        where = f"{name} record {number} (line {line})"
        try:
            entry, end = decoder.raw_decode(text, found.start())
            yield where, entry
        except (ValueError, RecursionError) as error:
            detail = (
                f"no JSON: {_position(error)}; {show(text[found.start() : found.start() + 80])}"
            )
            problems.add("malformed_json", DROPPED, "scene", where, detail)
            end = found.start() + 1
        number, found = number + 1, _RECORD.search(text, end)


def _position(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    return str(error) or "nested too deep"


def _explain(path: Path, error: Exception) -> str:
    """Says what is wrong with a file, and what to do."""
    other = "; to build without what is broken in it: --skip-broken"
    if isinstance(error, _FormatError):
        return f"{path}: {error}{other}"
    if isinstance(error, UnicodeDecodeError):
        before = error.object[: error.start].count(b"\n") + 1
        return f"{path}: line {before}: {_no_utf(error, path)}{other}"
    if isinstance(error, OSError | EOFError | zlib.error):
        return f"{path} can't be read: {error}{other}"
    if not isinstance(error, json.JSONDecodeError):
        return f"{path} can't be parsed: {_position(error)}{other}"
    text, place = error.doc, error.pos
    near = show(text[max(0, place - 30) : place + 30])
    if not text.strip():
        reason = "it is empty; write or download it again"
    elif place >= len(text.rstrip()) - 1 or error.msg.startswith("Unterminated"):
        reason = "it seems to be cut short; write or download it again"
    elif text.lstrip()[:1] == "<":
        reason = "it is a web page; download the file itself"
    elif (
        "double quotes" in error.msg
        or "trailing comma" in error.msg  # from Python 3.13 on
        or text[place : place + 1] in ("]", "}")
    ):
        reason = "JSON has double quotes only, and no comma before ] or }; write it with json.dump"
    else:
        reason = "correct it there"
    return f"{path} isn't JSON: {_position(error)}, near {near}: {reason}{other}"


def _no_utf(error: UnicodeDecodeError, path: Path) -> str:
    byte, encoding = error.object[error.start], error.encoding.upper()
    command = to_paste("iconv", "-f", "LATIN1", "-t", "UTF-8", path, "-o", "FILE")
    return f"byte 0x{byte:02x} isn't {encoding}. If the file is Latin-1, convert it: {command}"


def note_copies(files: list[Path], problems: Problems) -> None:
    """Notes files that look like a second download of another."""
    names = {path.name for path in files}
    for path in files:
        original = _COPY.sub("", path.name)
        if original != path.name and original in names:
            detail = f"looks like a copy of {original}, which is read first; remove the one that isn't wanted"
            problems.add("copied_file", NOTED, "file", path.name, detail)


def show(value: Any, limit: int = 80) -> str:
    """A value as JSON would write it, cut to `limit` characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        text = repr(value)
    return text if len(text) <= limit else text[:limit] + "..."
