"""Any picture as upright RGB pixels: a file, its bytes, a PIL image, or an array or tensor of any framework.

Everything in this package that looks at a picture opens it here, so that a model is trained, evaluated and used
on the same pixels. The module needs Pillow and NumPy only and imports only `image_files` of the package: models
that are exported for PyTorch carry a copy of both.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

# Relative, so that the copies of these two modules in a folder for PyTorch find each other.
from .image_files import (
    MAX_PIXELS,
    ImageFileError,
    explain,
    file_content,
    lower_bytes,
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
_CHANNELS = (1, 3, 4)
_FULL = (0.0, 65535.0)  # levels
_SIGNED = (0.0, 32767.0)
_BITS, _SAMPLE_FORMAT, _NO_DATA = 258, 339, 42113  # TIFF's tags
# Bits that cameras, scanners and programs use for a gray value.
_DEPTHS = (8, 10, 12, 14, 16, 24, 31, 32)


class OpenedImage(NamedTuple):
    """A picture and how it was stored.

    Attributes:
      picture: RGB, upright.
      stored: the picture before it was turned and converted.
      format: of the file, such as "JPEG"; None: it didn't come from a file.
      orientation: the EXIF orientation it was stored with, 1 to 8; 1 is upright.
      levels: the gray values taken as black and white; None: there were no more than 8 bits.
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

    Of an animation the first frame is taken. Transparent pixels are laid on `backdrop`. Gray pictures of more
    than 8 bits are read by the range that their file declares (TIFF's sample range, PNG's significant bits) or
    else by the smallest usual depth (8, 10, 12, 14, 16, 24, 31 bits) that holds their largest value; of floats,
    by 0 to 1 or the smallest usual depth. With values well below zero the range is that of the values.

    Arrays are uint8, bool, or floats from 0 to 1; their axes are [H, W], [H, W, C] or [C, H, W] with C = 1
    (gray), 3 (RGB) or 4 (RGBA). Where both the first and the last axis could be channels, as in [3, H, 3], the
    layout can't be told and the picture is refused.

    Args:
      source: a path; the bytes of a file; an open file; a PIL image; or an array or tensor, recognized by
        protocol (`__array__`, `__array_interface__`, `__dlpack__`).
      backdrop: color behind transparent pixels.
      levels: gray values that are black and white, for pictures of more than 8 bits; None: as above.
      name: what to call the picture in messages.
      max_pixels: most pixels of a file.

    Raises:
      ImageFileError: the file can't be decoded.
      OSError: the file can't be read.
      ValueError: an array isn't one picture.
    """
    content = None
    if isinstance(source, str | Path):
        name = name or str(source)
        content = Path(source).expanduser().read_bytes()
    elif isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
    elif hasattr(source, "read") and not isinstance(source, Image.Image):
        content = source.read()
    elif not isinstance(source, Image.Image):
        picture = _flatten(_from_array(source), backdrop, 8)
        return OpenedImage(picture, picture, None, 1, None)
    picture = source
    name = name or getattr(source, "filename", "") or "the picture"
    try:
        if content is not None:
            content = without_texts(content)
            picture = open_file(content, max_pixels)
        depth = _depth(picture)
        if depth == 16 and content is None:
            content = file_content(picture)
        turned = _orientation(picture) if picture.format == "TIFF" else 1  # Pillow does it
        picture.load()  # a truncated file fails here
        orientation = _orientation(picture)
        rgb, levels = _convert(picture, content, backdrop, depth, levels)
    except (MemoryError, FileNotFoundError):
        raise
    except Exception as error:  # decoders raise nearly anything on broken files
        raise ImageFileError(f"{name}: {explain(error, content)}") from error
    if orientation != 1:
        rgb = rgb.transpose(TURNS[orientation])
    return OpenedImage(rgb, picture, picture.format, max(orientation, turned), levels)


def separate(images: Any) -> list[Any]:
    """One picture or several, as a list of pictures, each for `open_image`.

    Several are a list, tuple or other iterable, or an array with one axis more, [N, H, W, C] or [N, C, H, W].

    Raises:
      ValueError: it's neither.
    """
    if isinstance(images, str | Path | bytes | bytearray | memoryview | Image.Image):
        return [images]
    if hasattr(images, "read"):  # an open file
        return [images]
    if is_array(images):
        array = to_array(images)
        if array.dtype.kind in "USO" and array.ndim == 1:  # an array of paths or of pictures
            return array.tolist()
        return list(array) if array.ndim == 4 else [images]
    if isinstance(images, dict | set | frozenset) or not hasattr(images, "__iter__"):
        raise ValueError(
            f"{_type(images)} is neither a picture nor a list of pictures; {_EXPECTED}"
        )
    return list(images)


def is_array(value: Any) -> bool:
    """Whether a value is an array or tensor, by protocol."""
    protocols = ("__array__", "__array_interface__", "__dlpack__")
    return not isinstance(value, Image.Image) and any(hasattr(value, name) for name in protocols)


def to_array(value: Any) -> np.ndarray:
    """An array or tensor of any framework as a NumPy array; bfloat16 becomes float32.

    Raises:
      ValueError: it can't be read from here.
    """
    try:
        if hasattr(value, "detach"):  # PyTorch's tensors, with a gradient or on another device
            value = value.detach().cpu()
            value = value.float() if "bfloat16" in str(value.dtype) else value
        unreadable = not hasattr(value, "__array__") and not hasattr(value, "__array_interface__")
        exported = unreadable and hasattr(value, "__dlpack__")
        array = np.from_dlpack(value) if exported else np.asarray(value)
    except Exception as error:
        raise ValueError(f"{_type(value)} can't be read as an array: {error}") from error
    foreign = "float" in array.dtype.name and not np.issubdtype(array.dtype, np.floating)
    return array.astype(np.float32) if foreign else array  # JAX's bfloat16 and its likes


_EXPECTED = (
    "expected a path, a PIL image, or an array [H, W], [H, W, C] or [C, H, W] with 1, 3 or 4 channels, "
    "uint8 or floats from 0 to 1"
)


def _type(value: Any) -> str:
    kind = type(value)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    shape = getattr(value, "shape", None)
    return name if shape is None else f"{name} of {value.dtype} {list(shape)}"


def _from_array(source: Any) -> Image.Image:
    if not is_array(source):
        raise ValueError(f"{_type(source)} isn't a picture; {_EXPECTED}")
    array, what = to_array(source), _type(source)
    if array.ndim == 3:
        first, last = array.shape[0] in _CHANNELS, array.shape[2] in _CHANNELS
        if first and last:
            raise ValueError(
                f"{what} could be [H, W, C] or [C, H, W]; pass a PIL image (Image.fromarray of [H, W, C])"
            )
        if first:
            array = array.transpose(1, 2, 0)
        elif not last:
            raise ValueError(
                f"{what} isn't a picture; {_EXPECTED} (several gray ones are [N, H, W, 1])"
            )
    elif array.ndim != 2:
        raise ValueError(f"{what} isn't one picture; {_EXPECTED}")
    if not array.size:
        raise ValueError(f"{what} has no pixels")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(_to_uint8(array, what)))


def _to_uint8(array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if low >= 0 and high <= 1:
            return np.rint(array.astype(np.float32) * 255).astype(np.uint8)
        raise ValueError(
            f"{what} has values from {low:g} to {high:g}; floats must be from 0 to 1. Values from 0 to 255 go "
            "in as uint8, pixels that are normalized already straight into the model (encode_pixels, or "
            "pixel_values)"
        )
    raise ValueError(
        f"{what} should be uint8, or floats from 0 to 1. Scale it to 0-255 and convert it to uint8"
    )


def _depth(picture: Image.Image) -> int:
    """Bits of a stored value, 2, 4, 8 or 16, of a picture that isn't decoded yet: Pillow makes 8 of all."""
    tiles = getattr(picture, "tile", None)
    found = re.search(r";(2|4|16)", str(tiles[0][3])) if tiles else None
    return int(found[1]) if found else 8


