"""Shares the embedding of a split among processes: each reads a part of the scenes, all get every embedding."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.evaluation_batches import EvaluationBatches
from scenarioclip_jax.data.packing.fill import BatchBuilder, Labels
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.source import Source
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.parallel.distributed import values_of_all
from scenarioclip_jax.parallel.mesh import batch_sharding


class Share(NamedTuple):
    """This process's part of the groups of a batch, and so of the scenes of a split."""

    part: int
    parts: int
    groups: int  # groups in a global batch
    owners: tuple[int, ...]  # for each part, a process that has it

    @property
    def local(self) -> slice:
        """This process's groups in a global batch."""
        each = self.groups // self.parts
        return slice(self.part * each, (self.part + 1) * each)

    def of(self, count: int) -> range:
        """This process's part of `count` scenes: a contiguous range, so concatenated parts are in order."""
        edges = np.linspace(0, count, self.parts + 1).round().astype(int)
        return range(edges[self.part], edges[self.part + 1])


def share_of(mesh: Mesh, groups: int) -> Share:
    """How the processes of a mesh share batches of `groups` groups.

    Processes that hold the same groups have the same part. If the groups of the processes aren't contiguous
    blocks, every process gets everything.
    """
    held: dict[int, set[int]] = {}
    for device, (where,) in batch_sharding(mesh).devices_indices_map((groups,)).items():
        held.setdefault(device.process_index, set()).update(range(groups)[where])
    blocks = sorted({tuple(sorted(block)) for block in held.values()})
    if sorted(sum(blocks, ())) != list(range(groups)) or len({len(b) for b in blocks}) > 1:
        return Share(0, 1, groups, (0,))
    if any(block != tuple(range(block[0], block[-1] + 1)) for block in blocks):
        return Share(0, 1, groups, (0,))
    part = {process: blocks.index(tuple(sorted(block))) for process, block in held.items()}
    owners = tuple(min(p for p in part if part[p] == i) for i in range(len(blocks)))
    return Share(part[jax.process_index()], len(blocks), groups, owners)


class SharedBatches:
    """`EvaluationBatches` of this process's part of the scenes, equally many in every process.

    Attributes:
      share: This process's part.
      give_up: Called while waiting for a record; returning True ends the wait with StalledInputError.
    """

    def __init__(
        self,
        share: Share,
        source: Source,
        tokenizer: Tokenizer,
        settings: DataSettings,
        indices: Sequence[int],
    ):
        self.share = share
        local = dataclasses.replace(
            settings,
            packing_groups=settings.packing_groups // share.parts,
            batch_size=settings.batch_size // share.parts,
        )
        own = [indices[i] for i in share.of(len(indices))]
        self._batches: EvaluationBatches = EvaluationBatches(source, tokenizer, local, own)
        self._tokenizer, self._settings = tokenizer, self._batches.settings

    @property
    def give_up(self):
        return self._batches.give_up

    @give_up.setter
    def give_up(self, asked) -> None:
        self._batches.give_up = asked

    def __iter__(self) -> Iterator[tuple[Batch, dict[str, Labels]]]:
        batches = iter(self._batches)
        while True:
            batch = next(batches, None)
            if not any(values_of_all(batch is not None, "there may be another batch to evaluate")):
                return
            yield batch or self._empty()

    def _empty(self) -> tuple[Batch, dict[str, Labels]]:
        settings = self._settings
        builder = BatchBuilder(settings.packing_groups, settings.image_size, settings)
        return builder.finish(self._tokenizer)


def exchange_rows(share: Share, rows: np.ndarray) -> np.ndarray:
    """Returns the concatenated rows of all parts; each part is [N, D] with any N."""
    counts = values_of_all(len(rows), "the rows are counted")
    padded = np.zeros((max(counts), rows.shape[1]), rows.dtype)
    padded[: len(rows)] = rows
    everybody = multihost_utils.process_allgather(padded)
    return np.concatenate([everybody[owner][: counts[owner]] for owner in share.owners])


def exchange_texts(share: Share, texts: Sequence[str]) -> list[str]:
    """Returns the concatenated texts of all parts."""
    # JSON escapes newlines and everything outside ASCII, so newlines occur only between the parts.
    content = np.frombuffer(json.dumps(list(texts)).encode() + b"\n", np.uint8)
    joined = exchange_rows(share, content[:, None]).tobytes()
    return [text for part in joined.split(b"\n")[:-1] for text in json.loads(part)]
