"""How much room a scene needs in a batch, known without decoding its photo."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np

from scenarioclip_jax.data.global_text import longest_global_text
from scenarioclip_jax.data.packing import further
from scenarioclip_jax.data.packing.choose import FINER, name_of, shown_patches, visible_area
from scenarioclip_jax.data.photo import FittedScene, Shapes, fit_shapes
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored.scene import Scene

THREADS = 8  # reading threads


class Needs(NamedTuple):
    """What one scene needs at a level."""

    # Texts of what is visible; for the scene itself, the longest that may be drawn.
    texts: list[str]
    patches: list[int]  # tokens of each view, with class token; empty if views aren't packed
    further: Sequence[str] = ()  # further texts; of a scene, the longest that may be drawn


def needs_of(
    scene: Scene, shapes: Shapes | FittedScene, settings: DataSettings
) -> dict[str, Needs]:
    """What a scene needs, by level."""
    text = longest_global_text(scene, settings)
    captions = [each.text for each in further.captions(scene, text, settings)]
    longest = [max(captions, key=len)] if captions and text and has_room(settings, "global") else []
    found = {"global": Needs([text] if text else [], [], longest)}
    for level in FINER:
        area = visible_area(shapes, level)
        visible = np.flatnonzero(area >= max(settings.min_visible_pixels, 1e-6)).tolist()
        texts = [name_of(scene, level, i) for i in visible]
        patches = shown_patches(shapes, level, settings) if settings.patch_size else []
        found[level] = Needs(texts, [len(patches[i]) for i in visible] if patches else [])
        if level == "relation" and has_room(settings, level):
            others = [t.text for i in visible for t in further.of_relation(scene, i, settings)]
            found[level] = found[level]._replace(further=others)
    return found


def has_room(settings: DataSettings, level: str) -> bool:
    """Whether batches have room for further texts of a level."""
    return settings.levels[level].further_per_scene > 0


def measure(source, settings: DataSettings, records: Sequence[int]) -> Iterator[dict | Exception]:
    """Yields what each record of a source needs, in order, as from `needs_of`, or why it can't be read."""

    def needs(index: int) -> dict[str, Needs] | Exception:
        try:  # damaged bytes may raise anything, as in `pipeline.load_item`
            scene = source[records[index]]
            shapes = fit_shapes(scene, settings.image_size, settings.fit, settings.region_style)
            return needs_of(scene, shapes, settings)
        except Exception as error:
            return error

    # Threads hide the latency of remote storage; few scenes are read ahead, because records hold their photos.
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=4 * THREADS)
    yield from grain.MapDataset.range(len(records)).map(needs).to_iter_dataset(options)
