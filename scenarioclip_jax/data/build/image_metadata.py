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
        kept.append(_bare_segment(marker, content[start:end]))
        in_scan, at = in_scan or marker == 0xDA, end


def _bare_segment(marker: int, segment: bytes) -> bytes:
    """What of a JPEG segment is needed to show the image; nothing of most."""
    data = segment[4:]
    if marker == 0xE0 and data.startswith(b"JFIF\0") and len(data) >= 14:
        return b"\xff\xe0\0\x10" + data[:12] + b"\0\0"  # without its thumbnail
    if marker == 0xEE and data.startswith(b"Adobe") and len(data) >= 12:
        return b"\xff\xee\0\x0e" + data[:12]  # how colors are stored
    if marker == 0xE2 and data.startswith(b"ICC_PROFILE\0"):
        return segment
    return b"" if marker == 0xFE or 0xE0 <= marker <= 0xEF else segment


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
