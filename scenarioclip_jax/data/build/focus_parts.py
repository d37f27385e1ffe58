"""Tells which participants of a relation a focused region leaves out: it may be another relation's."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from scenarioclip_jax.data.build.focus import Box, FocusFit
from scenarioclip_jax.data.stored import masks

# Share of a participant's box that a region shows: even of a leash or a pole it is more.
_LEAST = 0.02
_NARROW = 6  # pixels: a box of a smaller side may lie beside what it is of
_BESIDE = 0.5  # share of a region that lies outside of the rectangle around both participants
_SAME = 32  # gray levels: JPEG and resizing change the photo by less
_CUT = ("white", "plain", "black")  # styles in which the surroundings are gone


def doubt(
    fit: FocusFit,
    photo: Image.Image,
    focus: Image.Image,
    names: Sequence[str],
    boxes: Sequence[Box],
) -> str:
    """Says what a focused region doesn't show of its participants, or shows besides them; empty if it fits.

    Only a mask, or an image whose surroundings are gone, can be another relation's by what it shows.

    Args:
      fit: How the focused-region image is stored.
      photo: The RGB photo.
      focus: The focused-region image, RGB.
      names: Names of subject and object.
      boxes: Their boxes, in photo pixels.
    """
    if fit.kind == "mask":
        region = masks.decode(fit.mask)
    elif fit.kind == "image" and fit.style in _CUT:
        same_size = focus.resize(photo.size, Image.Resampling.BICUBIC)
        a, b = (np.asarray(each.convert("L"), np.int16) for each in (photo, same_size))
        region = np.abs(a - b) <= _SAME
    else:
        return ""
    missing = []
    for name, box in zip(names, boxes, strict=True):
        part = _within(region, box)
        if min(part.shape) >= _NARROW and part.mean() < _LEAST:
            missing.append(f"{name!r} at [{', '.join(f'{value:g}' for value in box)}]")
    if missing:
        return f"shows a part of the photo, but nothing of {' and '.join(missing)}"
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = boxes
    around = min(ax0, bx0), min(ay0, by0), max(ax1, bx1), max(ay1, by1)
    if fit.kind == "mask" and _within(region, around).sum() < (1 - _BESIDE) * region.sum():
        return f"shows more beside {names[0]!r} and {names[1]!r} than of them"
    return ""


def _within(region: np.ndarray, box: Box) -> np.ndarray:
    x0, y0, x1, y1 = box
    return region[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))]
