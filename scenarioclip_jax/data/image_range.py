"""The range of images with more than 8 bits: which stored values are black and white.

One rule finds it for both gray and color, and for alpha from its own values:

1. If the file declares a range, that is used: TIFF's sample range or bits per sample, PNG's significant bits;
   unless there are larger values.
2. Otherwise black is 0 and white is 2^n - 1, where n is the smallest whole number of bits, at least 8, that
   holds the largest value. Floats up to 1 (or a little more: resampling overshoots) range from 0 to 1, and
   floats up to 32 from 0 to the largest.
3. If there are values well below zero, black is the smallest and white the largest value.
4. Hot and dead pixels don't count as largest or smallest: those that are more than four times as far from zero
   as all others, if they are at most one in 100,000 (and at least one); or at most one in 1,000 that lie apart
   from each other, as a sensor's do and the parts of a bright thing don't. They become white or black.

This brightens an image that is meant to be dark, with nothing above half of its range, unless its file declares
the range; otherwise a file with 12 bits in 16 could not be shown.

This module needs only NumPy, because models that are exported for PyTorch carry a copy.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

Levels = tuple[float, float]  # the values that are black and white

FULL: Levels = (0.0, 65535.0)
_HOT, _HOT_APART = 100_000, 1_000  # pixels per hot one, wherever they lie or if they lie apart
_FAR, _FEWEST = 4, 1000  # times farther; smaller images have none
_APART = 0.75  # the share of hot pixels without another one beside them
BITS, SAMPLE_FORMAT = 258, 339  # TIFF's tags
_RANGES = ((340, 341), (280, 281))  # SMinSampleValue and SMaxSampleValue, and similar tags


def find_levels(
    values: np.ndarray,
    tags: Mapping[int, Any] | None = None,
    content: bytes | None = None,
    *,
    floats: bool = False,
    alpha: bool = False,
) -> Levels:
    """Finds the range of some values by the rule above; NaN and infinity don't count.

    Args:
      values: Integers or floats [H, W]; for colors, the largest channel.
      tags: Tags of the TIFF that they come from.
      content: The PNG that they come from.
      floats: Whether they were stored as floats.
      alpha: Whether they are the alpha channel.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).any():
        return 0.0, 1.0
    low, high = extremes(values)
    declared = None if alpha and not content else _declared(tags or {}, content, high, alpha)
    if declared:
        return declared
    if low < 0 and -low > 0.05 * high:
        return low, max(high, low + 1.0)
    if floats and high <= 1.5:
        return 0.0, 1.0
    if floats and high < 32:  # neither 0-1 nor an 8-bit image that shows anything
        return 0.0, high
    return 0.0, 2.0 ** max(8, int(high).bit_length()) - 1


def extremes(values: np.ndarray) -> Levels:
    """The smallest and the largest finite value of an image [H, W], without hot and dead pixels."""
    counted = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    chosen = values[counted]
    low, high = float(chosen.min()), float(chosen.max())
    if chosen.size < _FEWEST:
        return low, high
    hot = np.zeros(values.shape, bool)
    while (far := max(high, -low)) > 0:
        hot |= counted & ((values > far / _FAR) | (values < -far / _FAR))
        others = values[counted & ~hot]
        if not _are_hot(hot, chosen.size) or not others.any():
            break
        low, high = float(others.min()), float(others.max())
    return low, high


def _are_hot(far: np.ndarray, pixels: int) -> bool:
    """Whether the pixels of a mask [H, W], which are much brighter than the others, are a sensor's hot ones."""
    count = int(far.sum())
    if count <= max(1, pixels // _HOT):
        return True
    if far.ndim != 2 or count > pixels // _HOT_APART:
        return False
    rows, columns = np.nonzero(far)
    around = np.pad(far, 1)
    beside = sum(
        around[rows + down, columns + right].astype(int)
        for down in range(3)
        for right in range(3)
        if (down, right) != (1, 1)
    )
    return bool(np.mean(beside == 0) >= _APART)


def to_eight_bits(values: np.ndarray, levels: Levels) -> np.ndarray:
    """Converts values to uint8, clipped at black and white; NaN becomes black."""
    black, white = levels
    values = np.nan_to_num(values.astype(np.float32), nan=black, posinf=white, neginf=black)
    return np.rint(np.clip((values - black) * (255 / (white - black)), 0, 255)).astype(np.uint8)


def first(tags: Mapping[int, Any], tag: int) -> Any:
    """The first value of a TIFF tag; None if the tag is missing."""
    value = tags.get(tag)
    return value[0] if isinstance(value, tuple) and value else value


def _declared(
    tags: Mapping[int, Any], content: bytes | None, high: float, alpha: bool
) -> Levels | None:
    """The values that the file itself declares as black and white."""

    def number(tag: int) -> float | None:
        value = first(tags, tag)
        return None if value is None or isinstance(value, tuple | str | bytes) else float(value)

    for least, most in _RANGES:
        black, white = number(least) or 0.0, number(most)
        if white is not None and white > black and np.isfinite([black, white]).all():
            return black, white
    bits = number(BITS)
    if bits and 8 < bits < 16 and high < 2**bits:
        return 0.0, 2**bits - 1.0
    if content and content.startswith(b"\x89PNG"):
        # PNG samples should fill their range, but some programs write 12 bits unscaled and declare that here.
        place = content.find(b"sBIT", 0, content.find(b"IDAT"))
        if place > 0:
            count = int.from_bytes(content[place - 4 : place])
            bits = content[place + 3 + count] if alpha else content[place + 4]
            if 0 < bits <= 16:
                return 0.0, 2.0 ** (bits if high < 2**bits else 16) - 1
    return None
