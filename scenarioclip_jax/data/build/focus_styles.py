"""Detects how the surroundings of a focused region were treated, and whether an image is cut from its photo."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from scenarioclip_jax.data.build import focus_copy, focus_match

_SIDE = 192  # longer side of the images that are compared, in pixels
_LIKE = 0.45  # share of pixels that agree with the photo
# Least share of the photo that counts as the whole photo, if boxes are known and if they aren't.
_WHOLE, _WHOLE_ALONE = 0.6, 0.8

Rect = tuple[int, int, int, int]  # x0, y0, x1, y1


def style(photo: Image.Image, focus: Image.Image, inside: np.ndarray) -> str:
    """How the surroundings of a focused region were treated.

    Args:
      photo: The RGB photo.
      focus: RGB image of the same size.
      inside: Where the participants are, bool [H, W]; all False if unknown.
    """
    size = focus_match.reduced(photo.size, _SIDE)
    a, b = (focus_match.pixels(picture, size) for picture in (photo, focus))
    inside = focus_match.resized(inside, size)
    outside = (b.max(-1) > 8) & ~inside
    if outside.mean() < 0.05:
        return "black"
    around = b[~inside]
    if np.median(np.abs(around - np.median(around, 0))) < 4:
        return "white" if np.median(around) > 200 else "plain"
    near = np.abs(a - b).mean(-1) <= np.minimum(20, 0.25 * a.mean(-1) + 4)
    if near[outside].mean() >= _LIKE:
        return "blurred"
    slope, fit = _slope(a[~inside].mean(-1), around.mean(-1))
    return "dimmed" if fit > 0.6 and 0 < slope < 1 else "other"


def cut_from(
    photo: Image.Image,
    focus: Image.Image,
    pairs: Sequence[Sequence[Sequence[float]]],
    brightness: float,
) -> Rect | None:
    """Finds the part of the photo that an image shows, at the photo's scale or as the union of two boxes.

    Args:
      photo: The RGB photo.
      focus: The RGB image.
      pairs: Pairs of boxes, in pixels of the photo.
      brightness: 1, or less for a dark photo.

    Returns:
      Its place in pixels; None if the image shows no part of the photo.
    """
    scale = min(1.0, 2 * _SIDE / max(photo.size))
    size = [max(4, round(n * scale)) for n in photo.size]
    part = [max(4, round(n * scale)) for n in focus.size]
    if part != size and part[0] <= size[0] and part[1] <= size[1]:
        start = _place(focus_match.pixels(photo, size), focus_match.pixels(focus, part))
        x0, y0 = (round(value / scale) for value in start)
        rect = (x0, y0, min(x0 + focus.width, photo.width), min(y0 + focus.height, photo.height))
        if focus_match.shows(photo.crop(rect), focus, brightness=brightness):
            return rect
    for pair in pairs[:16]:
        rect = _around(photo, pair)
        if abs((rect[2] - rect[0]) / (rect[3] - rect[1]) / (focus.width / focus.height) - 1) > 0.1:
            continue
        scale = focus.width / (rect[2] - rect[0])
        if focus_match.shows(photo.crop(rect), focus, brightness=brightness, scale=scale):
            return rect
    return None


def is_trimmed(
    photo: Image.Image,
    focus: Image.Image,
    rect: Rect,
    pairs: Sequence[Sequence[Sequence[float]]],
    brightness: float,
) -> bool:
    """Whether a part cut from the photo is about all of it, rather than a crop to two participants.

    It is the one whose edges are nearer, by intersection over union.

    Args:
      photo: The RGB photo.
      focus: The part that was cut out, RGB.
      rect: Its place in the photo, in pixels.
      pairs: Pairs of boxes, in pixels of the photo.
      brightness: 1, or less for a dark photo.
    """
    whole = _overlap(rect, (0, 0, *photo.size))
    unions = [_overlap(rect, _around(photo, pair)) for pair in pairs]
    if whole < (_WHOLE if pairs else _WHOLE_ALONE) or whole <= max(unions, default=0):
        return False
    return focus_copy.is_copy(photo.crop(rect), focus, None, brightness)


def _around(photo: Image.Image, pair: Sequence[Sequence[float]]) -> Rect:
    """The box around two boxes, a pixel at least."""
    corners = np.array(pair)
    x0, y0 = (int(value) for value in np.maximum(corners[:, :2].min(0), 0))
    x1, y1 = (round(float(value)) for value in np.minimum(corners[:, 2:].max(0), photo.size))
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _overlap(a: Rect, b: Rect) -> float:
    """Intersection over union."""
    sides = [max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in range(2)]
    areas = [(rect[2] - rect[0]) * (rect[3] - rect[1]) for rect in (a, b)]
    shared = sides[0] * sides[1]
    return shared / max(areas[0] + areas[1] - shared, 1)


def _place(large: np.ndarray, part: np.ndarray) -> tuple[int, int]:
    """Column and row of an image, [H, W, 3], where a part fits best by least squares."""
    shape = large.shape[:2]
    weight = (part.max(-1) > 8).astype(np.float64)  # what was cut away is black

    def correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        padded = np.zeros(shape)
        padded[: b.shape[0], : b.shape[1]] = b
        found = np.fft.irfft2(np.fft.rfft2(a) * np.conj(np.fft.rfft2(padded)), shape)
        return found[: shape[0] - b.shape[0] + 1, : shape[1] - b.shape[1] + 1]

    errors = (
        correlate(large[..., c] ** 2, weight) - 2 * correlate(large[..., c], weight * part[..., c])
        for c in range(3)
    )
    error = np.asarray(sum(errors))
    row, column = np.unravel_index(np.argmin(error), error.shape)
    return int(column), int(row)


def _slope(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Slope of b over a, and the share of b's variance that it explains."""
    a, b = a - a.mean(), b - b.mean()
    if not a.any() or not b.any():
        return 0.0, 0.0
    slope = (a * b).sum() / (a * a).sum()
    return float(slope), float(slope**2 * (a * a).sum() / (b * b).sum())
