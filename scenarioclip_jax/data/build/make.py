"""Makes the shards of a data set, in four steps.

records  ->  spool, index           one process; a few tenths of a millisecond per record
chunks   ->  scenes, pixel digests  all processes; finished chunks outlive an interrupted build
splits   ->  index                  one process
shards   ->  files of each split    all processes
"""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax import files
from scenarioclip_jax.console import say
from scenarioclip_jax.data import photo_digests
from scenarioclip_jax.data.build import chunks, tfds_format
from scenarioclip_jax.data.build.annotations import iterate_records
from scenarioclip_jax.data.build.assign_splits import assign_splits
from scenarioclip_jax.data.build.box_votes import BoxDecision, decide
from scenarioclip_jax.data.build.class_lists import compare_classes, read_classes
from scenarioclip_jax.data.build.index import Index, Row
from scenarioclip_jax.data.build.options import Options
from scenarioclip_jax.data.build.pool import Pool
from scenarioclip_jax.data.build.problems import DROPPED, AnnotationError, Problems
from scenarioclip_jax.data.build.records import Record
from scenarioclip_jax.data.build.spool import Spool, SpoolWriter
from scenarioclip_jax.data.build.statistics import Statistics
from scenarioclip_jax.data.build.write_shards import plan, tasks, write_shard
from scenarioclip_jax.progress_bar import progress_bar

_SAMPLE = 10_000  # records by whose boxes the convention of all is found


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
    pool: Pool,
    progress: bool,
) -> Made:
    """Makes the shards of a data set, problems.jsonl, and what TFDS needs to read them.

    Args:
      options: What to make.
      kept: Folder for finished chunks, which may have some already.
      finished: Folder for the data set.
      num_shards: Shards per split; None for one for each 64 MB to 1 GB.
      pool: Where chunks and shards are made.
      progress: Whether to show progress bars.

    Raises:
      AnnotationError: Nothing can be built, the boxes have another convention, or `strict` met a problem.
    """
    with ExitStack() as at_end:
        sink = at_end.enter_context((finished / "problems.jsonl").open("w", encoding="utf-8"))
        problems = Problems(options.strict, sink)
        index = at_end.enter_context(closing(Index(finished.parent / "index")))
        spool, sample = _read(options, finished.parent / "spool", problems, index, progress)
        listed = read_classes(options.root, problems)
        boxes = decide(sample, options.folders.find, options.boxes, problems)
        del sample
        job = chunks.Job(spool, kept, options, boxes)
        focus = _make_chunks(job, problems, index, pool, progress)
        if not any(True for _ in index.rows()):
            reasons = problems.examples(DROPPED)
            raise AnnotationError(f"none of the scenes in {options.root} can be used:\n{reasons}")
        shared = _assign(index, options, problems)
        statistics = _write(job, index, finished, num_shards, pool, listed, progress)
        compare_classes(listed, statistics.occurring(), problems)
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
    job: chunks.Job, problems: Problems, index: Index, pool: Pool, progress: bool
) -> Counter[str]:
    bar = progress_bar(
        total=job.spool.count,
        desc="Building",
        unit=" scenes",
        disable=not progress,
        say_end=True,
    )
    every = ((job, chunk) for chunk in range(job.chunks))
    before = 0
    with bar:
        for chunk, made_now in enumerate(pool(chunks.make_chunk, every, job.chunks)):
            count = len(job.records(chunk))
            bar.update(count)
            before += 0 if made_now else count
    if progress and before:
        say(f"{before:,} of {job.spool.count:,} records were done before", error=True)
    focus: Counter[str] = Counter()
    for chunk in range(job.chunks):
        made, lines = chunks.read_chunk(job, chunk)
        index.store(made.scenes)
        focus.update(made.focus)
        problems.merge(made.problems, lines)
    return focus


def _assign(index: Index, options: Options, problems: Problems) -> list[dict[str, Any]]:
    of: Callable[[Row], str] = assign_splits(
        index.rows, options.fractions, problems, held_out=options.validation_share
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
    pool: Pool,
    listed: dict[str, list[str]],
    progress: bool,
) -> Statistics:
    lengths, sizes = plan(index, num_shards)
    statistics = Statistics(listed)
    total = sum(map(sum, lengths.values()))
    bar = progress_bar(total=total, desc="Writing", unit=" scenes", disable=not progress, delay=2)
    every, count = tasks(index, job, finished, lengths), sum(map(len, lengths.values()))
    with bar:
        for of_shard in pool(write_shard, every, count):
            statistics.merge(of_shard)
            bar.update(sum(of_shard.scenes.values()))
    for lost in finished.glob(f"*{files.UNFINISHED}*"):  # of processes that ended early
        lost.unlink(missing_ok=True)
    tfds_format.write_description(finished, lengths, sizes)
    for split in lengths:
        digests = map(photo_digests.shortened, index.digests(split))
        photo_digests.write(finished / photo_digests.of_split(split), digests)
    return statistics
