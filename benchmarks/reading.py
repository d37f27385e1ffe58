"""Reading as in training, of few scenes over and over: what benchmarks of the input pipeline share."""

from pathlib import Path

from benchmarks import scenes
from configs.pretrain import get_config
from scenarioclip_jax.data.pipeline import TrainingBatches
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.train.config import data_settings

OBJECTS, RELATIONS = 5, 4  # of each scene
BATCH = 16  # scenes


class Repeated:
    """A source over and over, as long as a real one: shuffling the indices of a tiny one takes long."""

    def __init__(self, source: shards.SceneSource, length: int = 100_000):
        self._source, self._length = source, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int):
        return self._source[index % len(self._source)]


def settings_for(folder: Path, workers: int = 0) -> DataSettings:
    """Settings of `vitb32` for shards in `folder`, with `workers` reading processes."""
    config = get_config("vitb32")
    config.data.update(batch_size=BATCH, packing_groups=1, num_workers=workers)
    config.data.levels.object.slots_per_scene = OBJECTS
    config.data.levels.relation.slots_per_scene = RELATIONS
    summary = shards.load_summary(folder)
    return data_settings(config, focus_images=summary["has_focus_images"])


def batches_of(source: shards.SceneSource, settings: DataSettings) -> TrainingBatches:
    tokenizer = scenes.word_tokenizer()
    return TrainingBatches(Repeated(source), tokenizer, settings, range(settings.packing_groups))
