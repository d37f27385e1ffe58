"""What a focused-region image is that isn't a region of its photo on black: a copy, another photo, a style."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

_SIDE = 192  # of the pictures that are compared, in pixels, the longer one
_COPY = 10.0  # gray levels between a photo and a copy of it
_LIKE = 0.45  # share of pixels that agree with the photo
_CROP = 20.0  # gray levels between a part of the photo and a picture of it


def is_copy(
    photo: Image.Image, focus: Image.Image, inside: np.ndarray | None, brightness: float = 1.0
) -> bool:
    """Whether a picture is the whole photo, perhaps scaled or compressed again, with nothing set off.

    Args:
      photo: RGB.
      focus: RGB, of the same shape.
      inside: bool [H, W] of the photo, where the participants are; None: it isn't known.
      brightness: 1, or less for a dark photo.
    """
    size = _reduced(min(photo.size, focus.size), 1024)
    a, b = (_gray(picture, size) for picture in (photo, focus))
    if _colors(photo, focus, size).mean() > max(_COPY * brightness, 1.5):
        return False
    # Blurred surroundings lose their detail, those of a copy lose no more than the rest.
    detail_a, detail_b = _detail(a), _detail(b)
    if inside is None:
        return detail_b.mean() > 0.6 * detail_a.mean()
    inside = _resized(inside, size)
    if inside.all() or not inside.any():
        return True
    kept = [
        (detail_b[part].mean() + 0.3) / (detail_a[part].mean() + 0.3) for part in (inside, ~inside)
    ]
    lost = [np.abs(a - b)[part].mean() for part in (inside, ~inside)]
    return bool(0.6 < kept[0] / kept[1] < 1.7 and max(lost) < 3 * min(lost) + 3)


def style(photo: Image.Image, focus: Image.Image, inside: np.ndarray) -> str:
    """How the surroundings of a focused region were treated; empty: the picture doesn't show this photo.

    Args:
      photo: RGB.
      focus: RGB, of the same size.
      inside: bool [H, W], where the participants are; nowhere if it isn't known.
    """
    size = _reduced(photo.size, _SIDE)
    a, b = (
        np.asarray(picture.resize(size, Image.Resampling.BOX), np.float64)
        for picture in (photo, focus)
    )
    inside = _resized(inside, size)
    shown = b.max(-1) > 8
    if min(np.ptp(each, axis=-1).mean() for each in (a, b)) < 2:  # one is gray, the other colored
        a, b = (each @ [[0.299], [0.587], [0.114]] for each in (a, b))
    near = np.abs(a - b).mean(-1) <= np.minimum(20, 0.25 * a.mean(-1) + 4)

    def agrees(part: np.ndarray) -> bool:
        return part.sum() >= 4 and near[part].mean() >= _LIKE

    outside = shown & ~inside
    if not (agrees(shown & inside) or agrees(outside) or _tonal(a, b)):
        return ""
    if outside.mean() < 0.05:
        return "black"
    around = b[~inside]
    if np.median(np.abs(around - np.median(around, 0))) < 4:
        return "white" if np.median(around) > 200 else "plain"
    if agrees(outside):
        return "blurred"
    slope, fit = _slope(a[~inside].mean(-1), around.mean(-1))
    return "dimmed" if fit > 0.6 and 0 < slope < 1 else "other"


def is_part(
    photo: Image.Image, focus: Image.Image, boxes: Sequence[Sequence[Sequence[float]]]
) -> bool:
    """Whether a picture of another shape is a part of the photo: at the photo's scale, or the boxes' union.

    Args:
      photo: RGB.
      focus: RGB.
      boxes: pairs of boxes, in pixels of the photo.
    """
    scale = min(1.0, 2 * _SIDE / max(photo.size))
    size = [max(4, round(n * scale)) for n in photo.size]
    part = [max(4, round(n * scale)) for n in focus.size]
    large = np.asarray(photo.resize(size, Image.Resampling.BOX), np.float64)
    if part[0] <= size[0] and part[1] <= size[1]:
        if _found(large, np.asarray(focus.resize(part, Image.Resampling.BOX), np.float64)):
            return True
    for pair in boxes[:16]:
        corners = np.array(pair)
        x0, y0 = np.maximum(corners[:, :2].min(0), 0)
        x1, y1 = corners[:, 2:].max(0)
        if abs((x1 - x0) / max(y1 - y0, 1) / (focus.width / focus.height) - 1) > 0.1:
            continue
        cut = photo.crop((int(x0), int(y0), round(x1), round(y1))).resize((64, 64))
        a, b = (np.asarray(each, np.float64) for each in (cut, focus.resize((64, 64))))
        shown = b.max(-1) > 8
        if shown.any() and np.abs(a - b).mean(-1)[shown].mean() < _CROP:
            return True
    return False


def _found(large: np.ndarray, part: np.ndarray) -> bool:
    """Whether a part is in a picture, [H, W, 3] both: the least mean square error over all places."""
    shape = large.shape[:2]
    weight = (part.max(-1) > 8).astype(np.float64)  # what was cut away is black

    def correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        padded = np.zeros(shape)
        padded[: b.shape[0], : b.shape[1]] = b
        found = np.fft.irfft2(np.fft.rfft2(a) * np.conj(np.fft.rfft2(padded)), shape)
        return found[: shape[0] - b.shape[0] + 1, : shape[1] - b.shape[1] + 1]

    error = sum(
        correlate(large[..., c] ** 2, weight)
        - 2 * correlate(large[..., c], weight * part[..., c])
        + (weight * part[..., c] ** 2).sum()
        for c in range(3)
    )
    return weight.sum() >= 16 and error.min() / (3 * weight.sum()) < _CROP**2


def _tonal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a picture is the photo in other tones, channel by channel."""
    return all(_slope(a[..., c].ravel(), b[..., c].ravel())[1] > 0.98 for c in range(3))


def _slope(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Slope of b over a, and the share of b's variance that it explains."""
    a, b = a - a.mean(), b - b.mean()
    if not a.any() or not b.any():
        return 0.0, 0.0
    slope = (a * b).sum() / (a * a).sum()
    return float(slope), float(slope**2 * (a * a).sum() / (b * b).sum())


def _detail(gray: np.ndarray) -> np.ndarray:
    smooth = Image.fromarray(gray.astype(np.uint8)).filter(ImageFilter.BoxBlur(2))
    return np.abs(gray - np.asarray(smooth, np.float64))


def _reduced(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _gray(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(picture.convert("L").resize(size, Image.Resampling.BOX), np.float64)


def _colors(photo: Image.Image, focus: Image.Image, size: tuple[int, int]) -> np.ndarray:
    a, b = (np.asarray(p.resize(size, Image.Resampling.BOX), np.float64) for p in (photo, focus))
    return np.abs(a - b).mean(-1)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
