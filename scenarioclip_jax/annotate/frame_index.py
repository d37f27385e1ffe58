"""What is known of the videos whose frames are in a folder: FRAMES/frames.jsonl, a file that only grows.

The last line of a video counts. Its `state` is

- removing: frames that an older key had made are being removed,
- begun: frames of its key are being written,
- done: all of them are there,
- failed: there are none, and `kind` and `detail` say why.

Already the first of these tells which video the frames in a folder belong to, so that photos of a run that was
killed are never without their group.
"""

import functools
import os
from pathlib import Path, PurePath
from typing import Any

from scenarioclip_jax.annotate.line_files import WorkError, append_alone, encode_line, read_lines

NAME = "frames.jsonl"
REMOVING, BEGUN, DONE, FAILED = "removing", "begun", "done", "failed"
Line = dict[str, Any]


def read_index(folder: Path) -> dict[str, Line]:
    """The last line of each video by the video's path, in the order of these lines.

    Lines of another form are passed over: a file of this name may be somebody else's.
    """
    found = {}
    for _, line in read_lines(folder / NAME, []):
        if isinstance(line.get("folder"), str) and isinstance(line.get("state"), str):
            found.pop(line["id"], None)
            found[line["id"]] = line
    return found


class Index:
    """The index of a folder that frames are written to; only one process at a time has it.

    Args:
      folder: The folder; it is made if there is none.

    Attributes:
      lines: The last line of each video.

    Raises:
      WorkError: Another process writes frames there, or the folder holds something else.
    """

    def __init__(self, folder: Path):
        path = folder / NAME
        if not path.is_file() and folder.is_dir() and any(folder.iterdir()):
            raise WorkError(f"--output={folder}: holds other files; name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        self._file = append_alone(path, "another process writes frames there; wait for its end")
        self.lines = read_index(folder)

    def write(self, line: Line) -> None:
        """Appends a line; it is in the file when this returns."""
        self._file.write(encode_line(line))
        self._file.flush()
        self.lines[line["id"]] = line

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *error: object) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


class Sources:
    """Tells which photos of a folder are frames of videos.

    The index is looked for beside the photos and in each folder above and below, because both a part of the
    frames and a folder that holds them among others may be given.

    Args:
      images: The photos' folder.
    """

    def __init__(self, images: Path):
        self._images = Path(os.path.abspath(images))
        self._index = functools.cache(self._read)

    def find(self, id: str) -> dict[str, str]:
        """What is known of a photo by its video: `group`, and `action` if it was asked for; else nothing."""
        folder = (self._images / id).parent
        for base in (folder, *folder.parents):
            if source := self._index(base).get(os.path.relpath(folder, base)):
                return source
        return {}

    def _read(self, base: Path) -> dict[str, dict[str, str]]:
        if not (base / NAME).is_file():
            return {}
        # Two such folders may hold videos of one path.
        within = base.is_relative_to(self._images)
        prefix = base.relative_to(self._images) if within else PurePath()
        found = {}
        for video, line in read_index(base).items():
            if line["state"] == FAILED:
                continue
            found[line["folder"]] = {"group": (prefix / video).as_posix()}
            if action := line.get("action"):
                found[line["folder"]]["action"] = action
        return found