def _orientation(picture: Image.Image) -> int:
    try:
        orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
        return orientation if orientation in TURNS else 1
    except Exception:  # broken EXIF says nothing about the rotation
        return 1


def _convert(
    picture: Image.Image,
    content: bytes | None,
    backdrop: str,
    depth: int,
    levels: tuple[float, float] | None,
) -> tuple[Image.Image, tuple[float, float] | None]:
    """Returns the picture in RGB, and the levels of a gray one of more than 8 bits."""
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        if depth == 16 and picture.mode in ("RGB", "RGBA"):
            return _convert_colors(picture, content, backdrop, levels)
        return _flatten(picture, backdrop, depth), None
    tags = getattr(picture, "tag_v2", None) or {}
    values = _known(np.asarray(picture), tags)
    floats = values.dtype.kind == "f"
    finite = values[np.isfinite(values)] if floats else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if levels is None and picture.format == "PPM":  # read by its own largest value already
        levels = _FULL
    if (
        levels is None
        and _first(tags, _SAMPLE_FORMAT) == 2
        and _first(tags, _BITS) == 16
        and low >= 0
    ):
        levels = _SIGNED if high >= 1 << 14 else None
    levels = levels or _declared(tags, content, high) or _levels(low, high, picture.mode == "F")
    gray = _to_eight_bits(values, levels)
    if tags.get(262) == 0:  # white is zero; Pillow turns round only what has 8 bits
        gray = 255 - gray
    rgb = Image.fromarray(gray).convert("RGB")
    key = picture.info.get("transparency")
    if isinstance(key, int):
        rgb.paste(backdrop, mask=Image.fromarray(values == key))
    return rgb, levels


