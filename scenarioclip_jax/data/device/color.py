"""Color jitter and blur of images in 0-1 with RGB in the last axis; jitter is elementwise but for one mean.

The formulas are torchvision's (ColorJitter and GaussianBlur); gray is ITU-R 601: 0.299 R + 0.587 G + 0.114 B.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float

from scenarioclip_jax.arrays import Array

GRAY = (0.299, 0.587, 0.114)


def color_jitter(
    pictures: Float[Array, "*V H W 3"],
    factors: Float[Array, "*V 4"],
    mean: Float[Array, "*V"] | None = None,
) -> Float[Array, "*V H W 3"]:
    """Jitters brightness, contrast, saturation, then hue.

    Args:
      pictures: RGB images in 0-1.
      factors: Factors for brightness, contrast and saturation, where 1 changes nothing; then the shift of the
        hue, in turns of the color circle.
      mean: The gray that contrast moves away from, where pictures are parts of larger ones: the whole ones'
        `contrast_mean`. None: the pictures' own.
    """
    if mean is None:
        mean = contrast_mean(pictures, factors)
    brightness, contrast, saturation, hue = jnp.moveaxis(factors[..., None, None], -3, 0)
    mean = mean[..., None, None]
    channels = [jnp.clip(pictures[..., i] * brightness, 0, 1) for i in range(3)]
    channels = [jnp.clip(mean + contrast * (c - mean), 0, 1) for c in channels]
    gray = _gray(channels)
    channels = [jnp.clip(gray + saturation * (c - gray), 0, 1) for c in channels]
    return jnp.stack(_shift_hue(channels, hue), axis=-1)


def contrast_mean(
    pictures: Float[Array, "*V H W 3"], factors: Float[Array, "*V 4"]
) -> Float[Array, "*V"]:
    """The mean gray of pictures once their brightness is jittered."""
    brightness = factors[..., 0, None, None]
    return _gray([jnp.clip(pictures[..., i] * brightness, 0, 1) for i in range(3)]).mean((-2, -1))


def _gray(channels: Sequence[Array]) -> jax.Array:
    weighted = (weight * channel for weight, channel in zip(GRAY, channels, strict=True))
    return jnp.asarray(sum(weighted))


def _shift_hue(channels: Sequence[Array], shift: Array) -> list[Array]:
    """Rotates the hue in HSV; value = max and chroma = max - min stay the same.

    RGB from HSV in closed form: channel n is value - chroma * clip(min(k, 4 - k), 0, 1) with
    k = (n + 6 hue) mod 6 and n = 5, 3, 1 for red, green, blue.
    """
    red, green, blue = channels
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    safe = jnp.where(chroma > 0, chroma, 1.0)
    # Not `value == red`: a compiler may recompute red with different rounding, and then no channel is the
    # largest. Where channels nearly tie, both formulas give the same value.
    sextant = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) / safe,
        jnp.where(green >= blue, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sextant = sextant + 6 * shift

    def channel(n: int) -> Array:
        k = jnp.mod(n + sextant, 6)
        return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return [channel(5), channel(3), channel(1)]


def gaussian_blur(
    pictures: Float[Array, "*V H W 3"], kernel: Float[Array, "*V K"]
) -> Float[Array, "*V H W 3"]:
    """Blurs the rows and columns of each image with its own kernel; borders are reflected."""
    for axis in (-3, -2):
        pictures = _convolve(pictures, kernel, axis)
    return pictures


def _convolve(pictures: Array, kernel: Array, axis: int) -> Array:
    taps, length = kernel.shape[-1], pictures.shape[axis]
    pad = [(0, 0)] * pictures.ndim
    pad[axis] = (taps // 2, taps // 2)
    padded = jnp.pad(pictures, pad, mode="reflect")

    def shifted(tap: int) -> Array:
        where = [slice(None)] * pictures.ndim
        where[axis] = slice(tap, tap + length)
        return padded[tuple(where)]

    weights = jnp.moveaxis(kernel[..., None, None, None], -4, 0)
    return jnp.asarray(sum(weights[tap] * shifted(tap) for tap in range(taps)))
