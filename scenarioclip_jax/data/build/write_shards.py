"""Copies the scenes of finished chunks into the shards of their splits."""

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from scenarioclip_jax.data.build import tfds_format
from scenarioclip_jax.data.build.chunks import Job
from scenarioclip_jax.data.build.index import Index
from scenarioclip_jax.data.build.statistics import Statistics
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.splits import SPLITS
from scenarioclip_jax.files import full_disk_named, whole

_OPEN = 64  # chunks that are open at once

# The job, the folder, the split, the number of this shard and of all, and (chunk, row) of its scenes.
Task = tuple[Job, Path, str, int, int, np.ndarray]


def plan(index: Index, num_shards: int | None) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Returns the scenes in each shard, and the bytes of all scenes, by split; empty splits are left out."""
    lengths, sizes = {}, {}
    for split in SPLITS:
        count, size = index.size(split)
        if count:
            lengths[split] = tfds_format.shard_counts(count, size, num_shards)
            sizes[split] = size
    return lengths, sizes


def tasks(index: Index, job: Job, folder: Path, lengths: dict[str, list[int]]) -> Iterator[Task]:
    """Yields the arguments of `write_shard` for all shards."""
    for split, counts in lengths.items():
        places = index.places(split)
        for number, count in enumerate(counts):
            numbers = itertools.chain.from_iterable(itertools.islice(places, count))
            some = np.fromiter(numbers, np.int64, 2 * count).reshape(-1, 2)
            yield job, folder, split, number, len(counts), some


def write_shard(
    job: Job, folder: Path, split: str, number: int, of: int, places: np.ndarray
) -> Statistics:
    """Writes one shard; returns what its scenes hold."""
    statistics = Statistics()
    readers: OrderedDict[int, ArrayRecordReader] = OrderedDict()
    path = folder / f"{shards.NAME}-{split}.array_record-{number:05d}-of-{of:05d}"
    with whole(path) as unfinished:
        with full_disk_named(folder):
            writer = ArrayRecordWriter(str(unfinished), tfds_format.WRITER_OPTIONS)
        for chunk, row in map(np.ndarray.tolist, places):
            reader = readers.pop(chunk, None)
            if reader is None:
                reader = ArrayRecordReader(str(job.path(chunk)), options=shards.READER_OPTIONS)
            readers[chunk] = reader
            if len(readers) > _OPEN:
                readers.popitem(last=False)
            (content,) = reader.read([row])
            statistics.add(shards.decode_scene(content), split)
            with full_disk_named(folder):
                writer.write(content)
        with full_disk_named(folder):
            writer.close()
    return statistics
