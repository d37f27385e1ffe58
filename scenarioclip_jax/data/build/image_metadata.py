"""Removes from image files what isn't pixels: places, times and names of people and cameras, and previews."""

import re

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # between the data of scans
# Chunks of a PNG that say how its pixels are shown.
_PNG = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT"}
_PNG |= {b"cICP", b"pHYs", b"bKGD"}


def without_metadata(content: bytes) -> bytes | None:
    """Returns a JPEG or PNG without metadata and without what follows its image; None if it can't be followed.

    Pixels stay as they are: nothing is compressed again, and color profiles stay.
    """
    if content.startswith(b"\xff\xd8"):
        return _jpeg(content)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(content)
    return None


def _jpeg(content: bytes) -> bytes | None:
    kept, at = [content[:2]], 2
    in_scan = False
    while True:
        found = _MARKER.search(content, at)
        if not found:
            return None
        start, marker = found.start(), found.group()[1]
        if in_scan:
            kept.append(content[at:start])
        if marker == 0xD9:
            return b"".join([*kept, b"\xff\xd9"])
        end = start + 2 + int.from_bytes(content[start + 2 : start + 4])
        if end > len(content) or end < start + 4:
            return None
        if _shows_pixels(marker, content[start + 4 : end]):
            kept.append(content[start:end])
        in_scan, at = in_scan or marker == 0xDA, end


def _shows_pixels(marker: int, data: bytes) -> bool:
    """Whether a JPEG segment is needed to show the image."""
    if marker == 0xE0:
        return data.startswith(b"JFIF")
    if marker == 0xE2:
        return data.startswith(b"ICC_PROFILE")
    if marker == 0xEE:
        return data.startswith(b"Adobe")  # how colors are stored
    return marker != 0xFE and not 0xE1 <= marker <= 0xEF


def _png(content: bytes) -> bytes | None:
    kept, at = [content[:8]], 8
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4])
        kind = content[at + 4 : at + 8]
        if end > len(content):
            return None
        if kind in _PNG:
            kept.append(content[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    return None
