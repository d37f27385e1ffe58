"""The folder that an import writes: complete, or not there.

Everything is written to a folder `.unfinished` in it first. `import.json` comes last, so an import that has
it is complete, and whatever ends before leaves no metadata that a build would read.
"""

import contextlib
import fcntl
import gzip
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scenarioclip_jax.data.build.problems import DROPPED
from scenarioclip_jax.files import write_text
from scenarioclip_jax.importers.index import Ids
from scenarioclip_jax.importers.problems import ImportProblems
from scenarioclip_jax.importers.source import Record, SourceError
from scenarioclip_jax.paths import Address
from scenarioclip_jax.storage.bucket import Bucket
from scenarioclip_jax.storage.output import upload

METADATA, PROBLEMS, SUMMARY = "metadata.jsonl.gz", "problems.jsonl", "import.json"
BY_ID = "by the id"  # records that name no split
PHOTOS = "photos"  # of sources that have photos in archives
_OURS = {METADATA, PROBLEMS, SUMMARY}


class Output:
    """An import's folder, while it's being written.

    Attributes:
      work: A folder for temporary files; it goes away with the import.
      problems: Writes `problems.jsonl`.
    """

    def __init__(self, folder: Path, work: Path, problems: ImportProblems, metadata: Any):
        self.folder, self.work, self.problems = folder, work, problems
        self._ids = Ids(work / "ids.sqlite3")
        self._metadata = metadata
        self.counts: Counter[str] = Counter()
        self.splits: Counter[str] = Counter()

    def write(self, record: Record) -> None:
        """Appends a record, and counts what is in it; one whose id was there before is left out."""
        if not self._ids.add(record["id"]):
            detail = f"{record['image_path']}: there was a record with this id before"
            self.problems.add("repeated_record", DROPPED, "scene", "", detail, str(record["id"]))
            return
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        self._metadata.write(text.encode() + b"\n")
        objects, relations = record.get("objects", []), record.get("relations", [])
        self.counts["photos"] += 1
        self.counts["objects"] += len(objects)
        self.counts["relations"] += len(relations)
        self.counts["captions"] += len(record.get("captions", ()))
        self.counts["masks"] += sum("mask" in thing for thing in objects if isinstance(thing, dict))
        self.counts["attributes"] += sum(
            len(thing.get("attributes", ())) for thing in objects if isinstance(thing, dict)
        )
        self.splits[record.get("split") or BY_ID] += 1


@contextlib.contextmanager
def writing(
    folder: Path,
    overwrite: bool,
    summary: Callable[[Output], dict[str, Any]],
    finish: Callable[[], None],
) -> Iterator[Output]:
    """Writes an import; its files appear when the block ends without an exception.

    Args:
      folder: Where it goes.
      overwrite: Whether an import that is there may be replaced.
      summary: What `import.json` says.
      finish: Called right before anything becomes visible.

    Raises:
      SourceError: The folder holds something already, or another import writes there.
    """
    _check(folder, overwrite)
    was_there = folder.is_dir()
    try:
        with _work_folder(folder) as work:
            with (
                ImportProblems(work / PROBLEMS) as problems,
                (work / METADATA).open("wb") as file,
                # Neither name nor time, so that the same import gives the same bytes.
                gzip.GzipFile("", "wb", fileobj=file, mtime=0, compresslevel=6) as metadata,
            ):
                output = Output(folder, work, problems, metadata)
                yield output
            if not output.counts["photos"]:
                found = [f"{count} x {kind}" for kind, count in problems.counts().items()]
                reasons = "\n  ".join(found) or "the files hold no annotated photo"
                raise SourceError(
                    f"no photo could be imported, so nothing was written:\n  {reasons}"
                )
            text = json.dumps(summary(output), indent=1, ensure_ascii=False) + "\n"
            finish()
            (folder / SUMMARY).unlink(missing_ok=True)
            if (folder / PHOTOS).is_dir():
                shutil.rmtree(folder / PHOTOS)
            if (work / PHOTOS).is_dir():
                (work / PHOTOS).replace(folder / PHOTOS)
            for name in (PROBLEMS, METADATA):
                (work / name).replace(folder / name)
            write_text(folder / SUMMARY, text)
    finally:
        if not was_there:
            with contextlib.suppress(OSError):  # it holds something, as it should
                folder.rmdir()


def check_there(address: Address, overwrite: bool) -> None:
    """Checks that an import can go to an address; raises SourceError like `writing`."""
    found = Bucket(address).list()
    if "" in found:
        raise SourceError(f"--output={address} is a file; name a folder")
    _check_names(address, {name.partition("/")[0] for name in found}, overwrite)


def publish(folder: Path, address: Address, finish: Callable[[], None]) -> None:
    """Copies an import from the cache to its address, then removes it here.

    Raises:
      StorageError: It can't be copied.
    """
    upload(
        folder,
        address,
        last=lambda name: name == SUMMARY,
        only=lambda name: name in _OURS or name.startswith(f"{PHOTOS}/"),
        before_visible=finish,
    )
    shutil.rmtree(folder)


def _check(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise SourceError(f"--output={folder} is a file; name a folder")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    _check_names(folder, names, overwrite)


def _check_names(folder: Path | Address, names: set[str], overwrite: bool) -> None:
    others = sorted(n for n in names - _OURS if n.startswith(("metadata", "annotations")))
    if others:
        raise SourceError(
            f"--output={folder} holds {', '.join(others)}, which the build would read, too; name another folder"
        )
    if PHOTOS in names and SUMMARY not in names:
        raise SourceError(
            f"--output={folder} holds a folder {PHOTOS} that no import made; name another folder"
        )
    if names & _OURS and not overwrite:
        raise SourceError(
            f"--output={folder} holds an import already ({', '.join(sorted(names & _OURS))}); "
            "name another folder, or replace it: --overwrite"
        )


@contextlib.contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """A folder for temporary files that one import has at a time; what a killed one left is removed."""
    work = folder / ".unfinished"
    work.mkdir(parents=True, exist_ok=True)
    lock = (work / "lock").open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SourceError(
                f"--output={folder}: another import writes there; wait for its end, or name another folder"
            ) from None
        for path in work.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
