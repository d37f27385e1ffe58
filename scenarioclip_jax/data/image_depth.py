"""Colors of 16 bits, of which Pillow keeps the upper 8.

The module needs Pillow and NumPy only: models that are exported for PyTorch carry a copy.
"""

import re
import sys
import zlib

import numpy as np
from PIL import Image

from .image_files import file_content, open_encoded
from .image_levels import BITS, find_levels, first

_GRAY_ALPHA, _RGBA = 4, 6  # colors as a PNG numbers them
_PNG_HEADER = slice(12, 29)  # with its name: size, depth, colors, compression, filter, interlacing


def stored_depth(picture: Image.Image) -> int:
    """Bits of a stored value, 2, 4, 8 or 16: Pillow makes 8 of all.

    Of a picture that is decoded already, 16 is found where a TIFF's tags or the PNG it came from still say it.
    """
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


def deep_values(content: bytes, upper: np.ndarray) -> np.ndarray | None:
    """All 16 bits of a picture's values, uint16 [H, W, C]; None: they can't be read, or aren't this picture's.

    Args:
      content: the file.
      upper: the picture as Pillow decodes it, uint8 [H, W, C].
    """
    try:
        picture = open_encoded(content)
        premultiplied = "RGBa" in str(picture.tile)
        if "LA;16" in str(picture.tile):
            values = _gray_alpha(content)
        else:
            high, low = (_one_byte(content, lower) for lower in (False, True))
            values = high.astype(np.uint16) << 8 | low
    except (OSError, ValueError, AttributeError, KeyError, IndexError, SyntaxError):
        return None
    if values.shape != upper.shape:
        return None
    if premultiplied:  # Pillow has divided too, by other roundings
        return _divided(values)
    return values if np.array_equal(values >> 8, upper) else None


def _one_byte(content: bytes, lower: bool) -> np.ndarray:
    """The upper or the lower bytes of 16-bit values, uint8 [H, W, C].

    Pillow unpacks either byte of a value, as the file's byte order says; for the lower one it's told the other.
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


def _gray_alpha(content: bytes) -> np.ndarray:
    """Gray and alpha of a PNG of 16 bits as RGBA, uint16 [H, W, 4].

    Pillow unpacks no lower bytes of these. But a pixel has four bytes, as RGBA of 8 bits: called by that name,
    it is unpacked whole.
    """
    header = bytearray(content[_PNG_HEADER])
    header[12], header[13] = 8, _RGBA
    end = _PNG_HEADER.stop
    renamed = content[: _PNG_HEADER.start] + header + zlib.crc32(header).to_bytes(4, "big")
    pairs = np.asarray(open_encoded(renamed + content[end + 4 :])).astype(np.uint16)
    values = pairs[..., ::2] << 8 | pairs[..., 1::2]
    return values[..., [0, 0, 0, 1]]


def _divided(values: np.ndarray) -> np.ndarray:
    """Colors that were multiplied by their alpha, without it."""
    alpha = values[..., 3:].astype(np.float64)
    white = find_levels(values[..., 3], alpha=True)[1]
    colors = np.divide(
        values[..., :3] * white, alpha, where=alpha > 0, out=np.zeros((*alpha.shape[:2], 3))
    )
    return np.concatenate(
        [np.clip(np.rint(colors), 0, 65535).astype(np.uint16), values[..., 3:]], axis=2
    )
