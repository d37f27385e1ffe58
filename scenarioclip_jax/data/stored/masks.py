"""Masks in a form that a view is sampled from without making the mask itself: run lengths.

A mask's bytes are uint32, little-endian, compressed by zlib: its width, its height, and the lengths of its runs
in reading order, alternately of 0 and of 1, the first of 0 (it may be empty). COCO keeps its masks in the same
way, column by column.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

_NUMBER = np.dtype("<u4")


def encode(mask: np.ndarray) -> bytes:
    """The bytes of a mask, bool [height, width]."""
    flat = np.concatenate([[False], mask.ravel(), [not mask.flat[-1]]])
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    numbers = np.concatenate([mask.shape[::-1], np.diff(starts, prepend=0)])
    return zlib.compress(numbers.astype(_NUMBER).tobytes(), level=9)


def decode(mask: bytes) -> np.ndarray:
    """The whole mask, bool [height, width]; raises as `sample`."""
    width, height = _open(mask)[0]
    return sample(mask, (width, height), np.arange(height), np.arange(width))


def sample(
    mask: bytes,
    size: tuple[int, int],
    rows: Sequence[int] | np.ndarray,
    columns: Sequence[int] | np.ndarray,
) -> np.ndarray:
    """The pixels of a mask where some of its rows and columns cross, bool [rows, columns].

    Args:
      mask: see `encode`.
      size: its width and height.
      rows, columns: never falling; one may come several times.

    Raises:
      ValueError: the mask is damaged, or of another size.
    """
    runs = _runs(mask, size)
    rows = np.asarray(rows)
    first = np.append(0, np.flatnonzero(rows[1:] != rows[:-1]) + 1)  # of equal rows
    # Where runs start: in the mask, then among the chosen pixels, which is as many as come before.
    y, x = np.divmod(np.cumsum(runs[:-1], dtype=np.int64), size[0])
    row, column = np.searchsorted(rows[first], y), np.searchsorted(columns, x)
    chosen = np.append(rows[first], -1)[row] == y
    starts = row * len(columns) + np.where(chosen, column, 0)
    edges = np.concatenate([[0], starts, [len(first) * len(columns)]])
    lengths = edges[1:] - edges[:-1]
    pixels = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(-1, len(columns))
    if len(first) == len(rows):
        return pixels
    return np.repeat(pixels, np.diff(first, append=len(rows)), axis=0)


def _open(mask: bytes) -> tuple[tuple[int, int], Any]:
    """Width and height, and the zlib stream behind them."""
    try:
        stream = zlib.decompressobj()
        size = np.frombuffer(stream.decompress(mask, 2 * _NUMBER.itemsize), _NUMBER)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"damaged mask: {error}") from None
    if len(size) < 2:
        raise ValueError("damaged mask: it has no size")
    return tuple(size.tolist()), stream


def _runs(mask: bytes, size: tuple[int, int]) -> np.ndarray:
    """The lengths of the runs of a mask of that size."""
    found, stream = _open(mask)
    other = f"mask of {found} pixels for a photo of {size}"
    pixels = found[0] * found[1]
    if pixels > size[0] * size[1]:
        raise ValueError(other)  # before anything so large is unpacked
    try:
        # No more than a run for each pixel and an empty one before them: what has more is a bomb.
        runs = stream.decompress(stream.unconsumed_tail, (pixels + 2) * _NUMBER.itemsize)
        runs = np.frombuffer(runs, _NUMBER)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"damaged mask: {error}") from None
    if not stream.eof or runs.sum(dtype=np.int64) != pixels:
        raise ValueError("damaged mask: its runs don't fill it")
    if found != size:
        raise ValueError(other)
    return runs
