"""Opens the photos of a data set: confined to its folder, checked to the last pixel, upright and RGB."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from scenarioclip_jax.data.annotations import Box

_EXIF_ORIENTATION = 0x0112
# What turns a stored picture upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FORMATS = ("JPEG", "PNG")  # what the shards hold; anything else is encoded again
_QUALITY = 95


class PhotoError(ValueError):
    """A picture can't be used; `reason` is the short name for the list of problems."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


class Photo(NamedTuple):
    picture: Image.Image  # RGB, upright
    encoded: bytes  # of `picture`: JPEG or PNG; the file's own bytes where nothing had to change
    orientation: int  # the EXIF orientation it was stored with, 1 to 8; 1 is upright
    repairs: list[tuple[str, str]]  # reason and detail of what was changed


def resolve_inside(root: Path, path: str) -> Path:
    """Returns the real path of a file below `root`; raises PhotoError if it leaves it or isn't there."""
    try:
        real = (root / path).resolve()
        inside = real.is_relative_to(root.resolve())
        exists = inside and real.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # NUL bytes, overlong names, link loops
        raise PhotoError("missing_image", f"{path!r} is no usable path: {error}") from error
    if not inside:
        raise PhotoError(
            "path_outside_root", f"{path!r} leaves the data root; paths are relative to it"
        )
    if not exists:
        raise PhotoError("missing_image", f"there is no file {path!r} below the data root")
    return real


def open_photo(root: Path, path: str, backdrop: str = "white") -> Photo:
    """Reads and fully decodes a photo.

    EXIF rotation is applied and removed. Grayscale, CMYK, palette and 16-bit pictures become RGB, transparent
    ones are laid on a backdrop.

    Args:
      root: the data root.
      path: the photo, relative to it.
      backdrop: colour behind transparent pixels.

    Raises:
      PhotoError: with reason path_outside_root, missing_image or unreadable_image.
    """
    file = resolve_inside(root, path)
    try:
        encoded = file.read_bytes()
        picture = Image.open(io.BytesIO(encoded))
        picture.load()  # a truncated file fails here
        orientation = _orientation(picture)
        stored_format, mode = picture.format, picture.mode
        rgb = _to_rgb(picture, backdrop)
    except Exception as error:  # decoders raise nearly anything on broken files
        raise PhotoError("unreadable_image", f"{path!r} can't be decoded: {error}") from error
    repairs = []
    if mode != "RGB":
        repairs.append(("not_rgb", f"{path!r} is stored as {mode}; converted to RGB"))
    if orientation != 1:
        rgb = rgb.transpose(_TURNS[orientation])
        repairs.append(
            ("exif_rotated", f"{path!r} has EXIF orientation {orientation}; turned upright")
        )
    if repairs or stored_format not in _FORMATS:
        encoded = encode(rgb, "PNG" if stored_format == "PNG" else "JPEG")
    return Photo(rgb, encoded, orientation, repairs)


def encode(picture: Image.Image, format: str) -> bytes:
    """Returns an RGB picture as "PNG" or, at high quality, as "JPEG"."""
    stream = io.BytesIO()
    options = {"quality": _QUALITY, "subsampling": 0} if format == "JPEG" else {}
    picture.save(stream, format, **options)
    return stream.getvalue()


def _orientation(picture: Image.Image) -> int:
    try:
        orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # broken EXIF says nothing about the rotation
        return 1
    return orientation if orientation in _TURNS else 1


def _to_rgb(picture: Image.Image, backdrop: str) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode == "I":
        pixels = np.asarray(picture).astype(np.int64)
        picture = Image.fromarray(np.clip(pixels >> 8, 0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        behind = Image.new("RGBA", picture.size, backdrop)
        return Image.alpha_composite(behind, picture).convert("RGB")
    return picture.convert("RGB")


def turn_like(picture: Image.Image, orientation: int) -> Image.Image:
    """Turns a picture that was stored like a photo with that EXIF orientation."""
    return picture.transpose(_TURNS[orientation]) if orientation != 1 else picture


def boxes_upright(boxes: list[Box], photo: Photo) -> list[Box]:
    """Returns the boxes in pixels of the upright photo.

    Annotation tools differ in whether they apply EXIF rotation. If the photo is stored on its side and all
    boxes fit into the stored picture but not into the upright one, they are taken to be in stored pixels
    and turned with it. In any other case they are in upright pixels already.
    """
    if photo.orientation < 5 or not boxes:
        return boxes
    width, height = photo.picture.size  # upright; the stored size is the other way round
    right, bottom = max(max(b[0], b[2]) for b in boxes), max(max(b[1], b[3]) for b in boxes)
    if (right <= width and bottom <= height) or right > height or bottom > width:
        return boxes
    # Stored (x, y) to upright (x, y); the stored picture is `height` wide and `width` high.
    turn = {
        5: lambda x, y: (y, x),
        6: lambda x, y: (width - y, x),
        7: lambda x, y: (width - y, height - x),
        8: lambda x, y: (y, height - x),
    }[photo.orientation]
    turned = []
    for x0, y0, x1, y1 in boxes:
        (ax, ay), (bx, by) = turn(x0, y0), turn(x1, y1)
        turned.append((min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)))
    return turned
