"""Photos of the report: whole, with the boxes that a level looks at, and what the tower sees as an inset."""

import base64
import io
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.image_files import open_encoded
from scenarioclip_jax.data.photo import rgb
from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.data.stored.scene import Scene
from scenarioclip_jax.evaluation.embed.encoder import Picture, opened
from scenarioclip_jax.evaluation.files import SuiteError

SIDE = 320  # most pixels of a photo's side in a page
INSET = 96  # and of the inset's


class Shot(NamedTuple):
    """A photo for the report.

    Attributes:
      photo: uint8 [H, W, 3]; None if it can't be read any more.
      boxes: float [n, 4]: x0, y0, x1, y1 as shares of the photo's width and height; the second one, if there
        is one, is that of a relation's object.
      view: What the tower sees, uint8 [P, P, 3], where that isn't the photo; None: no inset.
      id: The photo's id.
    """

    photo: np.ndarray | None
    boxes: np.ndarray
    view: np.ndarray | None
    id: str


MISSING = Shot(None, np.zeros((0, 4)), None, "")


def collect_shots(
    scenes: Iterable[Scene],
    wanted: Mapping[str, set[int]],
    views: Mapping[str, Mapping[int, np.ndarray]],
) -> dict[str, dict[int, Shot]]:
    """The photos of some rows of a gallery, by level and row.

    Args:
      scenes: The scenes that were embedded, in order.
      wanted: Rows by level, numbered as in `Gallery.told`.
      views: What the towers see, by level and row; missing ones have no inset.
    """
    found: dict[str, dict[int, Shot]] = {level: {} for level in LEVELS}
    start = dict.fromkeys(LEVELS, 0)
    for scene in scenes:
        boxes_of = {
            "global": [np.zeros((0, 4))] if scene.action else [],
            "object": [
                box[None]
                for box, name in zip(scene.object_boxes, scene.object_names, strict=True)
                if name
            ],
            "relation": [each.boxes for each in scene.relations if relation_text(each.triplet)],
        }
        photo = None
        for level, boxes in boxes_of.items():
            for row in sorted(
                wanted.get(level, set()) & set(range(start[level], start[level] + len(boxes)))
            ):
                photo = _decode(scene.photo) if photo is None else photo
                shares = boxes[row - start[level]] / np.array([scene.width, scene.height] * 2)
                view = views.get(level, {}).get(row)
                found[level][row] = Shot(photo, shares, view, scene.id)
            start[level] += len(boxes)
    return found


def of_file(picture: Picture) -> Shot:
    """The photo of an image file, with the boxes of the part that is used; MISSING if it can't be read."""
    try:
        image = opened(picture.path)
    except SuiteError:  # deleted since it was scored: the report is written anyway
        return MISSING._replace(id=picture.path.name)
    boxes = np.array([picture.crop] if picture.crop else list(picture.keep), float).reshape(-1, 4)
    shares = np.clip(boxes / np.array([image.width, image.height] * 2), 0, 1)
    return Shot(_shrink(image, SIDE), shares, None, picture.path.name)


def shown(shot: Shot, caption: str, right: bool | None) -> dict[str, Any]:
    """What the template `pieces.html` needs to show a photo.

    Args:
      right: Whether the model was right about it; None: neither sign.
    """
    gone = shot.photo is None
    photo = np.full((SIDE // 2, SIDE // 2, 3), 128, np.uint8) if shot.photo is None else shot.photo
    height, width = photo.shape[:2]
    return {
        "source": to_url(photo),
        "width": width,
        "height": height,
        "boxes": [
            (x0 * width, y0 * height, max(x1 - x0, 0) * width, max(y1 - y0, 0) * height)
            for x0, y0, x1, y1 in shot.boxes.tolist()
        ],
        "inset": None if shot.view is None else to_url(_shrink(Image.fromarray(shot.view), INSET)),
        "id": shot.id,
        "caption": caption,
        "frame": "" if right is None else "right" if right else "wrong",
        "alt": "photo that can't be read any more" if gone else f"photo {shot.id}: {caption}",
    }


def to_url(pixels: np.ndarray) -> str:
    """Encodes pixels [H, W, 3], uint8, as a `data:` URL, so that a report is one file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _decode(content: bytes) -> np.ndarray:
    return _shrink(rgb(open_encoded(content)), SIDE)


def _shrink(image: Image.Image, side: int) -> np.ndarray:
    """The image's pixels with at most so many at either side."""
    factor = min(1.0, side / max(image.size))
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS) if factor < 1 else image)
