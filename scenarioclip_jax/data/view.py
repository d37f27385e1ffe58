"""A photo's square view: where the photo lies in it, what it shows of boxes and regions.

NumPy and Pillow only: folders for PyTorch carry a copy of this module.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from scenarioclip_jax.data.region_styles import WITHOUT_BLACK, dimming, surroundings


class View(NamedTuple):
    """The position of a photo in its square view: view = photo * scale + offset, in pixels, for x and y."""

    size: int  # P
    scale: tuple[float, float]
    offset: tuple[int, int]


def photo_view(width: int, height: int, size: int, fit: str) -> View:
    """The evaluation view of a photo of `width` x `height` pixels.

    `centre_crop` follows torchvision's Resize and CenterCrop: the short side becomes `size`, the long side
    int(size * long / short), and the crop's offset is half the excess, rounded half to even. `contain` makes
    the long side `size` and leaves black bars, so that nothing near a border is lost. `squash` makes both sides
    `size`, whatever the photo's shape.
    """
    if fit == "squash":
        return View(size, (size / width, size / height), (0, 0))
    short, long = min(width, height), max(width, height)
    if fit == "contain":
        other = max(1, round(size * short / long))
        resized = (size, other) if width >= height else (other, size)
    else:
        other = int(size * long / short)
        resized = (other, size) if width >= height else (size, other)
    return View(
        size=size,
        scale=(resized[0] / width, resized[1] / height),
        offset=(-round((resized[0] - size) / 2), -round((resized[1] - size) / 2)),
    )


def view_canvas(image: Image.Image, view: View) -> np.ndarray:
    """The photo's P x P view, uint8 [P, P, 3].

    Pillow's `box` resamples only what the crop keeps, with the same weights as a resize of the whole photo, so
    a panorama never becomes an enormous intermediate image.
    """
    width, height = image.size
    left, right, start_x, end_x = span(width, view, 0)
    top, bottom, start_y, end_y = span(height, view, 1)
    box = (start_x, start_y, end_x, end_y)
    pixels = np.asarray(image.resize((right - left, bottom - top), Image.Resampling.BICUBIC, box))
    if pixels.shape[:2] == (view.size, view.size):
        return pixels
    canvas = np.zeros((view.size, view.size, 3), np.uint8)
    canvas[top:bottom, left:right] = pixels
    return canvas


def span(length: int, view: View, axis: int) -> tuple[int, int, float, float]:
    """View pixels [low, high) that show the photo along an axis, and the photo pixels they come from."""
    scale, offset = view.scale[axis], view.offset[axis]
    low, high = max(0, offset), min(view.size, round(length * scale) + offset)
    start, end = (low - offset) / scale, (high - offset) / scale
    return low, high, max(0.0, start), min(float(length), end)


def map_boxes(boxes: np.ndarray, view: View) -> np.ndarray:
    """Maps boxes [n, 4] from photo pixels to view pixels, clipped to the view, float32.

    Edges are first truncated to whole photo pixels, as in the reference when it copies a box onto a black
    canvas; a box thinner than a pixel keeps one pixel.
    """
    whole = np.floor(np.asarray(boxes, np.float64).reshape(-1, 4))
    whole[:, 2:] = np.maximum(whole[:, 2:], whole[:, :2] + 1)
    mapped = whole * (view.scale * 2) + np.array(view.offset * 2)
    return np.clip(mapped, 0, view.size).astype(np.float32)


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes [n, 4] in square pixels; 0 if nothing is left."""
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)


def union_region(boxes: np.ndarray, size: int) -> np.ndarray:
    """bool [size, size]: pixels whose center lies in one of the boxes [n, 4] (view pixels)."""
    region = np.zeros((size, size), bool)
    for x0, y0, x1, y1 in np.ceil(boxes - 0.5).astype(int).tolist():
        region[y0:y1, x0:x1] = True
    return region


def show_region(
    canvas: np.ndarray,
    region: np.ndarray,
    boxes: np.ndarray,
    view: View,
    photo_size: tuple[int, int],
    style: str,
) -> np.ndarray:
    """A focused region made on the host, uint8 [P, P, 3], as `data.device.views` makes it.

    Args:
      canvas: The photo's view, uint8 [P, P, 3].
      region: Where the view shows the participants, bool [P, P].
      boxes: The participants' boxes in photo pixels, [n, 4]; `published` uses the first and the last.
      view: Where the photo lies in its view.
      photo_size: Width and height of the photo, pixels.
      style: One of `data.region_styles.STYLES`; `stored` is black outside.
    """
    if style not in WITHOUT_BLACK:
        return np.where(region[:, :, None], canvas, np.uint8(0))
    photo, size = canvas.astype(np.float32) / 255, view.size
    resized, offset = np.array(photo_size) * view.scale, np.array(view.offset)
    window = np.concatenate([-offset / resized, (size - offset) / resized]).astype(np.float32)
    pixels = np.array(photo_size, np.float32)
    around = surroundings(np, photo, window, pixels, style)
    if style == "published":
        ends = np.asarray(boxes, np.float32)[[0, -1]]
        centers = ((ends[:, :2] + ends[:, 2:]) / 2 * view.scale + offset).ravel()
        photo = photo * dimming(np, centers, window, pixels, size)[..., None]
    shown = np.where(region[:, :, None], photo, around)
    return np.round(shown * 255).astype(np.uint8)
