"""Damage inside of JPEG files: the warnings of libjpeg, which Pillow keeps to itself.

A decoder of JPEG goes on after an error: what it can't read becomes gray, or shifts. Where a file was cut,
zeroed or overwritten libjpeg warns, except where the rest happens to have the right length again. (Of photos
with 200 random bytes written over their data about 4% pass.)
"""

import re

import simplejpeg

_END = b"\xff\xd9"
_SCAN = b"\xda"
# Some cameras and scanners write a few bytes of padding before a marker, and any number into the header.
_PADDING = 4
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_IN_HEADER = re.compile(
    r"e[0-9a-f]|fe|db|c0"
)  # application data, comment, quantization tables, frame


def mend_end(content: bytes) -> bytes:
    """The file with the end marker that it lacks; unchanged if it lacks more, or isn't a JPEG."""
    if not content.startswith(b"\xff\xd8") or not _warning(content).startswith("Premature end"):
        return content
    mended = content.rstrip(b"\0") + _END
    return content if _warning(mended) else mended


def damage(content: bytes) -> str:
    """What is damaged in the data of a JPEG, in libjpeg's words; empty if nothing is, or it isn't a JPEG."""
    # libjpeg tells of the first thing only: padding in the header would hide all that comes after it.
    return _warning(_without_padding(content)) if content.startswith(b"\xff\xd8") else ""


def _without_padding(content: bytes) -> bytes:
    """The file without bytes between the segments of its header; unchanged where they can't be followed."""
    kept, at = [content[:2]], 2
    while True:
        start = content.find(b"\xff", at)
        while content[start + 1 : start + 2] == b"\xff":  # markers may be filled up with these
            start += 1
        marker = content[start + 1 : start + 2]
        if start < 0 or marker in (b"", b"\0", _END[1:]) or len(content) < start + 4:
            return content
        if marker == _SCAN:
            return b"".join(kept) + content[start:]
        at = start + 2 + int.from_bytes(content[start + 2 : start + 4])
        kept.append(content[start:at])


def _warning(content: bytes) -> str:
    try:
        color = simplejpeg.decode_jpeg_header(content, strict=False)[2]
        color = "CMYK" if color in ("CMYK", "YCCK") else "GRAY"
        # An eighth of the size: all data are read, but little is computed.
        simplejpeg.decode_jpeg(content, color, min_height=1, min_width=1, strict=True)
    except ValueError as error:
        text = str(error)
        if not text.startswith(("Corrupt JPEG data", "Premature end")):
            return ""  # a rare kind of JPEG, or an odd header
        found = _EXTRANEOUS.search(text)
        if found and (int(found[1]) <= _PADDING or _IN_HEADER.fullmatch(found[2])):
            return ""
        return text
    except KeyError:  # colors of a kind that simplejpeg doesn't know
        return ""
    return ""
