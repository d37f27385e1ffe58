"""The conventions in which tools write boxes, and how to read each as pixels of the upright photo."""

from typing import NamedTuple

import numpy as np

# The meaning of the four numbers. The first is the published format.
FORMATS = {
    "xyxy": "[x0, y0, x1, y1]",
    "xywh": "[x, y, width, height]",
    "cxcywh": "[center x, center y, width, height]",
    "yxyx": "[y0, x0, y1, x1]",
    "xxyy": "[x0, x1, y0, y1]",
    "yyxx": "[y0, y1, x0, x1]",
    "yxhw": "[y, x, height, width]",
}
# The unit: how many of them a photo's width or height is; for pixels, its own size.
UNITS = {"pixels": None, "unit": 1.0, "percent": 100.0, "thousand": 1000.0}
_UNIT_NAMES = {
    "pixels": "pixels",
    "unit": "shares of the photo (0 to 1)",
    "percent": "percent of the photo (0 to 100)",
    "thousand": "thousandths of the photo (0 to 1000)",
}
ORIENTATIONS = ("upright", "stored")
# The image that boxes refer to: the photo, or the photo padded to a square as models take it, on both sides or
# at the right and bottom.
CANVASES = ("photo", "padded", "padded_corner")
_CANVAS_NAMES = {
    "photo": "photo",
    "padded": "photo padded to a square, the photo in its middle",
    "padded_corner": "photo padded to a square, the photo in its upper left corner",
}
_SWAPPED = {"xyxy": "yxyx", "xywh": "yxhw", "xxyy": "yyxx"}  # with y first
_SWAPPED |= {other: format for format, other in _SWAPPED.items()}


class BoxReading(NamedTuple):
    """How to read the boxes of a data set; the default is the published format."""

    format: str = "xyxy"
    units: str = "pixels"
    orientation: str = (
        "upright"  # of EXIF-rotated photos: the pixels that a viewer shows, or the file's
    )
    canvas: str = "photo"  # the image that they refer to

    def describe(self) -> str:
        text = f"{FORMATS[self.format]} in {_UNIT_NAMES[self.units]}"
        if self.canvas != "photo":
            of = "" if UNITS[self.units] else " of the photo"
            text = (text + of).replace("the photo", f"the {_CANVAS_NAMES[self.canvas]}")
        return text + (" of the photo as stored" if self.orientation == "stored" else "")

    def swapped(self) -> "BoxReading | None":
        """The same reading with x and y swapped, if there is such a format."""
        format = _SWAPPED.get(self.format)
        return self._replace(format=format) if format else None


PUBLISHED = BoxReading()


def corners(boxes: np.ndarray, format: str) -> np.ndarray:
    """Returns float64 [N, 4], x0, y0, x1, y1, of boxes [N, 4] in one of FORMATS; units stay as they are."""
    a, b, c, d = np.asarray(boxes, np.float64).reshape(-1, 4).T
    columns = {
        "xyxy": (a, b, c, d),
        "xywh": (a, b, a + c, b + d),
        "cxcywh": (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
        "yxyx": (b, a, d, c),
        "xxyy": (a, c, b, d),
        "yyxx": (c, a, d, b),
        "yxhw": (b, a, b + d, a + c),
    }[format]
    return np.stack(columns, -1)


def to_pixels(
    boxes: np.ndarray, reading: BoxReading, sizes: np.ndarray, orientations: np.ndarray
) -> np.ndarray:
    """Reads boxes: float64 [N, 4], x0, y0, x1, y1 in pixels of the upright photo.

    Corners keep the order in which they were written, so x1 < x0 if a box is inverted.

    Args:
      boxes: Boxes [N, 4] as written.
      reading: Meaning of the numbers.
      sizes: Width and height of each box's upright photo, [N, 2].
      orientations: EXIF orientation with which each photo is stored, int [N], 1 to 8.
    """
    found = corners(boxes, reading.format)
    sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
    orientations = np.asarray(orientations).reshape(-1)
    stored = reading.orientation == "stored"
    on_side = (orientations >= 5) & stored
    photos = np.where(on_side[:, None], sizes[:, ::-1], sizes)
    canvases = photos
    if reading.canvas != "photo":
        canvases = np.repeat(photos.max(1, keepdims=True), 2, 1)
    if scale := UNITS[reading.units]:
        found = found * np.tile(canvases, 2) / scale
    if reading.canvas == "padded":
        found = found - np.tile((canvases - photos) / 2, 2)
    return _turned(found, sizes, orientations) if stored else found


def _turned(boxes: np.ndarray, sizes: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Boxes [N, 4] in stored pixels as boxes in upright pixels, corners in the same order along each axis."""
    turned = boxes.copy()
    x0, y0, x1, y1 = boxes.T
    width, height = sizes.T
    left, right, top, bottom = width - x1, width - x0, height - y1, height - y0
    # By orientation. (An image on its side is as wide as the upright one is high.)
    by_side_left, by_side_right = width - y1, width - y0
    by_side_top, by_side_bottom = height - x1, height - x0
    for orientation, columns in {
        2: (left, y0, right, y1),
        3: (left, top, right, bottom),
        4: (x0, top, x1, bottom),
        5: (y0, x0, y1, x1),
        6: (by_side_left, x0, by_side_right, x1),
        7: (by_side_left, by_side_top, by_side_right, by_side_bottom),
        8: (y0, by_side_top, y1, by_side_bottom),
    }.items():
        here = orientations == orientation
        turned[here] = np.stack(columns, -1)[here]
    return turned


def misfits(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Whether boxes [N, 4], in pixels, can't be meant: inverted, about a pixel or less, or clearly outside.

    A box may stick out by three pixels or a fiftieth of the photo, as sloppy ones do.
    """
    x0, y0, x1, y1 = boxes.T
    width, height = np.asarray(sizes, np.float64).T
    across, down = np.maximum(3, width / 50), np.maximum(3, height / 50)
    outside = (x0 < -across) | (y0 < -down) | (x1 > width + across) | (y1 > height + down)
    return outside | (x1 < x0) | (y1 < y0) | ((x1 - x0 <= 1) & (y1 - y0 <= 1))
