"""Photos for the tests of models."""

import numpy as np
from PIL import Image

from scenarioclip_jax.annotate.results import Photo


def photo(id: str = "a", size: tuple[int, int] = (64, 48), seed: int = 0) -> Photo:
    """A photo of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    return Photo(id, size, lambda: Image.fromarray(pixels))


def broken(id: str) -> Photo:
    """A photo that can't be decoded."""

    def fail():
        raise OSError("image file is truncated")

    return Photo(id, (64, 48), fail)
