"""What a scene needs of a batch's room, known without decoding its photo."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np

from scenarioclip_jax.data.packing.choose import FINER, shown_patches, text_of, visible_area
from scenarioclip_jax.data.photo import FittedScene, Shapes, fit_shapes
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored.scene import Scene

THREADS = 8  # that read


class Needs(NamedTuple):
    """What one scene needs at a level."""

    texts: list[str]  # of what shows; of the scene itself its action
    patches: list[int]  # of each of its views, class token included; empty where nothing is packed


def needs_of(
    scene: Scene, shapes: Shapes | FittedScene, settings: DataSettings
) -> dict[str, Needs]:
    """By level."""
    found = {"global": Needs([scene.action], [])}
    for level in FINER:
        area = visible_area(shapes, level)
        visible = np.flatnonzero(area >= max(settings.min_visible_pixels, 1e-6)).tolist()
        texts = [text_of(scene, level, i) for i in visible]
        patches = shown_patches(shapes, level, settings) if settings.patch_size else []
        found[level] = Needs(texts, [len(patches[i]) for i in visible] if patches else [])
    return found


def measure(source, settings: DataSettings, records: Sequence[int]) -> Iterator[dict | Exception]:
    """What records of a source need, in order, as of `needs_of`; or why one can't be read."""

    def needs(index: int) -> dict[str, Needs] | Exception:
        try:  # anything may be raised by damaged bytes, as in `pipeline.load_item`
            scene = source[records[index]]
            return needs_of(scene, fit_shapes(scene, settings.image_size, settings.fit), settings)
        except Exception as error:
            return error

    # Threads, for what is far away; few scenes ahead, for records have their photos.
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=4 * THREADS)
    yield from grain.MapDataset.range(len(records)).map(needs).to_iter_dataset(options)
