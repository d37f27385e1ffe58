"""Reads 16-bit colors, of which Pillow keeps only the upper 8 bits.

This module needs only Pillow and NumPy, because models that are exported for PyTorch carry a copy.
"""

import re
import sys
import zlib

import numpy as np
from PIL import Image

from .image_files import file_content, open_encoded
from .image_range import BITS, find_levels, first

# White space and comments between the numbers in a PPM's header, which is within the first bytes.
_BETWEEN, _HEADER = rb"(?:\s|#[^\r\n]*[\r\n])+", 4096
_GRAY_ALPHA, _RGBA = 4, 6  # color types as numbered in PNG
_PNG_HEADER = slice(
    12, 29
)  # including its name: size, depth, colors, compression, filter, interlacing


def stored_depth(picture: Image.Image) -> int:
    """Bits of a stored value, 2, 4, 8 or 16; Pillow converts all to 8.

    For an image that is already decoded, 16 is found only if a TIFF's tags or its original PNG or PPM still say
    so. PPM with another largest value than 65,535 counts as 8, since Pillow reads it by that value.
    """
    if picture.format == "PPM" and picture.mode in ("I", "RGB"):
        return 16 if ppm_largest(file_content(picture, _HEADER) or b"") == 65535 else 8
    tiles = getattr(picture, "tile", None)
    if tiles:
        found = re.search(r";(2|4|16)", str(tiles[0][3]))
        return int(found[1]) if found else 8
    if picture.mode not in ("RGB", "RGBA"):
        return 8
    if picture.format == "TIFF":
        return 16 if first(getattr(picture, "tag_v2", {}), BITS) == 16 else 8
    if picture.format == "PNG":
        start = file_content(picture, 32) or b""
        return 16 if start[24:25] == b"\x10" else 8
    return 8


def ppm_largest(content: bytes) -> int | None:
    """The largest value that a PGM or PPM declares; None for any other file."""
    found = re.match(rb"P[2356]" + 3 * (_BETWEEN + rb"(\d+)"), content[:_HEADER])
    return int(found[3]) if found else None


def deep_values(content: bytes, upper: np.ndarray) -> np.ndarray | None:
    """Reads all 16 bits of an image, uint16 [H, W, C]; None if they can't be read or belong to another image.

    Args:
      content: The file.
      upper: The image as Pillow decodes it, uint8 [H, W, C].
    """
    try:
        picture = open_encoded(content)
        premultiplied = "RGBa" in str(picture.tile)
        if picture.format == "PPM":
            values = _ppm_colors(content)
            # Pillow rounds to 8 bits here instead of cutting.
            return values if np.abs(values / 257 - upper).max() <= 1 else None
        if "LA;16" in str(picture.tile):
            values = _gray_alpha(content)
        else:
            high, low = (_one_byte(content, lower) for lower in (False, True))
            values = high.astype(np.uint16) << 8 | low
    except (OSError, ValueError, AttributeError, KeyError, IndexError, SyntaxError):
        return None
    if values.shape != upper.shape:
        return None
    if premultiplied:  # Pillow has divided too, with different rounding
        return _divided(values)
    return values if np.array_equal(values >> 8, upper) else None


def _one_byte(content: bytes, lower: bool) -> np.ndarray:
    """Reads the upper or the lower bytes of 16-bit values, uint8 [H, W, C].

    Pillow unpacks one byte of a value, chosen by the file's byte order; for the lower byte it is given the
    opposite order.
    """
    other = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}

    def changed(text):
        text = text.replace("RGBa;16", "RGBA;16") if isinstance(text, str) else text
        if not lower or not isinstance(text, str):
            return text
        return re.sub(r";16([BLN])$", lambda found: ";16" + other[found[1]], text)

    picture = open_encoded(content)
    tiles = []
    for tile in picture.tile:
        if tile.args is None or isinstance(tile.args, str):
            args = changed(tile.args)
        else:
            args = tuple(map(changed, tile.args))
        tiles.append(tile._replace(args=args))
    if lower and tiles == picture.tile:
        raise ValueError("no layout that gives the lower bytes")
    picture.tile = tiles
    return np.asarray(picture)


def _ppm_colors(content: bytes) -> np.ndarray:
    """Reads the colors of a PPM, uint16 [H, W, 3], as the gray values of a PGM that is three times as wide."""
    found = re.match(rb"P([36])(" + _BETWEEN + rb")(\d+)", content)
    if not found:
        raise ValueError("no PPM")
    kind, width = {b"3": b"P2", b"6": b"P5"}[found[1]], 3 * int(found[3])
    renamed = kind + found[2] + str(width).encode() + content[found.end() :]
    values = np.asarray(open_encoded(renamed))
    return values.astype(np.uint16).reshape(len(values), -1, 3)


def _gray_alpha(content: bytes) -> np.ndarray:
    """Reads gray and alpha of a 16-bit PNG as RGBA, uint16 [H, W, 4].

    Pillow doesn't unpack the lower bytes of these. But a pixel has four bytes, like 8-bit RGBA; declared as
    RGBA, it is unpacked completely.
    """
    header = bytearray(content[_PNG_HEADER])
    header[12], header[13] = 8, _RGBA
    end = _PNG_HEADER.stop
    renamed = content[: _PNG_HEADER.start] + header + zlib.crc32(header).to_bytes(4, "big")
    pairs = np.asarray(open_encoded(renamed + content[end + 4 :])).astype(np.uint16)
    values = pairs[..., ::2] << 8 | pairs[..., 1::2]
    return values[..., [0, 0, 0, 1]]


def _divided(values: np.ndarray) -> np.ndarray:
    """Undoes the multiplication of colors by their alpha."""
    alpha = values[..., 3:].astype(np.float64)
    white = find_levels(values[..., 3], alpha=True)[1]
    colors = np.divide(
        values[..., :3] * white, alpha, where=alpha > 0, out=np.zeros((*alpha.shape[:2], 3))
    )
    return np.concatenate(
        [np.clip(np.rint(colors), 0, 65535).astype(np.uint16), values[..., 3:]], axis=2
    )
