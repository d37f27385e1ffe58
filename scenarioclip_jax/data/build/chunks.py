"""Makes the scenes of a data set in chunks, each by one process, and keeps finished chunks.

A chunk is a pure function of its records, their images and the options. A build that was interrupted goes on
with the chunks that it has.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from scenarioclip_jax.data.build import tfds_format
from scenarioclip_jax.data.build.assemble import assemble
from scenarioclip_jax.data.build.box_votes import BoxDecision
from scenarioclip_jax.data.build.index import Stored
from scenarioclip_jax.data.build.options import Options
from scenarioclip_jax.data.build.photo_folders import Folders
from scenarioclip_jax.data.build.problems import Problems
from scenarioclip_jax.data.build.records import Record
from scenarioclip_jax.data.build.spool import BLOCK, Spool
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.files import full_disk_named, whole, write_text

# Chunks of a data set at least, if it is large enough: so many that all processes end at about the same time.
_CHUNKS = 64
_LARGEST = 32  # blocks in a chunk at most


class Job(NamedTuple):
    """What all chunks of a build have in common."""

    spool: Spool
    folder: Path  # for finished chunks
    options: Options
    boxes: BoxDecision

    @property
    def blocks(self) -> int:
        """Blocks of the spool in a chunk; the last chunk may have fewer."""
        return min(max(self.spool.count // (_CHUNKS * BLOCK), 1), _LARGEST)

    @property
    def chunks(self) -> int:
        return -(-self.spool.blocks // self.blocks)

    def path(self, chunk: int) -> Path:
        """The file of a chunk's scenes."""
        return self.folder / f"{chunk:06d}.array_record"

    def records(self, chunk: int) -> range:
        """The positions of a chunk's records."""
        first, size = chunk * self.blocks * BLOCK, self.blocks * BLOCK
        return range(first, min(first + size, self.spool.count))


class Made(NamedTuple):
    """What is known about the scenes of a chunk."""

    inputs: str  # digest of the files that it was made from
    scenes: list[Stored]
    focus: dict[str, int]  # relations by how their focused region is stored
    problems: dict  # `Problems.to_json`


def make_chunk(job: Job, chunk: int) -> bool:
    """Makes the scenes of a chunk; returns False if that was done before.

    Raises:
      AnnotationError: There is a problem, and `job.options.strict`.
      OSError: The disk is full.
      InputUnavailableError: The system refuses to read an image.
    """
    records = list(job.spool.records(_blocks(job, chunk)))
    inputs = _inputs(job, records)
    if _is_whole(job, chunk, inputs):
        return False
    focus: Counter[str] = Counter()
    digests: dict[str, str] = {}
    scenes: list[Stored] = []
    options = job.options
    with (
        full_disk_named(job.folder),
        whole(_problems(job, chunk)) as lines,
        whole(job.path(chunk)) as unfinished,
    ):
        with ExitStack() as at_end:
            sink = at_end.enter_context(lines.open("w", encoding="utf-8"))
            problems = Problems(options.strict, sink)
            how = f"{tfds_format.WRITER_OPTIONS},uncompressed"
            writer = at_end.enter_context(closing(ArrayRecordWriter(str(unfinished), how)))
            for position, record in zip(job.records(chunk), records, strict=True):
                scene = assemble(
                    record,
                    options.folders,
                    problems,
                    focus,
                    max_pixels=options.max_pixels,
                    max_side=options.max_side,
                    keep_metadata=options.keep_metadata,
                    boxes=job.boxes,
                    digests=digests,
                )
                if scene:
                    content = tfds_format.serialize(scene)
                    writer.write(content)
                    place = (chunk, len(scenes), len(content))
                    scenes.append(Stored(position, digests[record.id], *place))
        made = Made(inputs, scenes, focus, problems.to_json())
    write_text(_done(job, chunk), json.dumps(made))  # only now is the chunk done
    return True


def read_chunk(job: Job, chunk: int) -> tuple[Made, Iterator[str]]:
    """Returns what a finished chunk holds, and the lines of its problems."""
    made = Made(*json.loads(_done(job, chunk).read_text(encoding="utf-8")))
    scenes = list(map(Stored._make, made.scenes))
    return made._replace(scenes=scenes), _lines_of(_problems(job, chunk))


def _blocks(job: Job, chunk: int) -> range:
    return range(chunk * job.blocks, min((chunk + 1) * job.blocks, job.spool.blocks))


def _inputs(job: Job, records: Sequence[Record]) -> str:
    """Digest of the sizes and times of a chunk's images, and of how boxes are read."""
    digest = hashlib.sha256(repr(job.boxes).encode())
    for record in records:
        for path in (record.image_path, *(each.focus_path for each in record.relations)):
            digest.update(repr(_state(job.options.folders, path)).encode())
    return digest.hexdigest()[:32]


def _state(folders: Folders, path: str) -> tuple[int, int] | None:
    """Size and time of an image; None if there is none."""
    if not path:
        return None
    try:
        found = os.stat(folders.root / path)
    except (OSError, ValueError):
        try:
            found = folders.find(path).stat()
        except (OSError, ValueError):
            return None
    return found.st_size, found.st_mtime_ns


def _is_whole(job: Job, chunk: int, inputs: str) -> bool:
    """Whether a chunk was made of the same files before, and nothing of it was lost since."""
    try:
        made, _ = read_chunk(job, chunk)
        reader = ArrayRecordReader(str(job.path(chunk)), options=shards.READER_OPTIONS)
        return made.inputs == inputs and reader.num_records() == len(made.scenes)
    except (OSError, ValueError, TypeError, RuntimeError):
        return False


def _done(job: Job, chunk: int) -> Path:
    return job.path(chunk).with_suffix(".json")


def _problems(job: Job, chunk: int) -> Path:
    return job.path(chunk).with_suffix(".jsonl")


def _lines_of(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="\n") as file:
        yield from file
