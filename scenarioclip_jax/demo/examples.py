"""Photos to begin with: scenes that this package draws, with the boxes of their objects."""

import io
from typing import NamedTuple

from scenarioclip_jax.data.embedded.scenes import draw_scene, make_scene

COUNT, SIDE = 5, 96  # scenes; pixels, as the demo's data set has them
_SEED = 20_511  # of no data set


class Example(NamedTuple):
    """A PNG file, and boxes in its pixels."""

    file: bytes
    boxes: list[list[int]]


def make_examples() -> list[Example]:
    """Draws the scenes."""
    found = []
    for index in range(COUNT):
        scene = make_scene(_SEED, index, SIDE)
        stream = io.BytesIO()
        draw_scene(scene, _SEED, SIDE).save(stream, "PNG")
        found.append(Example(stream.getvalue(), [list(each.box) for each in scene.objects]))
    return found