def _known(values: np.ndarray, tags: dict[int, Any]) -> np.ndarray:
    """Gray values as their TIFF means them: unsigned ones of 32 bits, and NaN where there is no value."""
    if (
        values.dtype == np.int32
        and _first(tags, _BITS) == 32
        and _first(tags, _SAMPLE_FORMAT) in (None, 1)
    ):
        values = values.view(np.uint32)
    try:
        missing = float(str(_first(tags, _NO_DATA)).strip(" \0"))
    except ValueError:
        missing = None
    absent = np.zeros(values.shape, bool) if missing is None else values == missing
    if values.dtype.kind == "f":
        absent |= np.isfinite(values) & (np.abs(values) > 1e30)  # as GIS programs write it
    return np.where(absent, np.nan, values.astype(np.float64)) if absent.any() else values


def _first(tags: dict[int, Any], tag: int) -> Any:
    value = tags.get(tag)
    return value[0] if isinstance(value, tuple) and value else value


def _convert_colors(
    picture: Image.Image,
    content: bytes | None,
    backdrop: str,
    levels: tuple[float, float] | None,
) -> tuple[Image.Image, tuple[float, float]]:
    """As `_convert`, for colors of 16 bits.

    Pillow keeps the upper 8, which are enough where colors fill the range. Where they don't, and where a color
    is transparent, the lower 8 are read too.
    """
    upper, key = np.asarray(picture), picture.info.get("transparency")
    if upper[..., :3].max() >= 64 and key is None and levels in (None, _FULL):
        return _flatten(picture, backdrop, 16), _FULL
    lower = lower_bytes(content) if content else None
    if lower is None:
        if upper[..., :3].max() < 16:
            raise ImageFileError(
                "its 16-bit colors use less than a sixteenth of their range, and Pillow has kept the upper 8 "
                "bits. Scale them to the full range, or save the picture with 8 bits"
            )
        return _flatten(picture, backdrop, 16), _FULL
    values = upper[..., :3].astype(np.uint16) << 8 | lower[..., :3]
    tags = getattr(picture, "tag_v2", None) or {}
    high = float(values.max())
    levels = levels or _declared(tags, content, high) or _levels(0.0, high, floats=False)
    eight = upper[..., :3] if levels == _FULL else _to_eight_bits(values, levels)
    alpha = upper[..., 3] if picture.mode == "RGBA" else np.full(values.shape[:2], 255, np.uint8)
    if isinstance(key, tuple) and len(key) == 3:
        alpha = np.where((values == key).all(axis=-1), np.uint8(0), alpha)
    return _flatten(Image.fromarray(np.dstack([eight, alpha])), backdrop, 8), levels


