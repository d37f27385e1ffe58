"""Any picture as upright RGB pixels: a file, its bytes, a PIL image, or an array or tensor of any framework.

Everything in this package that looks at a picture opens it here, so that a model is trained, evaluated and used
on the same pixels. The module needs Pillow and NumPy only and imports nothing else of the package: models that
are exported for PyTorch carry a copy of it.
"""

import importlib
import io
import re
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

BACKDROP = "white"  # what shows through transparent pixels
MAX_PIXELS = 178_956_970  # of a file; Pillow's own limit
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
# Bits that cameras, scanners and programs use for a gray value.
_DEPTHS = (8, 10, 12, 14, 16, 24, 31)
# A small file that unfolds to more pixels than this, with less than a byte for a hundred, is a bomb. A JPEG of
# one color still has a byte for about eighty.
_BOMB_PIXELS, _BOMB_RATIO = 32_000_000, 100
_TEXT_BYTES = 1_000_000  # a little less than Pillow takes of a PNG's texts
_open_lock = threading.Lock()


class ImageFileError(OSError):
    """A file can't be decoded as a picture. The message names it, the cause and the remedy."""


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
      source: a path; the bytes of a file; a PIL image; or an array or tensor, recognized by protocol
        (`__array__`, `__array_interface__`, `__dlpack__`).
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
    elif not isinstance(source, Image.Image):
        picture = _flatten(_from_array(source), backdrop, 8)
        return OpenedImage(picture, picture, None, 1, None)
    picture = source
    name = name or getattr(source, "filename", "") or "the picture"
    try:
        if content is not None:
            content = without_texts(content)
            picture = _open(content, max_pixels)
        depth = _depth(picture)
        turned = _orientation(picture) if picture.format == "TIFF" else 1  # Pillow does it
        picture.load()  # a truncated file fails here
        orientation = _orientation(picture)
        rgb, levels = _convert(picture, content, backdrop, depth, levels)
    except (MemoryError, FileNotFoundError):
        raise
    except Exception as error:  # decoders raise nearly anything on broken files
        raise ImageFileError(f"{name}: {_explain(error, content)}") from error
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
    if is_array(images):
        array = to_array(images)
        if array.dtype.kind in "USO" and array.ndim == 1:  # an array of paths or of pictures
            return array.tolist()
        return list(array) if array.ndim == 4 else [array]
    if isinstance(images, dict) or not hasattr(images, "__iter__"):
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
        readable = hasattr(value, "__array__") or hasattr(value, "__array_interface__")
        array = np.asarray(value) if readable else np.from_dlpack(value)
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


def open_encoded(content: bytes) -> Image.Image:
    """Opens an encoded picture without decoding it, as `Image.open` does, whatever its size.

    Raises:
      ImageFileError: it's a decompression bomb.
      OSError: it isn't a picture.
    """
    with (
        _open_lock
    ):  # Pillow's limit, which also warns, is a global; `MAX_PIXELS` is checked by file
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
    """A PNG without the texts and profiles in it, if they are more than Pillow takes; else the file itself."""
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
    """Bytes of a text or profile of a PNG when it's unpacked, as far as it matters."""
    packed, text = kind != b"tEXt", data.partition(b"\0")[2]
    if kind == b"iTXt":  # flag, method, language, translated keyword
        packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
    elif packed:
        text = text[1:]  # method
    try:
        return len(zlib.decompressobj().decompress(text, _TEXT_BYTES + 1) if packed else text)
    except zlib.error:
        return 0


def _open(content: bytes, max_pixels: int) -> Image.Image:
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
        rgb = _flatten(picture, backdrop, depth)
        if depth == 16:
            _check_range(rgb)
        return rgb, None
    values = np.asarray(picture)
    tags = getattr(picture, "tag_v2", None) or {}
    finite = values[np.isfinite(values)] if picture.mode == "F" else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    levels = levels or _declared(tags, content, high) or _levels(low, high, picture.mode == "F")
    black, white = levels
    scaled = (
        np.nan_to_num(values.astype(np.float32), nan=black, posinf=white, neginf=black) - black
    ) * (255 / (white - black))
    gray = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    if tags.get(262) == 0:  # white is zero; Pillow turns round only what has 8 bits
        gray = 255 - gray
    rgb = Image.fromarray(gray).convert("RGB")
    key = picture.info.get("transparency")
    if isinstance(key, int):
        rgb.paste(backdrop, mask=Image.fromarray(values == key))
    return rgb, levels


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

    The key of a PNG is given in the file's own depth, where Pillow has 8 bits. Of 16-bit colors it keeps the
    high byte; so does this.
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


def _check_range(rgb: Image.Image) -> None:
    """Refuses colors of fewer bits in files of 16: Pillow drops the low byte, which is where they are."""
    if max(high for _, high in rgb.getextrema()) < 16:
        raise ImageFileError(
            "its 16-bit colors use less than a sixteenth of their range, and Pillow keeps the upper 8 bits. "
            "Scale them to the full range, or save the picture with 8 bits"
        )


# By magic bytes: what a file is that isn't opened, and what to do.
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
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
    """What a file is that Pillow can't identify, and what to do about it."""
    if not content:
        return "the file is empty; copy or download it again"
    if not content.strip(b"\0"):
        return f"all of its {len(content)} bytes are zero; copy or download it again"
    for magic, what in _MAGIC:
        if content.startswith(magic):
            return what
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


def _plugin(content: bytes) -> tuple[str, str, str] | None:
    """For a format that Pillow doesn't read by itself: what it is, and the module and package that do."""
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
    """Loads the plug-in for a picture where it's installed."""
    plugin = _plugin(content)
    try:
        module = importlib.import_module(plugin[1]) if plugin else None
    except ImportError:
        return False
    if register := getattr(module, "register_heif_opener", None):
        register()  # the others register themselves
    return module is not None


def _explain(error: Exception, content: bytes | None) -> str:
    if isinstance(error, UnidentifiedImageError) and content is not None:
        return _kind(content)
    # Pillow's messages hold addresses of objects, which differ from run to run.
    text = re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>:? ?", "", str(error)).strip()
    if "truncated" in text.lower() or "broken data stream" in text:
        return f"the file is cut short or damaged ({text}); copy or download it again"
    return text or type(error).__name__
