"""Masks as run lengths, from which a view can be sampled without building the whole mask.

A mask is stored as uint32, little-endian, compressed by zlib: its width, its height, and the lengths of its
runs in reading order, alternately of 0 and 1, starting with 0 (that run may be empty). COCO stores its masks in
the same way, column by column.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

_NUMBER = np.dtype("<u4")


class Grid:
    """Some rows and columns of the masks of one size, made once for all masks that are sampled there.

    Args:
      size: Width and height of the masks.
      rows, columns: Indices in ascending order; indices may be repeated.
    """

    def __init__(
        self,
        size: tuple[int, int],
        rows: Sequence[int] | np.ndarray,
        columns: Sequence[int] | np.ndarray,
    ):
        width, height = size
        distinct, times = np.unique(rows, return_counts=True)
        self.size, self.columns = size, len(columns)
        self.pixels = len(distinct) * self.columns  # each distinct row counts once
        # How often each distinct row is wanted; None if that is once each.
        self.times = times if len(distinct) < len(rows) else None
        # By row of a mask, and one more: chosen pixels in the rows before it; whether it is chosen itself.
        y = np.arange(height + 1)
        self.before_row = np.searchsorted(distinct, y) * self.columns
        self.chosen = np.isin(y, distinct).astype(np.int64)
        # By column of a mask: chosen columns before it.
        self.before_column = np.searchsorted(columns, np.arange(width))


def encode(mask: np.ndarray) -> bytes:
    """Encodes a mask, bool [height, width]."""
    flat = np.concatenate([[False], mask.ravel(), [not mask.flat[-1]]])
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    numbers = np.concatenate([mask.shape[::-1], np.diff(starts, prepend=0)])
    return zlib.compress(numbers.astype(_NUMBER).tobytes(), level=9)


def decode(mask: bytes) -> np.ndarray:
    """Decodes a whole mask to bool [height, width]; raises the same errors as `sample`."""
    width, height = _open(mask)[0]
    return sample(mask, Grid((width, height), np.arange(height), np.arange(width)))


def sample(mask: bytes, grid: Grid) -> np.ndarray:
    """Samples a mask at the intersections of some rows and columns, bool [rows, columns].

    Raises:
      ValueError: The mask is damaged or doesn't have the size that the grid was made for.
    """
    runs = _runs(mask, grid.size)
    # Where runs start: in the mask, then among the chosen pixels, as the number of those that come before.
    y, x = np.divmod(np.cumsum(runs[:-1], dtype=np.int64), grid.size[0])
    edges = np.empty(len(runs) + 1, np.int64)
    edges[0], edges[-1] = 0, grid.pixels
    edges[1:-1] = grid.before_row[y] + grid.chosen[y] * grid.before_column[x]
    inside = np.zeros(len(runs), bool)
    inside[1::2] = True
    pixels = inside.repeat(edges[1:] - edges[:-1]).reshape(-1, grid.columns)
    return pixels if grid.times is None else pixels.repeat(grid.times, axis=0)


def center_of_mass(mask: bytes, size: tuple[int, int]) -> tuple[float, float] | None:
    """The mean x and y of a mask's pixels, where the first pixel's center is (0.5, 0.5); None if it is empty.

    Raises:
      ValueError: The mask is damaged or has another size.
    """
    runs = _runs(mask, size).astype(np.int64)
    ends = np.cumsum(runs)
    count = int(runs[1::2].sum())
    if not count:
        return None

    def sums(end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the positions, and of the rows, of all pixels before `end`."""
        row, column = np.divmod(end, size[0])
        return end * (end - 1) // 2, size[0] * (row * (row - 1) // 2) + row * column

    (before, rows_before), (after, rows_after) = sums(ends[:-1:2]), sums(ends[1::2])
    n = len(after)  # a mask may end with a run of zeros
    positions = int((after - before[:n]).sum())
    rows = int((rows_after - rows_before[:n]).sum())
    return (positions - size[0] * rows) / count + 0.5, rows / count + 0.5


def _open(mask: bytes) -> tuple[tuple[int, int], Any]:
    """Reads width and height; also returns the zlib stream after them."""
    try:
        stream = zlib.decompressobj()
        size = np.frombuffer(stream.decompress(mask, 2 * _NUMBER.itemsize), _NUMBER)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"damaged mask: {error}") from None
    if len(size) < 2:
        raise ValueError("damaged mask: it has no size")
    return tuple(size.tolist()), stream


def _runs(mask: bytes, size: tuple[int, int]) -> np.ndarray:
    """The run lengths of a mask of that size."""
    found, stream = _open(mask)
    other = f"mask of {found} pixels for a photo of {size}"
    pixels = found[0] * found[1]
    if pixels > size[0] * size[1]:
        raise ValueError(other)  # before anything that large is unpacked
    try:
        # A mask has at most one run per pixel and an empty one at the start; anything larger is a bomb.
        runs = stream.decompress(stream.unconsumed_tail, (pixels + 2) * _NUMBER.itemsize)
        runs = np.frombuffer(runs, _NUMBER)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"damaged mask: {error}") from None
    if not stream.eof or runs.sum(dtype=np.int64) != pixels:
        raise ValueError("damaged mask: its runs don't fill it")
    if found != size:
        raise ValueError(other)
    return runs
