"""Opens image files within limits, and explains what a file is if it can't be opened."""

import contextlib
import importlib
import io
import re
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence

from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

MAX_PIXELS = 178_956_970  # per file; Pillow's own limit
# A file that unfolds to more pixels than this, with less than one byte per hundred pixels, is a bomb. A JPEG of
# a single color still has one byte per eighty or so.
_BOMB_PIXELS, _BOMB_RATIO = 32_000_000, 100
_TEXT_BYTES = 1_000_000  # a little less than Pillow accepts of texts in a PNG
_open_lock = threading.Lock()
_refusing, _wished = (
    0,
    False,
)  # threads that want truncated files refused; the global's previous value


class ImageFileError(OSError):
    """A file can't be decoded as an image. The message names the file, the cause and the remedy."""


def open_encoded(content: bytes) -> ImageFile.ImageFile:
    """Opens an encoded image of any size without decoding it, like `Image.open`.

    Raises:
      ImageFileError: The file is a decompression bomb.
      OSError: The file isn't an image.
    """
    with (
        _open_lock
    ):  # Pillow's limit, which also warns, is global; `MAX_PIXELS` is checked per file
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            picture = Image.open(io.BytesIO(content))
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    pixels = picture.width * picture.height
    if pixels > _BOMB_PIXELS and len(content) * _BOMB_RATIO < pixels:
        raise ImageFileError(
            f"a decompression bomb: {len(content):,} bytes that unfold to {pixels / 1e6:.0f} megapixels"
        )
    return picture


def without_texts(content: bytes) -> bytes:
    """Removes texts and profiles from a PNG if they exceed what Pillow accepts; else returns it unchanged."""
    if not content.startswith(b"\x89PNG"):
        return content
    kept, start, size = [content[:8]], 8, 0
    while start < len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        kind = content[start + 4 : start + 8]
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            size += _text_size(kind, content[start + 8 : end - 4])
        else:
            kept.append(content[start:end])
        start = end
    return b"".join(kept) if size > _TEXT_BYTES else content


def _text_size(kind: bytes, data: bytes) -> int:
    """Unpacked bytes of a text or profile in a PNG, counted as far as it matters."""
    packed, text = kind != b"tEXt", data.partition(b"\0")[2]
    if kind == b"iTXt":  # flag, method, language, translated keyword
        packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
    elif packed:
        text = text[1:]  # method
    try:
        return len(zlib.decompressobj().decompress(text, _TEXT_BYTES + 1) if packed else text)
    except zlib.error:
        return 0


def open_file(content: bytes, max_pixels: int) -> Image.Image:
    """Like `open_encoded`, with a plug-in if needed, and with a limit on pixels."""
    try:
        picture = open_encoded(content)
    except UnidentifiedImageError:
        if not _load_plugin(content):
            raise
        picture = open_encoded(content)
    pixels = picture.width * picture.height
    if pixels > max_pixels:
        raise ImageFileError(
            f"{picture.width} x {picture.height} pixels are {pixels / 1e6:.0f} megapixels; more than "
            f"{max_pixels / 1e6:.0f} aren't opened, as it may be a decompression bomb. Make it smaller, raise "
            "the limit where there's one (the build's --max-megapixels), or pass a PIL image"
        )
    return picture


@contextlib.contextmanager
def cut_files_refused() -> Iterator[None]:
    """Suspends another library's setting that Pillow decode truncated files and fill them with gray or black.

    The setting is global, and is restored when the last thread leaves.
    """
    global _refusing, _wished
    with _open_lock:
        if not _refusing:
            _wished = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        _refusing += 1
    try:
        yield
    finally:
        with _open_lock:
            _refusing -= 1
            if not _refusing and _wished:
                ImageFile.LOAD_TRUNCATED_IMAGES = True


def file_content(picture: Image.Image, most: int = -1) -> bytes | None:
    """Returns the file that an image will be or was decoded from; None if it is unknown or gone.

    Args:
      most: Number of bytes to read from the start; -1 for all.
    """
    for name in ("fp", "_fp"):
        file = getattr(picture, name, None)
        if file is None:
            continue
        try:
            place = file.tell()
            file.seek(0)
            content = file.read(most)
            file.seek(place)
            return content
        except Exception:  # none, or closed: Pillow replaces it by various things
            continue
    filename = getattr(picture, "filename", None)
    if filename is None:
        return None
    try:
        with open(filename, "rb") as file:
            return file.read(most)
    except (OSError, AttributeError, TypeError, ValueError):
        return None


