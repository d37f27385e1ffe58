"""Photos on the host: decodes once, resizes once, and maps boxes and regions to the view.

Everything here uses NumPy and Pillow, so that a reading worker starts without JAX. A photo becomes a canvas
(`Batch.canvas`); boxes and focused regions are mapped to the pixels of the P x P view, in which
`data.device.views` masks them on the device.
"""

import functools
from typing import NamedTuple

import numpy as np
from PIL import Image

from scenarioclip_jax.data.image_files import open_encoded
from scenarioclip_jax.data.stored import masks
from scenarioclip_jax.data.stored.scene import Relation, Scene
from scenarioclip_jax.data.view import (
    View,
    box_area,
    map_boxes,
    photo_view,
    span,
    union_region,
    view_canvas,
)


class Shapes(NamedTuple):
    """The places of a scene's n objects and m relations in its view."""

    object_boxes: np.ndarray  # float32 [n, 4]: x0, y0, x1, y1 in view pixels, clipped to the view
    object_area: np.ndarray  # float32 [n]: square view pixels that show the object's box
    regions: np.ndarray  # uint8 [m, P, P / 8]: bits
    region_area: np.ndarray  # float32 [m]: view pixels that show the region
    # float32 [m, 4]: x and y of the subject's center and of the object's, in view pixels
    centers: np.ndarray
    # float32 [m, 2, 4]: boxes of the relations' ends in view pixels, clipped to the view
    ends: np.ndarray


class FittedScene(NamedTuple):
    """A scene's images and shapes, ready to be packed; the first six fields are those of `Shapes`."""

    object_boxes: np.ndarray
    object_area: np.ndarray
    regions: np.ndarray
    region_area: np.ndarray
    centers: np.ndarray
    ends: np.ndarray
    canvas: np.ndarray  # uint8 [C, C, 3]
    extent: tuple[int, int]  # width and height of the photo on the canvas, pixels
    photo_size: tuple[int, int]  # width and height of the photo itself, pixels
    focus: list[np.ndarray | None]  # m canvases, uint8 [C, C, 3], for regions that are images


def rgb(image: Image.Image, at_least: int | None = None) -> Image.Image:
    """Converts an opened image to RGB. Its pixels are decoded here or when they are first used.

    With `at_least`, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as both sides keep at least
    that many pixels; the inverse cosine transform then does much less work.

    Raises:
      OSError: The image is damaged or truncated.
    """
    if at_least is not None:
        image.draft("RGB", (at_least, at_least))  # does nothing for other formats
    return image if image.mode == "RGB" else image.convert("RGB")


