"""What a source and an export are, and what an import has at hand."""

import argparse
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from scenarioclip_jax.data.build.problems import DROPPED
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.importers.index import Index
from scenarioclip_jax.importers.problems import ImportProblems
from scenarioclip_jax.progress_bar import progress_bar

Record = dict[str, Any]  # see docs/guides/format.md
Records = Callable[[], Iterator[Record]]  # goes through records, as often as it's called

SPLITS = {"train": "train", "training": "train", "test": "test"}
SPLITS |= dict.fromkeys(("val", "valid", "validation", "dev"), "validation")
_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(SPLITS)})(?![a-z])", re.IGNORECASE)


class SourceError(ReadableError, ValueError):
    """A source can't be imported. The message names the file, the field, and what to do."""


@dataclass
class Run:
    """One import: what a source may use besides its flags.

    Attributes:
      problems: Collects what is left out or changed.
      work: A folder for temporary files, removed at the end.
      images: The folder of the photos, if the user named it.
      split: The split of all records, if the user named it.
      build_flags: Flags that the build needs to read these records; a source may add to them.
      files: Files that were read, for the summary.
    """

    problems: ImportProblems
    work: Path
    images: Path | None = None
    split: str | None = None
    build_flags: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def index(self) -> Index:
        """A new index, in a temporary file."""
        return Index(self.work / f"index-{len(list(self.work.iterdir()))}.sqlite3")

    def progress(
        self, items: Iterable, text: str, unit: str, total: int | None = None
    ) -> Iterator[Any]:
        """Goes through items with a progress bar."""
        return iter(progress_bar(items, text, total, unit=f" {unit}"))

    def dicts(self, values: Iterable[Any], where: str) -> Iterator[dict[str, Any]]:
        """The objects among the values of a JSON array; others are counted."""
        for number, value in enumerate(values):
            if isinstance(value, dict):
                yield value
            else:
                detail = f"{str(value)[:80]!r} instead of an object"
                self.problems.add("broken_entry", DROPPED, "scene", f"{where}[{number}]", detail)

    def attempt(self, where: str, make: Callable[..., Record | None], *args: Any) -> Record | None:
        """Makes a record; if the entry isn't what its format says, counts that, and returns None."""
        try:
            return make(*args)
        except SourceError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            detail = f"not what the format says ({type(error).__name__}: {error})"
            self.problems.add("broken_entry", DROPPED, "scene", where, detail)
            return None

    def split_of(self, path: Path | str) -> str | None:
        """The split that a file's name tells, such as that of `instances_val2017.json`; --split goes first."""
        if self.split:
            return self.split
        found = _SPLIT.search(Path(path).name.replace("_", " "))
        return SPLITS[found[1].lower()] if found else None


@dataclass(frozen=True)
class Source:
    """A data set that can be imported.

    Attributes:
      name: The subcommand.
      purpose: What it reads, in a line.
      add_flags: Adds its flags to a parser.
      records: Yields records from its flags; raises SourceError.
    """

    name: str
    purpose: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    records: Callable[[argparse.Namespace, Run], Iterator[Record]]


@dataclass(frozen=True)
class Export:
    """A format that metadata can be written in.

    Attributes:
      name: The subcommand.
      purpose: What it writes, in a line.
      add_flags: Adds its flags, besides --metadata and --output, to a parser.
      write: Writes records to a file, and returns counts for the summary. Its arguments are a function that
        goes through the records, the file, the flags, and what to call right before the file becomes visible.
      is_folder: Whether it writes a folder.
    """

    name: str
    purpose: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    write: Callable[[Records, Path, argparse.Namespace, Callable[[], None]], dict[str, int]]
    is_folder: bool = False


def found_in(package: ModuleType, attribute: str) -> list[Any]:
    """The sources or exports of a package, by the names of its modules."""
    modules = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return [
        getattr(importlib.import_module(f"{package.__name__}.{name}"), attribute)
        for name in modules
    ]
