"""The decisions of reviewers: WORK/review/NAME.jsonl, a file for each that only grows.

A decision is in the file, and forced to the disk, before the reviewer is told that it was saved. As with the
records of the stages, a line counts if it is whole. Nothing is ever taken out of a file: to take a decision
back is another line. So the files of several machines are merged by copying them into one folder.
"""

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.annotate.line_files import (
    WorkError,
    append_alone,
    encode_line,
)
from scenarioclip_jax.annotate.records import json_digest

FOLDER = "review"
KEEP, DROP, EDIT, UNDO = "keep", "drop", "edit", "undo"
ACTIONS = (KEEP, DROP, EDIT, UNDO)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Decision(NamedTuple):
    """What a reviewer decided on a scene.

    Attributes:
      id: The photo.
      digest: Digest of the scene that was shown: that of the photo's record of `validate`.
      action: One of ACTIONS.
      at: When, in seconds since 1970.
      reviewer: Who.
      scene: Digest of the new scene of an edit, else "".
      offset: Where the line is in the reviewer's file.
    """

    id: str
    digest: str
    action: str
    at: float
    reviewer: str
    scene: str
    offset: int


def check_name(name: str) -> str:
    """Returns a reviewer's name; raises WorkError if it can't be one."""
    if not _NAME.fullmatch(name):
        raise WorkError(
            f"--reviewer={name}: a reviewer's name has up to 64 letters a to z, digits, '.', '_' and '-', and "
            "begins with a letter or digit"
        )
    return name


class Journal:
    """Appends the decisions of one reviewer; only one process at a time can.

    Args:
      folder: The working folder.
      reviewer: The reviewer.

    Raises:
      WorkError: The name can't be used, or another process writes this reviewer's decisions.
    """

    def __init__(self, folder: Path, reviewer: str):
        self.reviewer = check_name(reviewer)
        self._path = folder / FOLDER / f"{reviewer}.jsonl"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = append_alone(
            self._path,
            f"another process writes the decisions of {reviewer}; stop that one, or give --reviewer "
            "another name",
        )
        self._last = 0.0

    def write(self, id: str, digest: str, action: str, scene: dict[str, Any] | None = None) -> None:
        """Appends a decision; it is on the disk when this returns.

        Args:
          id: The photo.
          digest: Digest of the scene that was shown.
          action: One of ACTIONS.
          scene: The new scene of an edit.

        Raises:
          OSError: It isn't saved.
          WorkError: The file was replaced, so nothing can be saved any more.
        """
        # The order of one reviewer's decisions stays what it was even if the clock is set back.
        self._last = max(time.time(), self._last + 1e-3)
        line = {"id": id, "digest": digest, "action": action, "at": round(self._last, 3)}
        line |= {"reviewer": self.reviewer} | ({"scene": scene} if scene is not None else {})
        self._check_that_it_is_the_file()
        end = os.fstat(self._file.fileno()).st_size
        try:
            self._file.write(encode_line(line))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            # A full disk may have taken a part, which would spoil the next line.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), end)
            raise

    def _check_that_it_is_the_file(self) -> None:
        """A file that was copied over this one in the meantime would hide what is written from now on."""
        try:
            found, own = os.stat(self._path), os.fstat(self._file.fileno())
        except FileNotFoundError:
            found = own = None
        if found is None or own is None or (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino):
            raise WorkError(
                f"{self._path}: was replaced or removed while it was written; start `review` again"
            )

    def close(self) -> None:
        self._file.close()


class Reader:
    """Reads the decisions of one reviewer, and later those that were added.

    Args:
      path: The reviewer's file.

    Attributes:
      damaged: Lines that can't be read, which don't count.
    """

    def __init__(self, path: Path):
        self.path, self.damaged = path, 0
        self._file, self._end = path.open("rb"), 0

    def new(self) -> Iterator[Decision]:
        """The whole lines after those that were read before."""
        self._file.seek(self._end)
        for line in self._file:
            if not line.endswith(b"\n"):  # a process is writing it, or was killed
                return
            offset, self._end = self._end, self._end + len(line)
            try:
                yield _decision(json.loads(line), self.path.stem, offset)
            except (ValueError, KeyError, TypeError):
                self.damaged += 1

    def scene(self, decision: Decision) -> dict[str, Any]:
        """The scene of an edit."""
        self._file.seek(decision.offset)
        return json.loads(self._file.readline())["scene"]

    def replaced(self) -> bool:
        """Whether another file is there now, so that all has to be read again."""
        try:
            found, own = os.stat(self.path), os.fstat(self._file.fileno())
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino) or found.st_size < self._end

    def close(self) -> None:
        self._file.close()


def readers(folder: Path) -> dict[str, Reader]:
    """Opens the files of all reviewers, by name; raises WorkError if one isn't named as a reviewer."""
    found = {}
    for path in sorted((folder / FOLDER).glob("*.jsonl")):
        if not _NAME.fullmatch(path.stem):
            raise WorkError(
                f"{path}: {path.stem!r} isn't the name of a reviewer; rename the file, or take it away"
            )
        found[path.stem] = Reader(path)
    return found


def _decision(line: dict[str, Any], reviewer: str, offset: int) -> Decision:
    action, scene = line["action"], line.get("scene")
    if action not in ACTIONS or (action == EDIT) != isinstance(scene, dict):
        raise ValueError(action)
    id, digest = line["id"], line["digest"]
    if not isinstance(id, str) or not isinstance(digest, str):
        raise TypeError(id)
    if not math.isfinite(at := float(line["at"])):
        raise ValueError(at)
    same = json_digest(scene) if scene else ""
    return Decision(id, digest, action, at, reviewer, same, offset)
