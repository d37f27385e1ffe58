"""Masks as COCO's compressed run lengths, {"size": [height, width], "counts": text}."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco


def from_array(mask: np.ndarray) -> dict[str, Any]:
    """From a mask, bool [height, width]."""
    return _as_text(coco.encode(np.asfortranarray(mask, dtype=np.uint8)))


def from_coco(segmentation: Any, width: int, height: int) -> dict[str, Any] | None:
    """From the field `segmentation` of a COCO annotation: polygons, or run lengths, compressed or not.

    Returns:
      The mask, or None if there is nothing to draw, such as a polygon of two points.

    Raises:
      ValueError: It's something else, or of another size.
    """
    if isinstance(segmentation, dict):
        if list(segmentation.get("size", [])) != [height, width]:
            raise ValueError(f"size {segmentation.get('size')} instead of {[height, width]}")
        counts = segmentation.get("counts")
        if isinstance(counts, list):
            if not all(isinstance(run, int) and run >= 0 for run in counts):
                raise ValueError("runs that aren't numbers of pixels")
            if sum(counts) != width * height:
                raise ValueError(f"runs of {sum(counts)} pixels for {width * height}")
            runs: Any = {"size": [height, width], "counts": counts}  # more than its types say
            return _as_text(coco.frPyObjects(runs, height, width))
        if not isinstance(counts, str) or not counts:
            raise ValueError("no counts")
        mask = {"size": [height, width], "counts": counts}
        # The library takes runs that don't fill the photo, and shows whatever was in memory for the rest.
        if sum(_runs(counts)) != width * height:
            raise ValueError(f"runs of {sum(_runs(counts))} pixels for {width * height}")
        return mask
    if not isinstance(segmentation, list):
        raise ValueError(f"neither polygons nor run lengths but {type(segmentation).__name__}")
    polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
    if not polygons:
        return None
    if any(len(polygon) % 2 for polygon in polygons):
        raise ValueError("a polygon with an odd number of coordinates")
    # Far outside, the library's C code runs out of memory and crashes.
    corners = np.array([side for polygon in polygons for side in polygon], float).reshape(-1, 2)
    if not (np.abs(corners) <= 2 * np.array([width, height])).all():
        raise ValueError(
            "a polygon that lies far outside of the photo, or has other values than numbers"
        )
    return _as_text(coco.merge(coco.frPyObjects(polygons, height, width)))


def area(mask: dict[str, Any]) -> int:
    """Number of pixels."""
    return int(coco.area(_as_bytes(mask)))


def box(mask: dict[str, Any]) -> tuple[float, float, float, float]:
    """The smallest box [x0, y0, x1, y1] around a mask."""
    x, y, width, height = coco.toBbox(_as_bytes(mask)).tolist()
    return x, y, x + width, y + height


def to_array(mask: dict[str, Any]) -> np.ndarray:
    """As bool [height, width]."""
    return coco.decode(_as_bytes(mask)).astype(bool)


def union(masks: list[dict[str, Any]]) -> dict[str, Any]:
    """What some masks of one size cover together."""
    return _as_text(coco.merge([_as_bytes(mask) for mask in masks]))


def panoptic_ids(path: Path) -> np.ndarray:
    """The segments' ids in a panoptic PNG, R + 256 G + 65,536 B, uint32 [height, width]; raises OSError."""
    with Image.open(path) as image:
        colors = np.asarray(image.convert("RGB"), np.uint32)
    return colors[..., 0] + 256 * colors[..., 1] + 65_536 * colors[..., 2]


def _runs(counts: str) -> list[int]:
    """The runs of COCO's text: five bits a letter, lowest first, with the sixth bit where the number goes on.

    From the third on, a number is what a run differs from the one two before. Raises ValueError.
    """
    runs: list[int] = []
    number = shift = 0
    for letter in counts:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{letter!r} isn't a letter of run lengths")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                number -= 1 << shift  # a negative difference
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            if runs[-1] < 0:
                raise ValueError("a negative run")
            number = shift = 0
    if shift:
        raise ValueError("run lengths that are cut short")
    return runs


def _as_text(mask: Any) -> dict[str, Any]:
    return {"size": [int(n) for n in mask["size"]], "counts": mask["counts"].decode("ascii")}


def _as_bytes(mask: dict[str, Any]) -> Any:
    return {"size": mask["size"], "counts": mask["counts"].encode("ascii")}
