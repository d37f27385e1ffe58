"""Batches to evaluate on: every scene of a split once, in order."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import grain

from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.corrupt import Corrupt, CorruptLog, Refused
from scenarioclip_jax.data.packing.choose import Item, evaluation_groups
from scenarioclip_jax.data.packing.fill import BatchBuilder, Labels
from scenarioclip_jax.data.pipeline import load_item
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.source import Source
from scenarioclip_jax.data.stall import StalledInputError, within
from scenarioclip_jax.data.tokens import Tokenizer


class EvaluationBatches:
    """Yields every scene, object and relation of a source exactly once, in order and in fixed shapes.

    Canvases are the evaluation views. Iterating again starts from the beginning.

    Attributes:
      settings: The settings, adapted to evaluation.
      corrupt: Corrupt records that the latest iteration met; they are left out.
      give_up: Called while waiting for a record; returning True ends the wait with StalledInputError.
    """

    def __init__(
        self,
        source: Source,
        tokenizer: Tokenizer,
        settings: DataSettings,
        indices: Sequence[int] | None = None,
    ):
        self._source, self._tokenizer = source, tokenizer
        # Evaluation embeds whole views, and embeds texts separately from images.
        levels = {
            level: dataclasses.replace(each, further_per_scene=0.0)
            for level, each in settings.levels.items()
        }
        self.settings = dataclasses.replace(
            settings, text_row_tokens=0, patch_size=0, levels=levels
        )
        self._indices = range(len(source)) if indices is None else indices
        self.give_up: Callable[[], bool] = lambda: False
        self.corrupt = CorruptLog(len(self._source), settings.max_corrupt_share)

    def __iter__(self) -> Iterator[tuple[Batch, dict[str, Labels]]]:
        settings = self.settings
        self.corrupt = CorruptLog(len(self._source), settings.max_corrupt_share)
        groups = evaluation_groups(self._items(), settings)
        while batch := list(itertools.islice(groups, settings.packing_groups)):
            builder = BatchBuilder(settings.packing_groups, settings.image_size, settings)
            for row, parts in enumerate(batch):
                builder.add(row, parts)
            yield builder.finish(self._tokenizer)

    def _items(self) -> Iterator[Item]:
        threads = self.settings.num_threads
        dataset = grain.MapDataset.range(len(self._indices)).map(self._load)
        # Few scenes are read ahead: they are large, and the accelerator is the bottleneck here.
        iterator = iter(dataset.to_iter_dataset(grain.ReadOptions(threads, 4 * threads)))
        try:
            for number in range(len(self._indices)):
                what = f"record {self._indices[number]} to evaluate on"
                item = within(
                    self.settings.stall_seconds, iterator.__next__, what, give_up=self.give_up
                )
                if isinstance(item, Refused):
                    raise item.error()
                if isinstance(item, Corrupt):
                    self.corrupt.add([item])
                else:
                    # A caption is no class: scenes without an action have none to be recognized by.
                    yield item._replace(text=item.scene.action)
        except StalledInputError:
            iterator = None  # closing it would wait for the stuck thread
            raise
        finally:
            if iterator is not None:
                iterator.close()

    def _load(self, number: int) -> Item | Corrupt | Refused:
        index = self._indices[number]
        return load_item(self._source, index, index, self.settings, canvas_size=None)
