"""Small scenes made on the spot, for tests of the input pipeline."""

import dataclasses
import io

import numpy as np
from PIL import Image

from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored.scene import Relation, Scene

SLOTS = {"global": 1, "object": 2, "relation": 1}  # per scene
SETTINGS = DataSettings(
    batch_size=8,
    packing_groups=4,
    image_size=32,
    canvas_size=40,
    levels={level: {"text_length": 10, "slots_per_scene": n} for level, n in SLOTS.items()},
    min_visible_pixels=1,
)


def resized(
    settings: DataSettings,
    *,
    objects: float | None = None,
    relations: float | None = None,
    tokens: tuple[float, float, float] | None = None,
    patches: tuple[float, float] | None = None,
    **others,
) -> DataSettings:
    """Settings with other sizes.

    Args:
      objects, relations: Slots per scene.
      tokens: Tokens per scene of actions, names and triplets.
      patches: Visible patches per scene of objects and relations.
      others: Fields of `DataSettings`.
    """
    changes: dict[str, dict] = {level: {} for level in settings.levels}
    for level, slots in (("object", objects), ("relation", relations)):
        if slots is not None:
            changes[level]["slots_per_scene"] = slots
    for level, count in zip(settings.levels, tokens or (), strict=False):
        changes[level]["tokens_per_scene"] = count
    for level, count in zip(("object", "relation"), patches or (), strict=False):
        changes[level]["patches_per_scene"] = count
    settings = dataclasses.replace(settings, **others)
    for level, change in changes.items():
        settings = settings.with_level(level, **change)
    return settings


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth random colors."""
    colors = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colors).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, form: str = "PNG") -> bytes:
    """A picture as bytes."""
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def fake_scene(
    number: int,
    width: int = 48,
    height: int = 36,
    objects: int = 3,
    relations: int = 2,
    form: str = "JPEG",
) -> Scene:
    """A scene with boxes inside the center square; every text names the scene."""
    draw = np.random.default_rng(number)
    low = [width / 2 - min(width, height) * 0.4, height / 2 - min(width, height) * 0.4]
    corners = low + draw.random((objects, 2)) * min(width, height) * 0.4
    boxes = np.concatenate([corners, corners + min(width, height) * 0.35], axis=1)
    pair = np.array([[low[0], low[1], low[0] + 8, low[1] + 8]] * 2, np.float32)
    return Scene(
        id=f"scene{number}",
        photo=encode(picture(width, height, number), form),
        width=width,
        height=height,
        action=f"action {number}",
        captions=[],
        object_names=[f"thing {number} {i}" for i in range(objects)],
        object_boxes=boxes.astype(np.float32),
        relations=[
            Relation((f"one {number}", "on", f"other {i}"), pair, b"", b"", [("a", "not", "b")])
            for i in range(relations)
        ],
    )


def ragged_scenes(count: int) -> list[Scene]:
    """Scenes with 0 to 4 objects and 0 to 2 relations."""
    return [fake_scene(i, objects=i % 5, relations=i % 3) for i in range(count)]
