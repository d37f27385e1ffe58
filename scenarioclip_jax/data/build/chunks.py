"""Makes the scenes of a data set in chunks, each by one process, and keeps finished chunks.

A chunk is a pure function of its records, their images and the options. A build that was interrupted goes on
with the chunks that it has.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from array_record.python.array_record_module import ArrayRecordWriter

from scenarioclip_jax.data.build import tfds_format
from scenarioclip_jax.data.build.assemble import assemble
from scenarioclip_jax.data.build.box_votes import BoxDecision
from scenarioclip_jax.data.build.index import Stored
from scenarioclip_jax.data.build.photo_folders import Folders
from scenarioclip_jax.data.build.problems import Problems
from scenarioclip_jax.data.build.spool import BLOCK, Spool
from scenarioclip_jax.files import full_disk_named

_CHUNKS = (
    64  # of a data set at least, if it is large enough; so many that all processes end together
)
_LARGEST = 32  # blocks in a chunk at most


class Job(NamedTuple):
    """What all chunks of a build have in common."""

    spool: Spool
    folder: Path  # for finished chunks
    folders: Folders
    boxes: BoxDecision
    max_pixels: int
    max_side: int | None
    keep_metadata: bool
    strict: bool

    @property
    def blocks(self) -> int:
        """Blocks of the spool in a chunk; the last chunk may have fewer."""
        return min(max(self.spool.count // (_CHUNKS * BLOCK), 1), _LARGEST)

    @property
    def chunks(self) -> int:
        return -(-(len(self.spool.offsets) - 1) // self.blocks)

    def path(self, chunk: int) -> Path:
        """The file of a chunk's scenes."""
        return self.folder / f"{chunk:06d}.array_record"

    def records(self, chunk: int) -> range:
        """The positions of a chunk's records."""
        first, size = chunk * self.blocks * BLOCK, self.blocks * BLOCK
        return range(first, min(first + size, self.spool.count))


class Made(NamedTuple):
    """What is known about the scenes of a chunk."""

    scenes: list[Stored]
    focus: dict[str, int]  # relations by how their focused region is stored
    problems: dict  # `Problems.to_json`


def make_chunk(job: Job, chunk: int) -> int:
    """Makes the scenes of a chunk, unless that was done before; returns how many records it has.

    Raises:
      AnnotationError: There is a problem, and `job.strict`.
      OSError: The disk is full, or an image can't be read for the moment.
    """
    positions = job.records(chunk)
    if not _done(job, chunk).exists():
        focus: Counter[str] = Counter()
        digests: dict[str, str] = {}
        scenes: list[Stored] = []
        partial = job.path(chunk).with_suffix(".partial")
        listed = _problems(job, chunk)
        with full_disk_named(job.folder), ExitStack() as stack:
            sink = stack.enter_context(listed.open("w", encoding="utf-8"))
            problems = Problems(job.strict, sink)
            options = f"{tfds_format.WRITER_OPTIONS},uncompressed"
            writer = stack.enter_context(closing(ArrayRecordWriter(str(partial), options)))
            blocks = range(chunk * job.blocks, min((chunk + 1) * job.blocks, _last(job)))
            records = job.spool.records(blocks)
            for position, record in zip(positions, records, strict=True):
                scene = assemble(
                    record,
                    job.folders,
                    problems,
                    focus,
                    max_pixels=job.max_pixels,
                    max_side=job.max_side,
                    keep_metadata=job.keep_metadata,
                    boxes=job.boxes,
                    digests=digests,
                )
                if scene:
                    content = tfds_format.serialize(scene)
                    writer.write(content)
                    place = (chunk, len(scenes), len(content))
                    scenes.append(Stored(position, digests[record.id], *place))
        partial.rename(job.path(chunk))
        made = Made(scenes, focus, problems.to_json())
        unfinished = _done(job, chunk).with_suffix(".partial")
        unfinished.write_text(json.dumps(made), encoding="utf-8")
        unfinished.rename(_done(job, chunk))  # only now is the chunk done
    return len(positions)


def read_chunk(job: Job, chunk: int) -> tuple[Made, Iterator[str]]:
    """Returns what a finished chunk holds, and the lines of its problems."""
    made = Made(*json.loads(_done(job, chunk).read_text(encoding="utf-8")))
    scenes = list(map(Stored._make, made.scenes))
    return made._replace(scenes=scenes), _lines_of(_problems(job, chunk))


def finished(job: Job) -> int:
    """Number of records of the chunks that are done."""
    return sum(len(job.records(chunk)) for chunk in range(job.chunks) if _done(job, chunk).exists())


def _last(job: Job) -> int:
    return len(job.spool.offsets) - 1


def _done(job: Job, chunk: int) -> Path:
    return job.path(chunk).with_suffix(".json")


def _problems(job: Job, chunk: int) -> Path:
    return job.path(chunk).with_suffix(".jsonl")


def _lines_of(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="\n") as file:
        yield from file


def processes(workers: int | None) -> int:
    """Number of processes: as many as this one may use cores, unless given."""
    return workers or len(os.sched_getaffinity(0))
