"""Detects damage inside image files that decoders silently ignore, as far as each format allows checks.

The share of visible damage (at least 1% of the pixels are off by over 20 levels) that is detected in JPEGs of
24 photos, by refusal and `Findings.damage` / also counting `Findings.doubt`, in percent:

    damage            five baseline kinds   progressive   restart markers
    1 bit                   58 / 73              100              75
    20 wrong bytes          72 / 85              100              82
    60 wrong bytes          85 / 94              100              91
    200 wrong bytes         97 / 99              100              95
    20 bytes gone           54 / 73              100               9
    60 bytes gone           73 / 87              100              48
    60 bytes zeroed         73 / 81              100              67
    1000 bytes zeroed       97 / 97               94              98

The rest can't be detected from the file, because the decoder is in step again after a few blocks. With restart
markers, everything after the next marker is right, so less of the image is wrong. About half of the damage that
isn't visible is detected.

Other formats: checksums are verified in PNGs and in TIFFs with deflate; TIFFs with JPEG are checked like JPEGs.
A WebP or AVIF that ends in zeros is doubtful. WebP, AVIF, GIF, JPEG 2000, BMP, and TIFFs that are uncompressed
or packed with LZW have no checksums, so wrong bytes inside them go unnoticed. All decoders refuse truncated
files.
"""

import hashlib
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

from scenarioclip_jax.data import images, jpeg_files
from scenarioclip_jax.data.image_files import file_content, open_encoded
from scenarioclip_jax.data.jpeg_files import Findings

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_CHECKED = (b"IHDR", b"PLTE", b"IDAT", b"tRNS")  # a PNG's chunks that change pixels
# TIFF's tags, and the compressions that can be checked.
_COMPRESSION, _TABLES = 259, 347
_PARTS = ((273, 279), (324, 325))  # offsets and lengths of strips and of tiles
_JPEG, _DEFLATE = 7, (8, 32946)
_PIECE = 1 << 20  # bytes to unpack at a time
# An intact WebP or AVIF may end in zeros: plain images have up to one such byte per 2,000 pixels.
_ZEROS, _PIXELS_A_ZERO = 512, 500
_warned: set[bytes] = set()


class DamagedImageWarning(UserWarning):
    """An image comes from a file that is or looks damaged. The message names the file and the cause."""


def open_checked(source: Any, **options: Any) -> images.OpenedImage:
    """Like `images.open_image`, but warns once about each file that is damaged although it can be decoded.

    Raises:
      ImageFileError, OSError, ValueError: As in `images.open_image`.
    """
    content, name = images.read(source)
    if content is None and isinstance(source, Image.Image):
        encoded = file_content(source)
    else:
        encoded, source = content, source if content is None else content
    opened = images.open_image(source, **{"name": name, **options})
    findings = examine(encoded) if encoded else Findings()
    if encoded and any(findings):
        key = hashlib.blake2b(encoded, key=str(name).encode()[-64:], digest_size=16).digest()
        if key not in _warned:
            _warned.add(key)
            warnings.warn(
                f"{name or 'the picture'}: {describe(findings)}", DamagedImageWarning, stacklevel=2
            )
    return opened


def describe(findings: Findings) -> str:
    """Describes for people what was found and what to do; empty if nothing was."""
    if findings.damage:
        return (
            f"the file is damaged, so parts of the picture are wrong ({findings.damage}); copy or download it "
            "again"
        )
    return findings.doubt and f"look at it: {findings.doubt}"


def examine(content: bytes) -> Findings:
    """Looks for damage in a file that can be opened as an image."""
    if content.startswith(_PNG):
        return Findings(damage=next(_broken_chunks(content), ""))
    if content.startswith(_TIFF):
        return Findings(damage=next(_broken_parts(content), ""))
    if content[8:12] == b"WEBP" or content[4:8] == b"ftyp":
        return _zero_end(content)
    return jpeg_files.examine(content)


def _broken_chunks(content: bytes) -> Iterator[str]:
    """Yields what is wrong with a PNG's chunks; Pillow verifies only the checksums before the pixels."""
    start, view = len(_PNG), memoryview(content)
    while start + 12 <= len(content):
        end = start + 8 + int.from_bytes(content[start : start + 4], "big")
        kind = content[start + 4 : start + 8]
        told = content[end : end + 4]
        if kind in _CHECKED and zlib.crc32(view[start + 4 : end]).to_bytes(4, "big") != told:
            yield f"the checksum of the {kind.decode()} chunk at byte {start} is wrong"
        start = end + 4


def _broken_parts(content: bytes) -> Iterator[str]:
    """Yields what is wrong with a TIFF's strips or tiles; libtiff at best prints it to the terminal."""
    try:
        tags = getattr(open_encoded(content), "tag_v2", None)
    except (OSError, AttributeError):
        return
    if tags is None:
        return
    compression = tags.get(_COMPRESSION)
    for offsets, lengths in _PARTS:
        for at, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            part = content[at : at + length]
            if compression == _JPEG:
                tables = bytes(tags.get(_TABLES, b""))
                found = jpeg_files.examine(tables[:-2] + part[2:] if tables else part).damage
            else:
                found = _inflate(part) if compression in _DEFLATE else ""
            if found:
                yield f"the part at byte {at}: {found}"


def _inflate(packed: bytes) -> str:
    """What zlib says about the data; empty if they are intact."""
    unpacker = zlib.decompressobj()
    try:
        while packed and not unpacker.eof:
            unpacker.decompress(packed, _PIECE)
            packed = unpacker.unconsumed_tail
    except zlib.error as error:
        return str(error)
    return ""


def _zero_end(content: bytes) -> Findings:
    """Detects a WebP or AVIF that ends in zeros, as after an interrupted download to a preallocated file."""
    zeros = len(content) - len(content.rstrip(b"\0"))
    if zeros <= _ZEROS or (b"VP8L" in content[:64] and b"VP8 " not in content[:64]):
        return Findings()  # (lossless WebP packs plain images as zeros)
    try:
        width, height = open_encoded(content).size
    except OSError:
        return Findings()
    if zeros <= _ZEROS + width * height / _PIXELS_A_ZERO:
        return Findings()
    return Findings(
        doubt=f"its last {zeros:,} bytes are zero, as after a download that was broken off"
    )
