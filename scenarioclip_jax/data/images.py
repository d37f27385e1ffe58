"""Any picture as upright RGB pixels: a file, its bytes, a PIL image, or an array or tensor of any framework.

Everything in this package that looks at a picture opens it here, so that a model is trained, evaluated and used
on the same pixels. The module needs Pillow and NumPy only, and of the package the other `image_` modules:
models that are exported for PyTorch carry a copy of all.
"""

from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

# Relative, so that the copies of these modules in a folder for PyTorch find each other.
from .image_arrays import from_array
from .image_colors import convert, flatten
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
# What turns a stored picture upright, by its EXIF orientation.
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
    """A picture and how it was stored.

    Attributes:
      picture: RGB, upright.
      stored: the picture before it was turned and converted.
      format: of the file, such as "JPEG"; None: it didn't come from a file.
      orientation: the EXIF orientation it was stored with, 1 to 8; 1 is upright.
      levels: the values taken as black and white; None: there were no more than 8 bits.
    """

    picture: Image.Image
    stored: Image.Image
    format: str | None
    orientation: int
    levels: tuple[float, float] | None


def to_rgb(source: Any) -> Image.Image:
    """One picture as an upright RGB image of 8 bits. See `open_image`."""
    return open_image(source).picture


def open_image(
    source: Any,
    *,
    backdrop: str = BACKDROP,
    levels: tuple[float, float] | None = None,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> OpenedImage:
    """Opens one picture, decodes it and turns it upright.

    Of an animation the first frame is taken. Transparent pixels are laid on `backdrop`. Gray and color of more
    than 8 bits is read by the range that its file declares, or else by the smallest whole number of bits that
    holds the largest value, hot pixels aside; alpha by its own range: `image_levels` has the rule. Of a PIL
    image that is decoded already the range is known as long as its file is; one that was changed since, or made
    from another, has 8 bits.

    Arrays are uint8, bool, or floats from 0 to 1; their axes are [H, W], [H, W, C] or [C, H, W] with C = 1
    (gray), 3 (RGB) or 4 (RGBA). Where both the first and the last axis could be channels, as in [3, H, 3], the
    layout can't be told and the picture is refused.

    Args:
      source: a path; the bytes of a file; an open file; a PIL image; or an array or tensor, recognized by
        protocol (`__array__`, `__array_interface__`, `__dlpack__`).
      backdrop: color behind transparent pixels.
      levels: the values that are black and white, for pictures of more than 8 bits; None: as above.
      name: what to call the picture in messages.
      max_pixels: most pixels of a file.

    Raises:
      ImageFileError: the file can't be decoded.
      OSError: the file can't be read.
      ValueError: an array isn't one picture.
    """
    content, called = read(source)
    name = name or called
    if content is None and not isinstance(source, Image.Image):
        picture = flatten(from_array(source), backdrop, 8)
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
    return OpenedImage(rgb, picture, picture.format, max(orientation, turned), levels)


def read(source: Any) -> tuple[bytes | None, str]:
    """The bytes of a picture that is given as a file, None for others; and what to call it in messages.

    Raises:
      OSError: the file can't be read.
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
