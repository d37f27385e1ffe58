"""Converts a stored image of any mode and depth to 8-bit RGB, with transparent pixels laid on a backdrop.

This module needs only Pillow and NumPy, because models that are exported for PyTorch carry a copy.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from .image_depth import deep_values, ppm_largest
from .image_files import ImageFileError
from .image_range import (
    BITS,
    FULL,
    SAMPLE_FORMAT,
    Levels,
    extremes,
    find_levels,
    first,
    to_eight_bits,
)

_NO_DATA, _PHOTOMETRIC = 42113, 262  # TIFF's tags
# What programs write where there is no value.
_USUAL_MISSING = (-9999.0, -32767.0, -32768.0, -99999.0)
_WHITE_IS_ZERO, _SIGNED = 0, 2
_UPPER_HALF = 128  # an upper byte of an image that fills its 16 bits
_LOST = 16  # upper bytes below this hold less than 4 bits by themselves
_TOO_DARK = (
    "its 16-bit colors use less than a sixteenth of their range, and Pillow has kept the upper 8 bits. Pass "
    "the file itself, scale the colors to the full range, or save them with 8 bits"
)


def convert(
    picture: Image.Image,
    content: bytes | None,
    backdrop: str,
    depth: int,
    levels: Levels | None = None,
) -> tuple[Image.Image, Levels | None]:
    """Returns the image in RGB and, if it has more than 8 bits, the values taken as black and white.

    Args:
      picture: The decoded image.
      content: The file that it was decoded from; None if unknown.
      backdrop: Color behind transparent pixels.
      depth: Bits of a stored value.
      levels: The values that are black and white; None to find them by `image_range`.

    Raises:
      ImageFileError: 16-bit colors were decoded elsewhere, and what they need was lost.
    """
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16") or _is_signed_byte(picture):
        return _convert_gray(picture, content, backdrop, levels)
    if depth == 16 and picture.mode in ("RGB", "RGBA"):
        return _convert_colors(picture, content, backdrop, levels)
    inks = np.asarray(picture).max() if depth == 16 and picture.mode == "CMYK" else 0
    if 0 < inks < _LOST:
        raise ImageFileError(_TOO_DARK)
    return over_backdrop(picture, backdrop, depth), None


def _convert_gray(
    picture: Image.Image, content: bytes | None, backdrop: str, levels: Levels | None
) -> tuple[Image.Image, Levels]:
    tags = getattr(picture, "tag_v2", None) or {}
    values = _known(np.asarray(picture), tags)
    # PGM, not PFM, which Pillow calls PPM as well: read by its own largest value already. One of 65,535 says no
    # more than that there are 16 bits, as in a TIFF: programs write it for 12-bit values as well.
    if levels is None and picture.format == "PPM" and picture.mode != "F":
        levels = None if content and ppm_largest(content) == FULL[1] else FULL
    levels = levels or find_levels(values, tags, content, floats=picture.mode == "F")
    gray = to_eight_bits(values, levels)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts only 8-bit values
        gray = 255 - gray
    rgb = Image.fromarray(gray).convert("RGB")
    key = picture.info.get("transparency")
    if isinstance(key, int):
        rgb.paste(backdrop, mask=Image.fromarray(values == key))
    return rgb, levels


def _is_signed_byte(picture: Image.Image) -> bool:
    """Whether an image is a TIFF of signed 8-bit values, which Pillow gives out as unsigned ones."""
    tags = getattr(picture, "tag_v2", None) or {}
    return picture.mode == "L" and first(tags, SAMPLE_FORMAT) == _SIGNED


def _known(values: np.ndarray, tags: Mapping[int, Any]) -> np.ndarray:
    """Gray values as their TIFF defines them: signed or not, and NaN where there is no value."""
    if values.dtype == np.uint8:  # see `_is_signed_byte`
        values = values.view(np.int8)
    if (
        values.dtype == np.int32
        and first(tags, BITS) == 32
        and first(tags, SAMPLE_FORMAT) in (None, 1)
    ):
        values = values.view(np.uint32)
    try:
        missing = float(str(first(tags, _NO_DATA)).strip(" \0"))
    except ValueError:
        missing = None
    absent = _usual_missing(values) if missing is None else values == missing
    if values.dtype.kind == "f":
        absent |= np.isfinite(values) & (
            np.abs(values) > 1e30
        )  # as GIS programs write missing values
    return np.where(absent, np.nan, values.astype(np.float64)) if absent.any() else values


def _usual_missing(values: np.ndarray) -> np.ndarray:
    """Where values [H, W] are the number that programs write for a missing one, without declaring it.

    It lies further below all others than these lie apart; no picture's darkest pixels do. Otherwise it would be
    taken for black, and everything else would be white.
    """
    absent = np.zeros(values.shape, bool)
    if values.dtype.kind not in "fi" or not values.size:
        return absent
    known = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    for number in sorted(_USUAL_MISSING):
        here = values == number
        others = values[known & ~here & ~absent]
        if not here.any() or not others.size:
            continue
        low, high = float(others.min()), float(others.max())
        if low > number and low - number > high - low:
            absent |= here
    return absent


def _convert_colors(
    picture: Image.Image, content: bytes | None, backdrop: str, levels: Levels | None
) -> tuple[Image.Image, Levels]:
    """Converts colors. Pillow keeps the upper 8 bits, which are enough if colors and alpha fill their range.

    If they don't, or if a color is transparent, the lower 8 bits are read too.
    """
    upper, key = np.asarray(picture), picture.info.get("transparency")
    channels = [upper[..., :3].max(axis=2), *([upper[..., 3]] if upper.shape[2] == 4 else [])]
    if (
        key is None
        and levels in (None, FULL)
        and all(extremes(x)[1] >= _UPPER_HALF for x in channels)
    ):
        return over_backdrop(picture, backdrop, 16), FULL
    values = deep_values(content, upper) if content else None
    if values is None:
        if upper[..., :3].max() < _LOST:
            raise ImageFileError(_TOO_DARK)
        values = upper.astype(np.uint16) * 257  # close enough
    tags = getattr(picture, "tag_v2", None) or {}
    levels = levels or find_levels(values[..., :3].max(axis=2), tags, content)
    alpha = np.full(values.shape[:2], 255, np.uint8)
    if values.shape[2] == 4:
        alpha = to_eight_bits(
            values[..., 3], find_levels(values[..., 3], None, content, alpha=True)
        )
    if isinstance(key, tuple) and len(key) == 3:
        alpha = np.where((values[..., :3] == key).all(axis=-1), np.uint8(0), alpha)
    eight = upper[..., :3] if levels == FULL else to_eight_bits(values[..., :3], levels)
    return over_backdrop(Image.fromarray(np.dstack([eight, alpha])), backdrop, 8), levels


def over_backdrop(picture: Image.Image, backdrop: str, depth: int) -> Image.Image:
    """Converts an 8-bit image to RGB, with transparent pixels laid on the backdrop."""
    key = picture.info.get("transparency")
    if picture.mode in ("1", "L", "RGB") and key is not None:
        return _without_key(picture, key, backdrop, depth)
    if picture.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
        assert converted is not None  # as it is where the picture itself is changed
        return converted
    if picture.mode == "La":
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        behind = Image.new("RGBA", picture.size, backdrop)
        return Image.alpha_composite(behind, picture.convert("RGBA")).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _without_key(picture: Image.Image, key: Any, backdrop: str, depth: int) -> Image.Image:
    """Lays the pixels of the one transparent color on the backdrop.

    The key of a PNG is given in the file's own depth, but Pillow has 8 bits; of 16 bits it has the upper ones.
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
