"""Opens any image as upright RGB: a file, its bytes, a PIL image, or an array or tensor of any framework.

Everything in this package opens images here, so that a model is trained, evaluated and used on the same pixels.
This module needs only Pillow, NumPy and the package's other `image_` modules, because models that are exported
for PyTorch carry a copy of all of them.
"""

from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

# Relative, so that the copies of these modules in a folder for PyTorch find each other.
from .image_arrays import from_array
from .image_colors import convert, over_backdrop
from .image_depth import stored_depth
from .image_files import (
    MAX_PIXELS,
    ImageFileError,
    cut_files_refused,
    explain,
    file_content,
    open_file,
    without_texts,
)

BACKDROP = "white"  # what shows through transparent pixels
_EXIF_ORIENTATION = 0x0112
# The operation that turns a stored image upright, by its EXIF orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class OpenedImage(NamedTuple):
    """An image and how it was stored.

    Attributes:
      picture: The upright RGB image.
      stored: The image before it was turned and converted.
      format: Format of the file, such as "JPEG"; None if the image didn't come from a file.
      orientation: The EXIF orientation it was stored with, 1 to 8; 1 is upright.
      levels: The values taken as black and white; None if there were at most 8 bits without a sign.
    """

    picture: Image.Image
    stored: Image.Image
    format: str | None
    orientation: int
    levels: tuple[float, float] | None


def to_rgb(source: Any) -> Image.Image:
    """Opens one image as upright 8-bit RGB. See `open_image`."""
    return open_image(source).picture


def open_image(
    source: Any,
    *,
    backdrop: str = BACKDROP,
    levels: tuple[float, float] | None = None,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> OpenedImage:
    """Opens one image, decodes it and turns it upright.

    For an animation, the first frame is used. Transparent pixels are laid on `backdrop`. Gray and color with
    more than 8 bits are scaled by the range that the file declares, or else by the smallest whole number of
    bits that holds the largest value, hot pixels aside; alpha is scaled by its own range. `image_range` has
    the rule. For a PIL image that is already decoded, the range is known as long as its file is; an image that
    was changed since, or made from another, has 8 bits.

    Arrays are uint8, bool, or floats from 0 to 1; their axes are [H, W], [H, W, C] or [C, H, W] with C = 1
    (gray), 3 (RGB) or 4 (RGBA). If both the first and the last axis could be channels, as in [3, H, 3], the
    layout is ambiguous and the image is refused.

    Args:
      source: A path; the bytes of a file; an open file; a PIL image; or an array or tensor, recognized by
        protocol (`__array__`, `__array_interface__`, `__dlpack__`).
      backdrop: Color behind transparent pixels.
      levels: The values that are black and white, for images with more than 8 bits; None for the rule above.
      name: Name of the image in messages.
      max_pixels: Most pixels of a file.

    Raises:
      ImageFileError: The file can't be decoded.
      OSError: The file can't be read.
      ValueError: An array isn't a single image.
    """
    content, called = read(source)
    name = name or called
    if content is None and not isinstance(source, Image.Image):
        picture = over_backdrop(from_array(source), backdrop, 8)
        return OpenedImage(picture, picture, None, 1, None)
    picture = source
    try:
        with cut_files_refused():
            if content is not None:
                content = without_texts(content)
                picture = open_file(content, max_pixels)
            depth = stored_depth(picture)
            if depth == 16 and content is None:
                content = file_content(picture)
            turned = _orientation(picture) if picture.format == "TIFF" else 1  # Pillow does it
            picture.load()
            orientation = _orientation(picture)
            rgb, levels = convert(picture, content, backdrop, depth, levels)
    except (MemoryError, FileNotFoundError):
        raise
    except Exception as error:  # decoders raise nearly anything on broken files
        raise ImageFileError(f"{name}: {explain(error, content)}") from error
    if orientation != 1:
        rgb = rgb.transpose(TURNS[orientation])
        rgb.info.clear()  # it says how the stored picture lies, and would turn the upright one again
    return OpenedImage(rgb, picture, picture.format, max(orientation, turned), levels)


def read(source: Any) -> tuple[bytes | None, str]:
    """Returns the bytes of an image that is given as a file, else None; and its name in messages.

    Raises:
      OSError: The file can't be read.
    """
    if isinstance(source, str | Path):
        return Path(source).expanduser().read_bytes(), str(source)
    name = str(getattr(source, "filename", "") or getattr(source, "name", "") or "the picture")
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), name
    if hasattr(source, "read") and not isinstance(source, Image.Image):
        return source.read(), name
    return None, name


def _orientation(picture: Image.Image) -> int:
    try:
        orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
        return orientation if orientation in TURNS else 1
    except Exception:  # broken EXIF says nothing about the rotation
        return 1
