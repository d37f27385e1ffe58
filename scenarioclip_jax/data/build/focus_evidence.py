"""Finds where a focused-region image differs from its photo, however its surroundings were treated."""

import numpy as np
from PIL import Image

from scenarioclip_jax.data import images

SIDE = 160  # longer side of the images that are compared, in pixels
_TELLING = 0.45  # a region that explains so much of the differences is the one that was cut


def small(content: bytes, levels: tuple[float, float] | None = None) -> Image.Image:
    """Opens an image, RGB and upright, at about `SIDE` pixels; raises OSError if it can't be opened."""
    picture = images.open_file(content, images.MAX_PIXELS)
    picture.draft("RGB", (SIDE, SIDE))  # (a JPEG is decoded smaller)
    found = images.open_image(picture, backdrop="black", levels=levels).picture
    found.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return found


def differences(photo: Image.Image, focus: Image.Image) -> np.ndarray | None:
    """Mean absolute difference of two RGB images, float [H, W], about `SIDE` pixels; None if shapes differ."""
    if abs(focus.width / focus.height * photo.height / photo.width - 1) > 0.03:
        return None
    scale = min(1.0, SIDE / max(photo.size))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    a, b = (
        np.asarray(picture.resize(size, Image.Resampling.BOX), np.float64)
        for picture in (photo, focus)
    )
    return np.abs(a - b).mean(-1)


def better_turned(photo: Image.Image, focus: Image.Image, turned: Image.Image) -> bool:
    """Whether `turned`, rather than `focus`, shows parts of the photo where it isn't black."""

    def error(picture: Image.Image) -> float:
        difference = differences(photo, picture)
        if difference is None:
            return np.inf
        gray = picture.convert("L").resize(difference.shape[::-1], Image.Resampling.BOX)
        return float(np.minimum(difference, np.asarray(gray)).mean())

    return error(turned) < 0.8 * error(focus)


def agreement(changed: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> float:
    """How well two boxes explain where images differ, from 0 (not at all) to 1.

    Either the outside was changed (made black, white, dim, blurred) or the inside (tinted, dimmed), so this is
    the absolute correlation of the differences with the union of the boxes.

    Args:
      changed: Result of `differences`.
      boxes: Two boxes [2, 4] in pixels of the photo: x0, y0, x1, y1.
      size: Width and height of the photo.
    """
    height, width = changed.shape
    inside = np.zeros(changed.shape, bool)
    for box in boxes:
        if not np.isfinite(box).all():
            return 0.0
        x0, x1 = np.clip(np.round(box[[0, 2]] * width / size[0]), 0, width).astype(int)
        y0, y1 = np.clip(np.round(box[[1, 3]] * height / size[1]), 0, height).astype(int)
        inside[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = True
    if inside.all() or not inside.any() or changed.std() < 0.5:
        return 0.0
    return float(abs(np.corrcoef(changed.ravel(), inside.ravel())[0, 1]))


def telling(agreements: np.ndarray) -> np.ndarray | None:
    """Which of several readings a focused region supports, bool; None if it says nothing."""
    best = agreements.max(initial=0)
    return agreements >= best - 0.15 if best >= _TELLING else None
