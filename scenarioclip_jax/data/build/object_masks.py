"""Brings the masks of objects into pixels of the upright photo, and notices those that can't be right."""

import numpy as np
from PIL import Image

from scenarioclip_jax.data import images
from scenarioclip_jax.data.build import coco_masks
from scenarioclip_jax.data.build.participants import overlap
from scenarioclip_jax.data.build.photo_sizes import annotated_size
from scenarioclip_jax.data.build.records import Box, MaskRecord

_AGREES = 0.3  # least intersection over union of a box and its mask's extent


def fit_mask(
    mask: MaskRecord, box: Box, size: tuple[int, int], orientation: int, *, stored: bool
) -> np.ndarray:
    """Returns a mask as bool [height, width] of the upright photo.

    Args:
      mask: The mask as written.
      box: The object's box, in pixels of the upright photo.
      size: Width and height of that.
      orientation: The photo's EXIF orientation.
      stored: Whether boxes are in pixels of the photo as stored.

    Raises:
      ValueError: The mask is damaged, has another shape than the photo, or doesn't belong to the box.
    """
    given = (mask.width, mask.height)
    annotated = annotated_size(given, size, orientation)
    if annotated is None:
        raise ValueError(
            f"a mask of {mask.width} x {mask.height} pixels doesn't have the shape of the photo, "
            f"{size[0]} x {size[1]}"
        )
    pixels = coco_masks.decode(mask)
    if orientation != 1 and (stored if annotated.stored is None else annotated.stored):
        turned = Image.fromarray(pixels.astype(np.uint8)).transpose(images.TURNS[orientation])
        pixels = np.asarray(turned).astype(bool)
    if pixels.shape != size[::-1]:
        rows, columns = (
            ((np.arange(new) + 0.5) * (old / new)).astype(int)
            for new, old in zip(size[::-1], pixels.shape, strict=True)
        )
        pixels = pixels[rows[:, None], columns]
    _check(pixels, box)
    return pixels


def _check(pixels: np.ndarray, box: Box) -> None:
    across, down = np.flatnonzero(pixels.any(0)), np.flatnonzero(pixels.any(1))
    if not len(across):
        raise ValueError("the mask is empty")
    extent = (float(across[0]), float(down[0]), float(across[-1] + 1), float(down[-1] + 1))
    if overlap(extent, box) < _AGREES:
        text = ["[" + ", ".join(f"{value:g}" for value in each) + "]" for each in (extent, box)]
        raise ValueError(f"the mask shows {text[0]}, which isn't the box {text[1]}")