def _to_eight_bits(values: np.ndarray, levels: tuple[float, float]) -> np.ndarray:
    black, white = levels
    values = np.nan_to_num(values.astype(np.float32), nan=black, posinf=white, neginf=black)
    return np.rint(np.clip((values - black) * (255 / (white - black)), 0, 255)).astype(np.uint8)


def _declared(
    tags: dict[int, Any], content: bytes | None, high: float
) -> tuple[float, float] | None:
    """The gray values that the file itself says are black and white."""

    def number(tag: int) -> float | None:
        value = tags.get(tag)
        value = value[0] if isinstance(value, tuple) and value else value
        return None if value is None or isinstance(value, tuple | str | bytes) else float(value)

    for least, most in ((340, 341), (280, 281)):  # SMinSampleValue, MinSampleValue, and their likes
        black, white = number(least) or 0.0, number(most)
        if white is not None and white > black and np.isfinite([black, white]).all():
            return black, white
    bits = number(258)
    if bits and 8 < bits < 16 and high < 2**bits:
        return 0.0, 2**bits - 1.0
    if content and content.startswith(b"\x89PNG"):
        # PNG's samples should fill their range, but some programs write 12 bits as they are and say so here.
        place = content.find(b"sBIT", 0, content.find(b"IDAT"))
        bits = content[place + 4] if place > 0 else 0
        if 0 < bits <= 16:
            return 0.0, 2.0 ** (bits if high < 2**bits else 16) - 1
    return None


def _levels(low: float, high: float, floats: bool) -> tuple[float, float]:
    """The gray values taken as black and white where nothing says it."""
    if low < 0 and -low > 0.05 * high:
        return low, max(high, low + 1.0)
    if floats and high <= 1.5:  # resampling overshoots a little
        return 0.0, 1.0
    if floats and high < 32:  # neither 0-1 nor a picture of 8 bits that shows anything
        return 0.0, high
    return 0.0, next((2.0**bits - 1 for bits in _DEPTHS if high < 2**bits), high)


def _flatten(picture: Image.Image, backdrop: str, depth: int) -> Image.Image:
    """A picture of 8 bits in RGB, with transparent pixels laid on the backdrop."""
    key = picture.info.get("transparency")
    if picture.mode in ("1", "L", "RGB") and key is not None:
        return _without_key(picture, key, backdrop, depth)
    if picture.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    if picture.mode == "La":
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        behind = Image.new("RGBA", picture.size, backdrop)
        return Image.alpha_composite(behind, picture.convert("RGBA")).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _without_key(picture: Image.Image, key: Any, backdrop: str, depth: int) -> Image.Image:
    """Lays the pixels of the one transparent color on the backdrop.

    The key of a PNG is given in the file's own depth, where Pillow has 8 bits; of 16 it has the upper ones.
    """
    keys = np.ravel(key) if isinstance(key, int | tuple | list) else np.empty(0, int)
    picture = picture.convert("RGB") if picture.mode != "1" else picture.convert("L").convert("RGB")
    if len(keys) not in (1, 3):
        return picture
    if depth == 16 or keys.max() > 255:
        keys = keys >> 8
    elif depth < 8:
        keys = keys * (255 // (2**depth - 1))
    picture = picture.copy()
    picture.info.pop("transparency", None)
    mask = (np.asarray(picture) == keys).all(axis=-1)
    picture.paste(backdrop, mask=Image.fromarray(mask))
    return picture
