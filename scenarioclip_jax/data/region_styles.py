"""How a relation's focused region is shown, by formulas that NumPy and JAX share.

    style      participants                            surroundings
    stored     as the data set has them: boxes, a      black, or those of
               mask, or an image of its own            the image
    boxes      the photo in their boxes                black
    masks      the photo in their masks                black
    blurred    the photo in their masks                strongly blurred
    published  the photo in their masks, dimmed away   blurred a little
               from their centers

Packing skips black patches, so it gains nothing with the last two. A participant without a mask has its box.

`published` follows the authors' repository: inside the masks, each participant fades by exp(-d^2 / 2 / 100^2),
where d is the distance in photo pixels from its mask's center of mass; the two are weighted by the other's
distance; outside, a Gaussian of 2 photo pixels blurs the photo over height and width (theirs also blurs over
color channels, which we take for a mistake).
"""

from typing import Any

STYLES = ("stored", "boxes", "masks", "blurred", "published")
WITHOUT_BLACK = ("blurred", "published")  # the surroundings show something
FALLOFF = 100.0  # photo pixels
PUBLISHED_BLUR = 2.0  # photo pixels
STRONG_BLUR = 0.05  # of the view's side

# An array of NumPy or JAX. Axis letters are those of `data.batch`; `*V` are any leading axes.
Values = Any


def shows_whole_view(style: str, level: str) -> bool:
    """Whether every patch of a level's views shows something, so that packing can leave none out."""
    return level == "relation" and style in WITHOUT_BLACK


def surroundings(xp, view: Values, window: Values, photo_size: Values, style: str) -> Values:
    """The blurred photo around the participants.

    The blur doesn't reach beyond the view or into the black bars of `contain`. What it averages over is smaller
    there, where the authors' blur of the whole photo still has pixels of it.

    Args:
      xp: `numpy` or `jax.numpy`.
      view: The photo's center view in 0-1, float [*V, P, P, 3].
      window: What the view shows, float [*V, 4]: x0, y0, x1, y1 as shares of the photo.
      photo_size: Width and height of the photo in pixels, [*V, 2].
      style: One of WITHOUT_BLACK.

    Returns:
      float [*V, P, P, 3].
    """
    size = view.shape[-2]
    scale = view_scale(xp, window, photo_size, size)
    for axis, along in enumerate(("...ij,...yjc->...yic", "...ij,...jxc->...ixc")):
        sigma = PUBLISHED_BLUR * scale[..., axis]
        if style == "blurred":
            sigma = xp.full_like(sigma, STRONG_BLUR * size)
        weights = _weights(xp, sigma, window[..., axis], window[..., axis + 2], size)
        view = xp.einsum(along, weights, view)
    return view


def _weights(xp, sigma: Values, low: Values, high: Values, size: int) -> Values:
    """Weights of each pixel j in the blurred pixel i along an axis, float [*V, i, j].

    Rows sum to 1, or to 0 where the view shows no photo.
    """
    at = xp.arange(size, dtype=xp.float32)
    distance = (at[:, None] - at) / xp.maximum(sigma, 1e-3)[..., None, None]
    shown = low[..., None] + (at + 0.5) / size * (high - low)[..., None]
    inside = (shown >= 0) & (shown <= 1)
    weights = xp.exp(-0.5 * distance**2) * (inside[..., None, :] & inside[..., :, None])
    total = weights.sum(-1, keepdims=True)
    return weights / xp.where(total > 0, total, 1)


def dimming(xp, centers: Values, window: Values, photo_size: Values, size: int) -> Values:
    """Brightness of the participants' pixels in the style `published`: float [*V, P, P], 0 to 1.

    With the distances a and b to the two centers it is (f(a) * b + f(b) * a) / (a + b), where f is the falloff.
    So it is 1 at either center.

    Args:
      centers: x and y of the subject's center of mass, then of the object's, in view pixels: float [*V, 4].
      window, photo_size: As for `surroundings`.
      size: Side P of the view.
    """
    scale = view_scale(xp, window, photo_size, size)
    at = xp.arange(size, dtype=xp.float32) + 0.5

    def distance(x: Values, y: Values) -> Values:
        """Photo pixels from a center to each pixel of the view."""
        across = (at - x[..., None]) / scale[..., :1]
        down = (at - y[..., None]) / scale[..., 1:]
        return xp.sqrt(across[..., None, :] ** 2 + down[..., :, None] ** 2)

    a, b = (distance(centers[..., i], centers[..., i + 1]) for i in (0, 2))
    near_a, near_b = (xp.exp(-(d**2) / (2 * FALLOFF**2)) for d in (a, b))
    together = a + b
    weighted = (near_a * b + near_b * a) / xp.where(together > 0, together, 1)
    return xp.where(together > 0, weighted, 1.0)  # both centers are this very pixel


def view_scale(xp, window: Values, photo_size: Values, size: int) -> Values:
    """View pixels per photo pixel, along x and y: float [*V, 2]."""
    shown = (window[..., 2:] - window[..., :2]) * photo_size
    return size / xp.maximum(shown, 1e-6)  # an empty slot has no size
