"""Which patches of an object or relation view show something; all others are black.

The sequence of a view begins with 0, the class token; i + 1 is patch i in reading order.
"""

import numpy as np


def box_patches(boxes: np.ndarray, size: int, patch: int) -> list[np.ndarray]:
    """The sequences of object views: the patches that each box touches.

    Args:
      boxes: float32 [n, 4] in view pixels, clipped to the view: x0, y0, x1, y1.
      size: Side P of the view, in pixels.
      patch: Side of a patch, in pixels; P is a multiple of it.
    """
    edge = np.arange(0, size, patch)
    x0, y0, x1, y1 = (boxes[:, i, None] for i in range(4))
    columns, rows = (edge < x1) & (edge + patch > x0), (edge < y1) & (edge + patch > y0)
    return _sequences(rows[:, :, None] & columns[:, None, :])


def region_patches(regions: np.ndarray, patch: int) -> list[np.ndarray]:
    """The sequences of relation views: the patches in which a region has a pixel.

    Args:
      regions: uint8 [n, P, P / 8]: bits.
      patch: Side of a patch, in pixels; P is a multiple of it.
    """
    n, size, width = regions.shape
    grid = size // patch
    rows = np.bitwise_or.reduce(regions.reshape(n, grid, patch, width), axis=2)
    pixels = np.unpackbits(rows, axis=-1).reshape(n, grid, grid, patch)
    return _sequences(np.asarray(pixels.any(axis=-1)))


def whole_view(size: int, patch: int) -> np.ndarray:
    """The sequence of a view that is seen whole."""
    return np.arange(1 + (size // patch) ** 2)


def _sequences(shown: np.ndarray) -> list[np.ndarray]:
    """Turns bool [n, grid, grid] into n sequences."""
    return [np.append(0, 1 + np.flatnonzero(each)) for each in shown]