# What a file is that can't be opened, by magic bytes, and what to do.
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _CHANNELS, _SAMPLE_FORMAT = (
    256,
    257,
    258,
    259,
    277,
    339,
)  # TIFF's tags
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
_MAGIC: Sequence[tuple[bytes, str]] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the picture itself; fetch it: git lfs pull",
    ),
    (b"PK\x03\x04", "a ZIP archive; unpack it"),
    (b"\x1f\x8b", "a gzip file; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"%PDF", "a PDF document; save its pages as JPEG or PNG"),
    (b"\x93NUMPY", "a NumPy file; load it (numpy.load) and pass the array"),
    (b"\x89HDF", "an HDF5 file; read the array in it"),
    (b"\xff\xd8\xff", "a JPEG whose header is damaged; copy or download it again"),
    (b"\x89PNG", "a PNG whose header is damaged; copy or download it again"),
)


def _kind(content: bytes) -> str:
    """Says what a file is that Pillow can't identify, and what to do about it."""
    if not content:
        return "the file is empty; copy or download it again"
    if not content.strip(b"\0"):
        return f"all of its {len(content)} bytes are zero; copy or download it again"
    for magic, what in _MAGIC:
        if content.startswith(magic):
            return what
    if content[:4] in _TIFF:
        return _tiff(content)
    if plugin := _plugin(content):
        return (
            f"{plugin[0]}, which needs a plug-in: pip install {plugin[2]} (or convert it to JPEG)"
        )
    if content[4:8] == b"ftyp":
        return "a video or another MP4 file; extract a frame as JPEG or PNG"
    text = content[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "an SVG drawing; convert it to PNG"
    if text.startswith((b"<!doctype html", b"<html", b"<head")) or b"<html" in text[:512]:
        return "an HTML page, probably the error page of a download; download it again"
    if text.startswith(b"<?xml"):
        return "an XML document, probably the error message of a download; download it again"
    if text.startswith((b"{", b"[")):
        return "JSON or other text, not a picture"
    try:
        if content[:4096].decode("utf-8", "strict").isprintable() or (
            text.isascii() and b"\0" not in text
        ):
            return "a text file, not a picture"
    except UnicodeDecodeError:
        pass
    return f"not a picture that Pillow {Image.__version__} can identify (it begins with {content[:8].hex(' ')})"


def _tiff(content: bytes) -> str:
    """Says what kind of TIFF a file is that Pillow can't read."""
    file = io.BytesIO(content)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(16 if b"+" in content[:4] else 8))
        file.seek(tags.next)
        with warnings.catch_warnings():  # of a directory that is cut short
            warnings.simplefilter("ignore")
            tags.load(file)
        if _WIDTH not in tags or _HEIGHT not in tags:
            raise ValueError
        bits = tags.get(_BITS, (1,))
        form = tags.get(_SAMPLE_FORMAT, (1,))[0]
        channels = int(tags.get(_CHANNELS, 1))
        compression = int(tags.get(_COMPRESSION, 1))
    except Exception:  # the directory is damaged, too
        return "a TIFF whose header is damaged; copy or download it again"
    numbers = {1: "unsigned", 2: "signed", 3: "floating-point"}.get(form, "complex")
    plural = "s" if channels > 1 else ""
    sizes = "/".join(str(each) for each in dict.fromkeys(bits))
    return (
        f"a TIFF of {channels} channel{plural} of {numbers} {sizes}-bit values (compression {compression}), "
        "which Pillow can't read; save it as PNG or TIFF with 8 bits per channel, gray or RGB"
    )


def _plugin(content: bytes) -> tuple[str, str, str] | None:
    """For a format that Pillow can't read by itself: its name, and the module and package that can read it."""
    if content[4:8] == b"ftyp":
        brands = content[8:64]
        if b"avif" in brands or b"avis" in brands:
            return "an AVIF picture", "pillow_avif", "pillow-avif-plugin"
        if any(brand in brands for brand in _HEIC):
            return "a HEIC picture", "pillow_heif", "pillow-heif"
    if content.startswith(_JPEG_XL):
        return "a JPEG XL picture", "pillow_jxl", "pillow-jxl-plugin"
    return None


def _load_plugin(content: bytes) -> bool:
    """Loads the plug-in for an image if it is installed."""
    plugin = _plugin(content)
    try:
        module = importlib.import_module(plugin[1]) if plugin else None
    except ImportError:
        return False
    if register := getattr(module, "register_heif_opener", None):
        register()  # the others register themselves
    return module is not None


def explain(error: Exception, content: bytes | None) -> str:
    """Explains for people what is wrong with a file, from the error that Pillow raised."""
    if isinstance(error, UnidentifiedImageError) and content is not None:
        return _kind(content)
    # Pillow's messages contain addresses of objects, which differ from run to run.
    text = re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>:? ?", "", str(error)).strip()
    if "truncated" in text.lower() or "broken data stream" in text:
        return f"the file is cut short or damaged ({text}); copy or download it again"
    return text or type(error).__name__
