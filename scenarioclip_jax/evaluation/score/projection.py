"""Projects embeddings to the plane."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Projection(NamedTuple):
    points: Float[np.ndarray, "N K"]
    shares: Float[np.ndarray, " K"]  # share of the variance along each axis


def principal_components(x: Float[np.ndarray, "N D"], count: int = 2) -> Projection:
    """Projects onto the directions of largest variance.

    The entry of largest magnitude in each direction is positive, so that equal inputs give equal figures.

    Raises:
      ValueError: There are fewer than two points, or fewer dimensions than `count`.
    """
    x = np.asarray(x, np.float64)
    if len(x) < 2 or min(x.shape) < count:
        raise ValueError(f"embeddings are {x.shape}; {count} components need at least as many")
    x = x - x.mean(axis=0)
    _, sizes, directions = np.linalg.svd(x, full_matrices=False)
    directions = directions[:count]
    largest = np.abs(directions).argmax(axis=1)
    directions = directions * np.sign(directions[np.arange(count), largest])[:, None]
    variance = sizes**2
    return Projection(x @ directions.T, variance[:count] / max(variance.sum(), 1e-30))
