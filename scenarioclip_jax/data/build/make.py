"""Makes the shards of a data set, in four steps.

records  ->  spool, index           one process; a few tenths of a millisecond per record
chunks   ->  scenes, pixel digests  all processes; finished chunks outlive an interrupted build
splits   ->  index                  one process
shards   ->  files of each split    all processes
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.data.build import chunks, tfds_format
from scenarioclip_jax.data.build.annotations import iterate_records
from scenarioclip_jax.data.build.assign_splits import assign_splits
from scenarioclip_jax.data.build.box_votes import BoxDecision, BoxFlags, decide
from scenarioclip_jax.data.build.class_lists import compare_classes, read_classes
from scenarioclip_jax.data.build.index import Index, Row
from scenarioclip_jax.data.build.metadata_files import metadata_files
from scenarioclip_jax.data.build.photo_folders import Folders
from scenarioclip_jax.data.build.pool import in_processes
from scenarioclip_jax.data.build.problems import DROPPED, AnnotationError, Problems
from scenarioclip_jax.data.build.records import Record
from scenarioclip_jax.data.build.spool import Spool, SpoolWriter
from scenarioclip_jax.data.build.statistics import Statistics
from scenarioclip_jax.data.build.write_shards import plan, tasks, write_shard
from scenarioclip_jax.data.stored import labels, shards
from scenarioclip_jax.progress_bar import progress_bar

_SAMPLE = 10_000  # records by whose boxes the convention of all is found


class Options(NamedTuple):
    """What decides which data set is made."""

    root: Path
    folders: Folders
    boxes: BoxFlags
    max_pixels: int
    max_side: int | None
    keep_metadata: bool
    skip_broken: bool
    strict: bool
    fractions: tuple[float, ...]
    held_out: float = 0.0  # share of the training split that becomes validation

    def digest(self) -> str:
        """Digest of all that finished chunks depend on, except for the images themselves."""
        files = [
            (path.name, path.stat().st_size, path.stat().st_mtime_ns)
            for path in metadata_files(self.root)
        ]
        folders = [str(folder.resolve()) for folder in (self.root, *self.folders.others)]
        values = [files, folders, self.folders.follow_links, self.boxes, self.max_pixels]
        values += [self.max_side, self.keep_metadata]
        values += [self.skip_broken, self.strict, shards.VERSION, labels.VERSION]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


class Made(NamedTuple):
    statistics: Statistics
    problems: Problems
    focus: Counter[str]  # relations by how their focused region is stored
    boxes: BoxDecision
    shared: list[dict[str, Any]]  # scenes that show the same photo, one entry per photo


def make(
    options: Options,
    kept: Path,
    finished: Path,
    num_shards: int | None,
    workers: int | None,
    progress: bool,
) -> Made:
    """Makes the shards of a data set, problems.jsonl, and what TFDS needs to read them.

    Args:
      options: What to make.
      kept: Folder for finished chunks, which may have some already.
      finished: Folder for the data set.
      num_shards: Shards per split; None for one for each 64 MB to 1 GB.
      workers: Number of processes; None for one for each core.
      progress: Whether to show progress bars.

    Raises:
      AnnotationError: Nothing can be built, the boxes have another convention, or `strict` met a problem.
    """
    number = chunks.processes(workers)
    with (finished / "problems.jsonl").open("w", encoding="utf-8") as sink:
        problems = Problems(options.strict, sink)
        index = Index(finished.parent / "index")
        spool, sample = _read(options, finished.parent / "spool", problems, index, progress)
        listed = read_classes(options.root, problems)
        boxes = decide(sample, options.folders.find, options.boxes, problems)
        del sample
        job = chunks.Job(
            spool,
            kept,
            options.folders,
            boxes,
            options.max_pixels,
            options.max_side,
            options.keep_metadata,
            options.strict,
        )
        focus = _make_chunks(job, problems, index, number, progress)
        if not any(True for _ in index.rows()):
            reasons = problems.examples(DROPPED)
            raise AnnotationError(f"none of the scenes in {options.root} can be used:\n{reasons}")
        shared = _assign(index, options, problems)
        statistics = _write(job, index, finished, num_shards, number, listed, progress)
        compare_classes(listed, statistics.occurring(), problems)
        index.close()
    return Made(statistics, problems, focus, boxes, shared)


def _read(
    options: Options, path: Path, problems: Problems, index: Index, progress: bool
) -> tuple[Spool, list[Record]]:
    """Reads all records; also returns an evenly spread part of those with boxes, at most _SAMPLE."""
    writer = SpoolWriter(path)
    sample: list[Record] = []
    step, seen = 1, 0
    bar = progress_bar(desc="Reading", unit=" records", disable=not progress, delay=2)
    found = iterate_records(options.root, problems, index, skip_broken=options.skip_broken)
    with bar:
        for record in found:
            writer.add(record)
            bar.update()
            if not record.objects:
                continue
            if seen % step == 0:
                sample.append(record)
            seen += 1
            if len(sample) > _SAMPLE:
                sample, step = sample[::2], 2 * step
    return writer.finish(), sample


def _make_chunks(
    job: chunks.Job, problems: Problems, index: Index, workers: int, progress: bool
) -> Counter[str]:
    bar = progress_bar(
        total=job.spool.count,
        desc="Building",
        unit=" scenes",
        disable=not progress,
        say_end=True,
    )
    if progress and (done := chunks.finished(job)):
        print(
            f"{done:,} of {job.spool.count:,} records were done before; going on with the others",
            file=sys.stderr,
        )
    workers = min(workers, job.chunks)
    with bar:
        for count in in_processes(
            chunks.make_chunk, ((job, chunk) for chunk in range(job.chunks)), workers
        ):
            bar.update(count)
    focus: Counter[str] = Counter()
    for chunk in range(job.chunks):
        made, lines = chunks.read_chunk(job, chunk)
        index.store(made.scenes)
        focus.update(made.focus)
        problems.merge(made.problems, lines)
    return focus


def _assign(index: Index, options: Options, problems: Problems) -> list[dict[str, Any]]:
    of: Callable[[Row], str] = assign_splits(
        index.rows, options.fractions, problems, held_out=options.held_out
    )

    def placed(row: Row) -> tuple[str, bytes]:
        split = of(row)
        return split, tfds_format.order_key(row.id, split)

    index.assign(placed)
    return [{"split": split, "ids": ids} for split, ids in index.shared_photos()]


def _write(
    job: chunks.Job,
    index: Index,
    finished: Path,
    num_shards: int | None,
    workers: int,
    listed: dict[str, list[str]],
    progress: bool,
) -> Statistics:
    lengths, sizes = plan(index, num_shards)
    statistics = Statistics(listed)
    total = sum(map(sum, lengths.values()))
    bar = progress_bar(total=total, desc="Writing", unit=" scenes", disable=not progress, delay=2)
    several = min(workers, sum(map(len, lengths.values())))
    with bar:
        for of_shard in in_processes(write_shard, tasks(index, job, finished, lengths), several):
            statistics.merge(of_shard)
            bar.update(sum(of_shard.scenes.values()))
    tfds_format.write_description(finished, lengths, sizes)
    return statistics
