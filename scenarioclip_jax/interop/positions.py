"""Adapts position embeddings to another image size."""

import numpy as np


def interpolate_positions(positions: np.ndarray, grid: int) -> np.ndarray:
    """Resizes a vision tower's position embedding: [1 + g * g, W] to [1 + grid * grid, W].

    The class token's embedding stays the same; SigLIP's towers have none: [g * g, W]. The interpolation is
    bicubic with a = -0.75 and without smoothing, as in Transformers' `interpolate_pos_encoding`.
    """
    old, width = int(len(positions) ** 0.5), positions.shape[1]
    first = len(positions) - old * old
    cls, patches = positions[:first], positions[first:]
    if old == grid:
        return positions
    weights = _bicubic(old, grid)
    square = patches.reshape(old, old, width).astype(np.float64)
    resized = np.einsum("yi,xj,ijw->yxw", weights, weights, square, optimize=True)
    return np.concatenate([cls, resized.reshape(grid * grid, width).astype(positions.dtype)])


def _bicubic(old: int, new: int) -> np.ndarray:
    """Weights [new, old] of each old sample in each new one (Keys 1981, edges repeated)."""
    a = -0.75
    center = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(center).astype(int) - 1
    weights = np.zeros((new, old))
    for tap in range(4):
        x = np.abs(center - (first + tap))
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = a * (((x - 5) * x + 8) * x - 4)
        np.add.at(
            weights,
            (np.arange(new), np.clip(first + tap, 0, old - 1)),
            np.where(x <= 1, near, far),
        )
    return weights
