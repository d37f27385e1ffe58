"""Parts of a photo that somebody gives as boxes: mapped to its view, shown as a model sees them."""

import numpy as np
from jaxtyping import Float

from scenarioclip_jax.data.view import View, map_boxes, show_region, union_region


def in_view(boxes: Float[np.ndarray, "N E 4"], view: View) -> Float[np.ndarray, "N E 4"]:
    """Boxes in pixels of the photo's view, clipped to it, as in training."""
    return map_boxes(boxes.reshape(-1, 4), view).reshape(boxes.shape)


def share_in_view(boxes: Float[np.ndarray, "N 4"], view: View) -> Float[np.ndarray, " N"]:
    """The share of each box that the photo's view shows; boxes in pixels of the photo."""
    scale, offset = np.array(view.scale * 2), np.array(view.offset * 2)
    whole = np.asarray(boxes, np.float64) * scale + offset
    shown = np.clip(whole, 0, view.size)
    areas = [np.prod(np.maximum(each[:, 2:] - each[:, :2], 0), axis=1) for each in (shown, whole)]
    return (areas[0] / np.maximum(areas[1], 1e-12)).astype(np.float32)


def show(
    canvas: np.ndarray,
    boxes: Float[np.ndarray, "E 4"],
    view: View,
    size: tuple[int, int],
    level: str,
    style: str,
) -> np.ndarray:
    """The view of one part for models that see parts as pictures, uint8 or float [P, P, 3], 0 to 255.

    Args:
      canvas: The photo's view, uint8 [P, P, 3].
      boxes: The part's boxes, in pixels of the photo.
      view: Where the photo lies in its view.
      size: Width and height of the photo, in pixels.
      level: `object`: black outside of the box, whose edge pixels are weighted by coverage; `relation`: its
        focused region.
      style: How focused regions are shown, one of `data.region_styles.STYLES`.
    """
    mapped = map_boxes(boxes, view)
    if level == "relation":
        region = union_region(mapped, view.size)
        return show_region(canvas, region, boxes, view, size, style)
    pixels = np.arange(view.size)

    def along(low: float, high: float) -> np.ndarray:
        return np.clip(np.minimum(pixels + 1, high) - np.maximum(pixels, low), 0, 1)

    x0, y0, x1, y1 = mapped[0]
    return canvas * (along(y0, y1)[:, None] * along(x0, x1))[..., None].astype(np.float32)
