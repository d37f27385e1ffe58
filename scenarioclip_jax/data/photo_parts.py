"""Parts of a photo that somebody gives as boxes: checked, mapped to its view, shown as a model sees them."""

from typing import Any

import numpy as np
from jaxtyping import Float

from scenarioclip_jax.data.photo import View, map_boxes, show_region, union_region

ENDS = {"object": 1, "relation": 2}  # boxes of each part, by level


def check(boxes: Any, level: str, size: tuple[int, int]) -> Float[np.ndarray, "N E 4"]:
    """Returns boxes as one array, with an axis of one box for objects.

    Args:
      boxes: [N, 4] for objects, [N, 2, 4] for relations, in pixels of the upright photo.
      level: `object` or `relation`.
      size: Width and height of the photo, in pixels.

    Raises:
      ValueError: There are none, they have another form, or one is empty or lies outside of the photo.
    """
    form = "[N, 4]: x0, y0, x1, y1" if level == "object" else "[N, 2, 4]: two boxes x0, y0, x1, y1"
    try:
        found = np.asarray(boxes, np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"boxes aren't numbers; expected {form} in pixels") from None
    if found.ndim != 1 + ENDS[level] or found.shape[-1] != 4 or not len(found):
        raise ValueError(f"boxes are {list(found.shape)}; expected {form} in pixels, at least one")
    if level == "relation" and found.shape[1] != 2:
        raise ValueError(f"boxes are {list(found.shape)}; expected {form} in pixels")
    found = found.reshape(len(found), ENDS[level], 4)
    wrong = ~np.isfinite(found).all(-1)
    wrong |= (found[..., 2:] <= found[..., :2]).any(-1)
    wrong |= (found[..., :2] >= np.array(size)).any(-1) | (found[..., 2:] <= 0).any(-1)
    if wrong.any():
        first, end = np.argwhere(wrong)[0]
        raise ValueError(
            f"box {first}{f', end {end}' if level == 'relation' else ''} is {found[first, end].tolist()}: "
            f"it must have x0 < x1 and y0 < y1 and meet the photo of {size[0]} x {size[1]} pixels"
        )
    return found


def in_view(boxes: Float[np.ndarray, "N E 4"], view: View) -> Float[np.ndarray, "N E 4"]:
    """Boxes in pixels of the photo's view, clipped to it, as in training."""
    return map_boxes(boxes.reshape(-1, 4), view).reshape(boxes.shape)


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
