"""What finds the boxes of objects where nobody gives any; and equal boxes, which say what is roughly where."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float
from PIL import Image


class Detector(Protocol):
    """Finds the boxes of things of these names in a picture: x0, y0, x1, y1 in its pixels."""

    def __call__(
        self, picture: Image.Image, names: Sequence[str], /
    ) -> Float[np.ndarray, "N 4"]: ...


def grid(rows: int) -> Detector:
    """A detector that cuts every picture into equal boxes, this many in each direction.

    Raises:
      ValueError: There are less than 1 or more than 10 in each direction.
    """
    if not 1 <= rows <= 10:
        raise ValueError(f"the grid is {rows}; it must be from 1 to 10 boxes in each direction")

    def find(picture: Image.Image, names: Sequence[str]) -> Float[np.ndarray, "N 4"]:
        (x, y), side = np.meshgrid(np.arange(rows), np.arange(rows)), np.array(picture.size) / rows
        low = np.stack([x.ravel(), y.ravel()], axis=1) * side
        return np.concatenate([low, low + side], axis=1).astype(np.float32)

    return find
