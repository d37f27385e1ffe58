"""Makes photos of videos: FRAMES/VIDEO/MILLISECONDS.jpg, where VIDEO is the video's path without its suffix.

Frames are written whole or not at all, and a video is done when its line in the index says so; see
`frame_index.py`. A video that has changed, or is asked for with other settings, is done anew, and its old
frames are removed.
"""

import contextlib
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from scenarioclip_jax.annotate import frame_index
from scenarioclip_jax.annotate.frame_index import BEGUN, DONE, FAILED, REMOVING, Index, Line
from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.records import json_digest
from scenarioclip_jax.annotate.stages.photos import as_text
from scenarioclip_jax.annotate.video_frames import SUFFIXES, Video, VideoError
from scenarioclip_jax.data.build.pool import local_pool, processes
from scenarioclip_jax.files import UNFINISHED, write_whole
from scenarioclip_jax.progress_bar import progress_bar

_VERSION = 1  # raised when the same settings give other frames
_QUALITY = 92
_OURS = re.compile(r"\d{9,}\.jpg|\.\d{9,}\.jpg" + re.escape(UNFINISHED) + r"\w+")
_EXAMPLES = 3


@dataclass(frozen=True)
class FrameSettings:
    """Which frames are made.

    Attributes:
      every: Seconds between two frames.
      max_side: Longest side of a frame, in pixels; larger ones are made smaller.
    """

    every: float = 1.0
    max_side: int = 1280


class Made(NamedTuple):
    """What became of a video.

    Attributes:
      id: Its path.
      frames: Number of its frames.
      damaged: Packets and frames that couldn't be decoded.
      kind, detail: Why it has no frames, or "".
    """

    id: str
    frames: int = 0
    damaged: int = 0
    kind: str = ""
    detail: str = ""


@dataclass
class Summary:
    """How a run went.

    Attributes:
      counts: Videos by what became of them: "done" now, "failed" now, "kept" from before.
      failures: Failures by kind: what is told of each.
      frames: Frames of the videos that were done.
      damaged: Videos of which something couldn't be decoded, with the number of errors.
      gone: Videos of earlier runs that aren't there any more; their frames stay.
      seconds: How long it took.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, list[str]] = field(default_factory=dict)
    frames: int = 0
    damaged: dict[str, int] = field(default_factory=dict)
    gone: int = 0
    seconds: float = 0.0

    def add(self, made: Made) -> None:
        """Counts a result."""
        self.counts["failed" if made.kind else "done"] += 1
        self.frames += made.frames
        if made.kind:
            self.failures.setdefault(made.kind, []).append(f"{made.id}: {made.detail}")
        elif made.damaged:
            self.damaged[made.id] = made.damaged

    def told(self) -> str:
        """The lines to print."""
        counts = ", ".join(f"{number:,} {what}" for what, number in self.counts.items() if number)
        lines = [f"frames: {counts or 'no video'}"]
        if self.counts["done"]:
            lines[0] += f"; {self.frames:,} frames, {self.seconds:.1f} s"
        for kind, failures in sorted(self.failures.items()):
            lines.append(f"  {len(failures):,} x {kind}")
            lines += [f"    {each[:300]}" for each in failures[:_EXAMPLES]]
        if self.damaged:
            video, errors = next(iter(self.damaged.items()))
            lines.append(
                f"  {len(self.damaged):,} videos have parts that can't be decoded and give no frames, such as "
                f"{video}: {errors:,} errors"
            )
        if self.gone:
            lines.append(f"  {self.gone:,} videos of earlier runs are gone; their frames stay")
        return "\n".join(lines)


def videos_below(folder: Path, follow_links: bool = False) -> Iterator[str]:
    """The paths of videos below a folder, in order; hidden files and folders aren't looked at."""
    for path, folders, names in os.walk(folder, followlinks=follow_links):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.relpath(os.path.join(path, name), folder)


