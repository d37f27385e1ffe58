"""Focused regions: the smallest form that reproduces a published focused-region image.

A focused-region image shows a photo where the participants of a relation are and black elsewhere. How the
published ones were cut isn't known, so the form is found by looking. In order of size:

    boxes   the union of the two participants' boxes: nothing is stored
    mask    any other region of the photo: the lengths of its runs (`data.masks`)
    image   no region of the photo gives that picture (a blurred or dimmed background, another crop):
            the picture itself is stored

All errors are mean absolute differences of grey levels (0-255) over the pixels that the region or the
boxes cover, so small regions are judged as strictly as large ones. JPEG noise and the ringing at a
region's border cost the same whatever region is chosen; so boxes are compared with the best region
there is, not with zero.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from scenarioclip_jax.data import masks

# Boxes are taken if they lose no more than this share of the light that the best region explains: a
# box that is a pixel off passes, a mask that leaves a corner of its box black doesn't.
BOXES_TOLERANCE = 0.06
# A region is taken if photo x region differs from the image by no more than this many grey levels.
MASK_TOLERANCE = 8.0
_BLACK = 24  # JPEG ringing around a region stays below this grey level
_AMBIGUOUS = 12  # the photo itself is about black: the pixel says nothing about the region

Box = Sequence[float]


class FocusFit(NamedTuple):
    """How a focused-region image can be stored."""

    kind: str  # "boxes", "mask", "image" or "empty" (nothing but black)
    pair: int  # index of the pair of boxes that fits best; -1: no pair was given
    mask: bytes  # `masks.encode`, of the photo's size; for kind "mask" only
    extent: tuple[int, int, int, int]  # x0, y0, x1, y1 of what is not black, in photo pixels
    error: float  # grey levels; of the chosen form, 0 for "image"


def fit_focus(photo: Image.Image, focus: Image.Image, pairs: Sequence[tuple[Box, Box]]) -> FocusFit:
    """Finds the smallest form of a focused-region image.

    Args:
      photo: RGB.
      focus: RGB, the focused-region image; of another size it is resized to the photo's if it has the
        same shape.
      pairs: candidates for the boxes of (subject, object), in photo pixels. There is more than one where
        a name occurs twice in the photo.
    """
    width, height = photo.size
    whole = (0, 0, width, height)
    if focus.size != photo.size:
        if abs(focus.width / focus.height * height / width - 1) > 0.02:
            return FocusFit("image", 0 if pairs else -1, b"", whole, 0.0)
        focus = focus.resize(photo.size, Image.Resampling.BICUBIC)
    black_cost = np.asarray(focus.convert("L"), np.int16)  # [H, W]: error if the pixel is left out
    photo_cost = np.asarray(ImageChops.difference(photo, focus).convert("L"), np.int16)
    gain = black_cost - photo_cost  # positive: the pixel belongs to the region
    lit = black_cost > _BLACK
    if lit.mean() < 2e-4:
        return FocusFit("empty", -1, b"", (0, 0, 0, 0), 0.0)
    extent = _extent(lit)

    pair = _best_pair(gain, pairs)
    boxes = np.zeros(lit.shape, bool)
    for box in pairs[pair] if pair >= 0 else ():
        boxes[_slices(box)] = True
    judged = boxes | lit
    best = np.minimum(black_cost, photo_cost)[judged].mean()
    by_boxes = np.where(boxes, photo_cost, black_cost)[judged].mean()
    tolerance = BOXES_TOLERANCE * black_cost[judged].mean()
    if pair >= 0 and best <= MASK_TOLERANCE and by_boxes - best <= tolerance:
        return FocusFit("boxes", pair, b"", extent, float(by_boxes))
    if pair >= 0 and (saved := _error_saved(photo, boxes, focus, judged)) <= tolerance:
        return FocusFit("boxes", pair, b"", extent, saved)

    mask = _region(gain, boxes)
    by_mask = float(np.where(mask, photo_cost, black_cost)[judged].mean())
    if by_mask > MASK_TOLERANCE:
        by_mask = _error_saved(photo, mask, focus, judged)
    # A region of nearly everything that isn't black anyway: the background was blurred, not cut out.
    bright = np.asarray(photo.convert("L")) > 2 * _BLACK
    if by_mask <= MASK_TOLERANCE and (mask & bright).sum() < 0.9 * bright.sum():
        return FocusFit("mask", pair, masks.encode(mask), extent, by_mask)
    return FocusFit("image", pair, b"", extent, 0.0)


def _slices(box: Box) -> tuple[slice, slice]:
    x0, y0, x1, y1 = (
        int(value) for value in box
    )  # as `photo.map_boxes` cuts them when they are read
    return slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1))


def _best_pair(gain: np.ndarray, pairs: Sequence[tuple[Box, Box]]) -> int:
    """Index of the pair whose union gathers the most gain; -1 without pairs.

    A summed-area table makes each pair O(1): a crowd of thirty people has 870 pairs.
    """
    if len(pairs) < 2:
        return len(pairs) - 1
    table = np.zeros((gain.shape[0] + 1, gain.shape[1] + 1), np.int64)
    table[1:, 1:] = gain.cumsum(0, dtype=np.int64).cumsum(1)

    def total(rows: slice, columns: slice) -> int:
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return 0
        y0, y1 = np.clip((rows.start, rows.stop), 0, gain.shape[0])
        x0, x1 = np.clip((columns.start, columns.stop), 0, gain.shape[1])
        return int(table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0])

    def union(pair: tuple[Box, Box]) -> int:
        (ay, ax), (by, bx) = _slices(pair[0]), _slices(pair[1])
        both = total(
            slice(max(ay.start, by.start), min(ay.stop, by.stop)),
            slice(max(ax.start, bx.start), min(ax.stop, bx.stop)),
        )
        return total(ay, ax) + total(by, bx) - both

    return max(range(len(pairs)), key=lambda i: union(pairs[i]))


def _region(gain: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The region that explains the image: bool [H, W]."""
    smooth = Image.fromarray(np.clip(gain, -127, 127).astype(np.int16) + 127).convert("L")
    smooth = np.asarray(smooth.filter(ImageFilter.BoxBlur(1)), np.int16) - 127
    # Where the photo is black the pixel may be in or out: with the boxes, the mask is simpler.
    region = np.where(np.abs(smooth) < _AMBIGUOUS, boxes, smooth > 0)
    return np.asarray(Image.fromarray(region).convert("L").filter(ImageFilter.MedianFilter(3))) > 0


def _error_saved(
    photo: Image.Image, region: np.ndarray, focus: Image.Image, judged: np.ndarray
) -> float:
    """Grey levels between the focused-region image and the photo cut to `region` and saved as JPEG.

    In a region of a few blocks of 8 x 8 pixels the ringing at its border is all there is; only another JPEG
    has the same.
    """
    stream = io.BytesIO()
    cut = Image.composite(photo, Image.new("RGB", photo.size), Image.fromarray(region))
    cut.save(stream, "JPEG", quality=85)
    difference = ImageChops.difference(Image.open(stream).convert("RGB"), focus)
    return float(np.asarray(difference.convert("L"))[judged].mean())


def _extent(lit: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
