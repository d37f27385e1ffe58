"""Square patches of images, in reading order. Works on NumPy's and JAX's arrays alike."""

from jaxtyping import Shaped

from scenarioclip_jax.arrays import Array


def cut_patches(
    pictures: Shaped[Array, "*V P P channels"], size: int
) -> Shaped[Array, "*V patches {size} {size} channels"]:
    """Cuts images into patches of `size` x `size` pixels."""
    *outer, side, _, channels = pictures.shape
    grid = side // size
    cut = pictures.reshape(*outer, grid, size, grid, size, channels).swapaxes(-4, -3)
    return cut.reshape(*outer, grid**2, size, size, channels)
