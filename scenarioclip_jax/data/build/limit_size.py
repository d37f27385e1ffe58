"""Makes the photo of a scene smaller, and its boxes, masks and focused-region images with it."""

import io

import numpy as np
from PIL import Image

from scenarioclip_jax.data.build import photo_files
from scenarioclip_jax.data.image_files import open_encoded
from scenarioclip_jax.data.photo import rgb
from scenarioclip_jax.data.stored import masks
from scenarioclip_jax.data.stored.scene import Relation, Scene


def limit_size(scene: Scene, picture: Image.Image, max_side: int | None) -> Scene:
    """Returns a scene whose photo has sides of at most `max_side` pixels; unchanged if it has already.

    Args:
      scene: The scene.
      picture: Its photo, RGB.
      max_side: Longest side in pixels; None for any.
    """
    longest = max(scene.width, scene.height)
    if max_side is None or longest <= max_side:
        return scene
    width, height = (
        max(1, round(side * max_side / longest)) for side in (scene.width, scene.height)
    )
    scale = np.array([width / scene.width, height / scene.height] * 2, np.float32)

    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(int)
        for new, old in ((height, scene.height), (width, scene.width))
    )
    grid = masks.Grid((scene.width, scene.height), rows, columns)

    def smaller(mask: bytes) -> bytes:
        return masks.encode(masks.sample(mask, grid)) if mask else mask

    def relation(of: Relation) -> Relation:
        image = of.image
        if image:
            shown = rgb(open_encoded(image))  # may be cut out of the photo, or of another size
            own = [max(1, round(side * max_side / longest)) for side in shown.size]
            image = _encoded(shown, (own[0], own[1]), image)
        return of._replace(boxes=of.boxes * scale, mask=smaller(of.mask), image=image)

    return scene._replace(
        photo=_encoded(picture, (width, height), scene.photo),
        width=width,
        height=height,
        object_boxes=scene.object_boxes * scale,
        object_masks=[smaller(mask) for mask in scene.object_masks],
        relations=[relation(each) for each in scene.relations],
    )


def _encoded(picture: Image.Image, size: tuple[int, int], like: bytes) -> bytes:
    """The picture in another size, in the format of an encoded one."""
    format = Image.open(io.BytesIO(like)).format or "JPEG"
    return photo_files.encode(picture.resize(size, Image.Resampling.LANCZOS), format)