def make_frames(
    videos: Path,
    folder: Path,
    settings: FrameSettings,
    *,
    action_from_folder: bool = False,
    workers: int | None = None,
    follow_links: bool = False,
) -> Summary:
    """Writes the frames of the videos that are new or have changed.

    Args:
      videos: The videos' folder.
      folder: Where the frames go.
      settings: Which frames.
      action_from_folder: Whether the name of the folder that a video lies in is the action of its frames.
      workers: Number of processes; by default one for each core.
      follow_links: Whether linked folders are looked into.

    Raises:
      WorkError: A folder can't be used.
      OSError: Frames can't be written.
      LostProcessError: The system ended a process.
    """
    if not videos.is_dir():
        raise WorkError(f"--videos={videos}: isn't a folder; name the folder of your videos")
    summary, began = Summary(), time.monotonic()
    with Index(folder) as index:
        found = sorted(videos_below(videos, follow_links))
        lines = [_line(videos, video, settings, action_from_folder) for video in found]
        todo = _plan(lines, index, summary)
        summary.gone = len(index.lines.keys() - {line["id"] for line in lines})
        workers = min(processes(workers), max(1, len(todo)))
        threads = max(1, processes(None) // workers)
        # The index is written here alone, and each video's first line before its first frame.
        calls = ((_begin(index, folder, line), videos, folder, settings, threads) for line in todo)
        with progress_bar(
            desc="frames", total=len(todo), unit=" videos", disable=not todo
        ) as progress:
            for made in local_pool(workers)(make_frames_of, calls, len(todo)):
                end = {"frames": made.frames, "damaged": made.damaged, "state": DONE}
                if made.kind:
                    end = {"state": FAILED, "kind": made.kind, "detail": made.detail}
                index.write(_without_state(index.lines[made.id]) | end)
                summary.add(made)
                progress.update()
    summary.seconds = time.monotonic() - began
    return summary


def _line(videos: Path, video: str, settings: FrameSettings, action_from_folder: bool) -> Line:
    """The line of a video without its state; with `kind` and `detail` if it can't be done."""
    path = PurePosixPath(as_text(video))
    line: Line = {"id": str(path), "key": "", "folder": str(path.with_suffix(""))}
    if action_from_folder and (action := " ".join(path.parent.name.replace("_", " ").split())):
        line["action"] = action
    if str(path) != video:
        return line | {"kind": "file_name", "detail": "its name isn't UTF-8; rename the file"}
    if line["folder"] == frame_index.NAME:
        detail = f"its frames would need a folder where {frame_index.NAME} is; rename the file"
        return line | {"kind": "file_name", "detail": detail}
    try:
        file = (videos / video).stat()
    except OSError as error:
        return line | {"kind": "not_readable", "detail": error.strerror or str(error)}
    if not stat.S_ISREG(file.st_mode):
        return line | {"kind": "not_readable", "detail": "it isn't a file"}
    known = {"size": file.st_size, "mtime_ns": file.st_mtime_ns, "settings": asdict(settings)}
    return line | {"key": json_digest([_VERSION, known]), **known}


def _plan(lines: list[Line], index: Index, summary: Summary) -> list[Line]:
    """The videos to do; the others are counted, and those that can't be done noted."""
    todo, there = [], {line["id"] for line in lines}
    owners = {
        before["folder"]: id
        for id, before in index.lines.items()
        if before["state"] != FAILED and id in there
    }
    for line in lines:
        before = index.lines.get(line["id"], {})
        owner = owners.setdefault(line["folder"], line["id"]) if "kind" not in line else ""
        if owner and owner != line["id"]:
            detail = f"{owner} has the same name but for its suffix; rename one of them"
            line |= {"kind": "same_name", "detail": detail}
        if "kind" in line:
            index.write(line | {"state": FAILED})
            summary.add(Made(line["id"], kind=line["kind"], detail=line["detail"]))
        elif before.get("state") == DONE and before["key"] == line["key"]:
            summary.counts["kept"] += 1
            if before.get("action") != line.get("action"):
                index.write(line | {each: before[each] for each in ("frames", "damaged", "state")})
        else:
            todo.append(line)
    return todo


def _begin(index: Index, folder: Path, line: Line) -> str:
    """Notes that a video is being done, after what another key, or another video, has made is removed."""
    before = index.lines.get(line["id"], {})
    if before.get("state") != BEGUN or before["key"] != line["key"]:
        if _ours(folder / line["folder"]):
            for other in [*index.lines.values()]:
                if other["folder"] == line["folder"] and other["state"] != FAILED:
                    why = {"kind": "gone", "detail": f"{line['id']} has its folder now"}
                    index.write(_without_state(other) | {"state": FAILED, **why})
            index.write(line | {"state": REMOVING})
            remove_frames(folder, line["folder"])
        index.write(line | {"state": BEGUN})
    return line["id"]


def _without_state(line: Line) -> Line:
    return {name: value for name, value in line.items() if name != "state"}


def make_frames_of(
    video: str, videos: Path, folder: Path, settings: FrameSettings, threads: int
) -> Made:
    """Writes the frames of one video; those that are there already are whole, and stay.

    Raises:
      OSError: They can't be written.
    """
    target = folder / PurePosixPath(video).with_suffix("")
    for name in _ours(target):
        if UNFINISHED in name:
            (target / name).unlink()
    reader = Video(videos / video, settings.every, settings.max_side, threads)
    frames, count = reader.frames(), 0
    while True:
        try:
            frame = next(frames, None)
        except (VideoError, OSError) as error:
            remove_frames(folder, os.path.relpath(target, folder))
            kind = error.kind if isinstance(error, VideoError) else "not_readable"
            return Made(video, damaged=reader.damaged, kind=kind, detail=str(error))
        if frame is None:
            return Made(video, count, reader.damaged)
        file = target / f"{frame.milliseconds:09}.jpg"
        if not file.exists():
            picture = frame.picture()
            write_whole(
                file, lambda stream, picture=picture: picture.save(stream, "JPEG", quality=_QUALITY)
            )
        count += 1


def _ours(folder: Path) -> list[str]:
    """The names of what this writes, among the files of a folder."""
    if not folder.is_dir():
        return []
    return [name for name in os.listdir(folder) if _OURS.fullmatch(name)]


def remove_frames(folder: Path, own: str) -> None:
    """Removes the frames of a video, and its folders if nothing else is in them."""
    for name in _ours(folder / own):
        (folder / own / name).unlink()
    for each in (own, *map(str, PurePosixPath(own).parents)):
        if each != ".":
            with contextlib.suppress(OSError):  # it isn't empty, or not there
                (folder / each).rmdir()
