"""Reads which data sets a run is made of from `config.data.dir`: one folder, or several with weights.

    DIR                    a single data set
    DIR1:0.5,DIR2:0.5      a mixture; weights are relative, so 1 and 1 mean the same
    DIR1,DIR2              a mixture in proportion to the number of training scenes

A path that exists counts as it is, so `:` and `,` may be part of it.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.paths import PathError, address_of, local_path

# Only a number at the end is a weight: `s3://bucket/folder` has none.
_WEIGHT = re.compile(
    r"(.+):([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?nan|[+-]?inf(?:inity)?)", re.IGNORECASE
)


class MixtureError(ReadableError, ValueError):
    """The data sets of a mixture, or their weights, make no sense. The message names the entry."""


class Entry(NamedTuple):
    """A data set.

    Attributes:
      path: Its folder, as given.
      weight: Its relative weight; None if none was given.
      name: A short name that no other data set of the mixture has; empty for a single data set.
    """

    path: str
    weight: Fraction | None = None
    name: str = ""


def parse(text: str) -> list[Entry]:
    """Reads the value of `config.data.dir`. Whether the folders exist is for the caller to check.

    Raises:
      MixtureError: An entry is empty, a weight isn't a positive number, only some entries have a weight, or a
        data set is there twice.
    """
    entries, pieces = [], text.split(",")
    while pieces:
        # The longest path that exists, as commas may be part of it; if there is none, the path up to the comma.
        for count in range(len(pieces), 0, -1):
            path, weight = _split(",".join(pieces[:count]).strip())
            if count == 1 or _exists(path):
                break
        entries.append(_entry(path, weight, text))
        del pieces[:count]
    _check(entries, text)
    if len(entries) == 1:
        return [Entry(entries[0].path)]
    names = _names([entry.path for entry in entries])
    return [entry._replace(name=name) for entry, name in zip(entries, names, strict=True)]


def from_anywhere(text: str) -> str:
    """The same value with absolute paths, so that it means the same in another folder."""
    entries = parse(text)
    if len(entries) == 1:
        return str(address_of(entries[0].path) or local_path(entries[0].path).resolve())
    # Links aren't followed: one may stand for a path whose commas could be misread.
    paths = [
        str(address_of(entry.path) or os.path.abspath(local_path(entry.path))) for entry in entries
    ]
    weights = ["" if each.weight is None else f":{_text(each.weight)}" for each in entries]
    return ",".join(path + weight for path, weight in zip(paths, weights, strict=True))


def whole_weights(entries: Sequence[Entry], counts: Sequence[int]) -> list[int]:
    """The weights of a mixture's data sets in their lowest terms, as whole numbers.

    Args:
      counts: Number of training scenes of each data set: the weights if none were given.
    """
    given = [entry.weight for entry in entries]
    weights = [Fraction(n) if w is None else w for w, n in zip(given, counts, strict=True)]
    scale = math.lcm(*(weight.denominator for weight in weights))
    whole = [int(weight * scale) for weight in weights]
    return [each // math.gcd(*whole) for each in whole]


def _split(text: str) -> tuple[str, str]:
    """Splits `DIR:WEIGHT`; the weight is empty if there is none."""
    found = None if _exists(text) else _WEIGHT.fullmatch(text)
    return (found[1], found[2]) if found else (text, "")


def _entry(path: str, weight: str, text: str) -> Entry:
    if not path or path.startswith(":"):
        raise MixtureError(
            f"{text!r} has an empty entry; write DIR1:WEIGHT,DIR2:WEIGHT, with one comma between data sets"
        )
    if not weight:
        head, _, tail = path.rpartition(":")
        if _exists(head) and not _exists(path):
            raise MixtureError(
                f"{text!r}: in {path!r}, the weight {tail!r} isn't a number; write DIR:0.5"
            )
        return Entry(path)
    if not (float(weight) > 0 and math.isfinite(float(weight))):
        raise MixtureError(
            f"{text!r}: the weight {weight} of {path!r} must be a number above 0; leave out a data set that "
            "should not be read"
        )
    return Entry(path, Fraction(weight))


def _check(entries: Sequence[Entry], text: str) -> None:
    bare = [entry.path for entry in entries if entry.weight is None]
    if bare and len(bare) < len(entries):
        raise MixtureError(
            f"{text!r}: {bare[0]!r} has no weight, and others have one; give every data set a weight, or none "
            "(in proportion to their sizes)"
        )
    times = Counter(_resolved(entry.path) for entry in entries)
    if twice := [entry.path for entry in entries if times[_resolved(entry.path)] > 1]:
        raise MixtureError(
            f"{text!r} names the data set {twice[-1]!r} twice; name it once, with the sum of the weights"
        )


def _names(paths: Sequence[str]) -> list[str]:
    """Short names: the last part of each path, or as many parts as tell them apart."""
    parts = [
        [re.sub(r"[^\w.+-]+", "_", part) for part in Path(p).parts if part != "/"] for p in paths
    ]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["-".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name}-{number}" for number, name in enumerate(names, 1)]


def _text(weight: Fraction) -> str:
    """A weight as a decimal number, which is what it was read from."""
    places = 0
    while (weight * 10**places).denominator > 1:
        places += 1
    digits = f"{int(weight * 10**places):0{places + 1}d}"
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


def _exists(path: str) -> bool:
    try:
        return bool(path) and local_path(path).is_dir()
    except (PathError, OSError, ValueError):
        return False


def _resolved(path: str) -> str:
    try:
        return str(address_of(path) or local_path(path).resolve())
    except PathError:
        return path