def lay_out(image: Image.Image, extent: tuple[int, int], size: int) -> np.ndarray:
    """Puts the whole image into the corner of a canvas, uint8 [size, size, 3].

    Args:
      extent: Width and height of the image on the canvas; an image of that size isn't resampled.
    """
    width, height = extent
    if image.size != extent:
        image = image.resize(extent, Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    if extent == (size, size):
        return pixels
    canvas = np.empty((size, size, 3), np.uint8)
    canvas[:height, :width] = pixels
    # Resampling at the image's edge reaches a little beyond it.
    canvas[:height, width:] = pixels[:, -1:]
    canvas[height:] = canvas[height - 1]
    return canvas


def mask_region(mask: bytes, width: int, height: int, view: View) -> np.ndarray:
    """bool [P, P]: view pixels whose center lies in a mask (`data.stored.masks`) in photo pixels.

    Raises:
      ValueError: The mask is damaged, or its size isn't that of the photo, `width` x `height`.
    """
    (left, top, right, bottom), grid = _grid(width, height, view)
    shown = masks.sample(mask, grid)
    if shown.shape == (view.size, view.size):
        return shown
    region = np.zeros((view.size, view.size), bool)
    region[top:bottom, left:right] = shown
    return region


@functools.lru_cache(maxsize=64)  # all masks of a scene have one size
def _grid(width: int, height: int, view: View) -> tuple[tuple[int, int, int, int], masks.Grid]:
    """Left, top, right and bottom of the view pixels that show the photo, and where these sample its masks."""
    left, right, columns = _centers(width, view, 0)
    top, bottom, rows = _centers(height, view, 1)
    return (left, top, right, bottom), masks.Grid((width, height), rows, columns)


def _centers(length: int, view: View, axis: int) -> tuple[int, int, np.ndarray]:
    """View pixels [low, high) that show the photo along an axis, and the photo pixels under their centers."""
    low, high, start, end = span(length, view, axis)
    centers = start + (np.arange(high - low) + 0.5) * ((end - start) / (high - low))
    return low, high, np.minimum(centers.astype(int), length - 1)


def fit_shapes(scene: Scene, size: int, fit: str, style: str = "stored") -> Shapes:
    """Maps a scene's boxes and regions to its view, without touching its photo.

    Args:
      size: Side P of a view, in pixels.
      fit: How a photo is fitted to a square view, see `data.settings.FITS`.
      style: How regions are shown, see `data.region_styles.STYLES`.

    Raises:
      ValueError: A mask is damaged or contradicts the record.
    """
    view = photo_view(scene.width, scene.height, size, fit)
    # One call for all boxes, because NumPy takes as long for one as for all of a scene's.
    mapped = map_boxes(
        np.concatenate([scene.object_boxes, *(relation.boxes for relation in scene.relations)]),
        view,
    )
    boxes, pairs = np.split(mapped, [len(scene.object_boxes)])
    regions = np.zeros((len(scene.relations), size, size), bool)
    ends = pairs.reshape(-1, 2, 4)
    for region, relation, pair in zip(regions, scene.relations, ends, strict=True):
        region[...] = _region(relation, pair, scene, view, style)
    bits = np.packbits(regions, axis=-1)
    area = np.bitwise_count(bits).sum((1, 2), dtype=np.float32)
    centers = np.zeros((len(regions), 4), np.float32)
    if style == "published":
        for center, relation in zip(centers, scene.relations, strict=True):
            center[...] = _centers_of(relation, scene, view)
    return Shapes(boxes, box_area(boxes), bits, area, centers, ends)


def fit_scene(
    scene: Scene, size: int, fit: str, canvas_size: int | None, style: str = "stored"
) -> FittedScene:
    """Decodes and resizes a scene's images, once each, and maps its shapes to the view.

    Args:
      scene: The record.
      size: Side P of a view, in pixels.
      fit: How a photo is fitted to a square view, see `data.settings.FITS`.
      canvas_size: Side C of the canvas for training (the whole photo); None for evaluation (the view itself).
      style: How regions are shown. Only `stored` decodes regions that are images of their own.

    Raises:
      OSError: An image can't be decoded.
      ValueError: The size of an image contradicts the record.
    """
    photo = open_encoded(scene.photo)
    if photo.size != (scene.width, scene.height):
        raise ValueError(f"photo of {photo.size}, recorded as {(scene.width, scene.height)} pixels")
    own = [r.image if style == "stored" else b"" for r in scene.relations]
    pictures = [photo, *(open_encoded(image) for image in own if image)]
    if canvas_size is None:
        extent = (size, size)
        canvases = [view_canvas(rgb(p), photo_view(*p.size, size, fit)) for p in pictures]
    else:
        # A view shows the photo's short side at `size` pixels; that many are decoded, however large the canvas.
        pictures = [rgb(picture, at_least=size) for picture in pictures]
        width, height = pictures[0].size
        extent = (min(width, canvas_size), min(height, canvas_size))
        canvases = [lay_out(picture, extent, canvas_size) for picture in pictures]
    canvas, *focus = canvases
    return FittedScene(
        *fit_shapes(scene, size, fit, style),
        canvas=canvas,
        extent=extent,
        photo_size=(scene.width, scene.height),
        focus=[focus.pop(0) if image else None for image in own],
    )


def _region(
    relation: Relation, pair: np.ndarray, scene: Scene, view: View, style: str
) -> np.ndarray:
    """bool [P, P]: where the view shows the relation; `pair` [2, 4] holds its boxes in view pixels."""
    if style == "stored" and relation.image:
        # The image is black where it shows nothing, so the region is the whole view.
        return np.ones((view.size, view.size), bool)
    if style == "boxes":
        return union_region(pair, view.size)
    own = (b"", b"") if style == "stored" else participant_masks(relation, scene)
    if relation.mask and not all(own):
        return mask_region(relation.mask, scene.width, scene.height, view)
    without = [box for box, mask in zip(pair, own, strict=True) if not mask]
    region = union_region(np.reshape(without, (-1, 4)), view.size)
    for mask in filter(None, own):
        region |= mask_region(mask, scene.width, scene.height, view)
    return region


def participant_masks(relation: Relation, scene: Scene) -> tuple[bytes, bytes]:
    """The masks of a relation's subject and object; empty where the scene has none."""
    if relation.pair is None or not scene.object_masks:
        return b"", b""
    subject, object_ = (scene.object_masks[i] if i >= 0 else b"" for i in relation.pair)
    return subject, object_


def _centers_of(relation: Relation, scene: Scene, view: View) -> np.ndarray:
    """float [4]: the centers of subject and object in view pixels; a box's where there is no mask."""
    found = (relation.boxes[:, :2] + relation.boxes[:, 2:]) / 2
    for center, mask in zip(found, participant_masks(relation, scene), strict=True):
        if mask and (mass := masks.center_of_mass(mask, (scene.width, scene.height))):
            center[...] = mass
    return (found * view.scale + view.offset).ravel()
