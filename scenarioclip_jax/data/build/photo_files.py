"""Opens the photos of a data set: confined to its folder, checked to the last pixel, upright and RGB."""

import io
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from scenarioclip_jax import faults
from scenarioclip_jax.data import damage, images, jpeg_files
from scenarioclip_jax.data.build.image_metadata import without_metadata
from scenarioclip_jax.data.build.photo_folders import Folders, PhotoError
from scenarioclip_jax.data.image_range import FULL
from scenarioclip_jax.data.photo import rgb

# What the shards hold; anything else is encoded again. (MPO: a JPEG that others follow, as many phones write.)
_FORMATS = ("JPEG", "MPO", "PNG")
_QUALITY = 95
_TAIL_ROWS, _TAIL_SHARE = 8, 0.04  # a gray tail has at least that many rows


class Photo(NamedTuple):
    picture: Image.Image  # RGB, upright
    encoded: bytes  # of `picture`: JPEG or PNG; the file's own bytes where nothing had to change
    orientation: int  # the EXIF orientation it was stored with, 1 to 8; 1 is upright
    repairs: list[tuple[str, str]]  # reason and detail of what was changed
    doubts: list[tuple[str, str]]  # of what was left as it is
    levels: tuple[float, float] | None  # gray values taken as black and white; None: 8 bits
    reencoded: str  # the file's format if it isn't one that the shards hold, or ""
    read: Image.Image  # RGB, upright: what the file shows, before it was encoded again


def resolve_inside(root: Path | Folders, path: str) -> Path:
    """Returns the real path of a file below `root`; raises PhotoError if it leaves it or isn't there."""
    return (root if isinstance(root, Folders) else Folders(root)).find(path)


def open_photo(
    root: Path | Folders,
    path: str,
    backdrop: str = images.BACKDROP,
    *,
    levels: tuple[float, float] | None = None,
    max_pixels: int = images.MAX_PIXELS,
    keep_metadata: bool = False,
) -> Photo:
    """Reads and fully decodes a photo, as `images.open_image` does, and encodes it for the shards.

    The file's own bytes are kept if training, which only decodes, sees the same pixels in them.

    Args:
      root: The data root, or the folders to look in.
      path: Path of the photo relative to the root.
      backdrop: Color behind transparent pixels.
      levels: The gray values that are black and white, if there are more than 8 bits.
      max_pixels: Most pixels of the photo.
      keep_metadata: Whether the file's metadata stay in `encoded`, such as the place where it was taken.

    Raises:
      PhotoError: The photo can't be used; the reason is path_outside_root, missing_image, unreadable_image or
        damaged_image.
      InputUnavailableError: The system refuses to read it, so that nobody knows whether it can be used.
    """
    file = resolve_inside(root, path)
    decoded = _decode(file, path, backdrop=backdrop, levels=levels, max_pixels=max_pixels)
    opened = decoded.opened
    found = damage.examine(decoded.content)
    if found.damage:
        raise PhotoError("damaged_image", f"{path!r}: {damage.describe(found)}")
    repairs = _repairs(path, opened, mended=decoded.mended)
    if isinstance(root, Folders) and root.respelled(path):
        repairs.insert(0, ("path_spelling", f"{path!r} was found as {str(file)!r}"))
    picture, encoded = _as_stored(decoded, keep_metadata=keep_metadata)
    return Photo(
        picture,
        encoded,
        opened.orientation,
        repairs,
        _doubts(path, picture, found),
        opened.levels,
        "" if opened.format in _FORMATS else opened.format or "",
        opened.picture,
    )


class _Decoded(NamedTuple):
    """A photo's file as it was read."""

    opened: images.OpenedImage
    content: bytes  # of the file, mended
    mended: bool
    same: bool  # whether training, which only decodes, sees the same pixels in `content`


def _decode(
    file: Path,
    path: str,
    *,
    backdrop: str,
    levels: tuple[float, float] | None,
    max_pixels: int,
) -> _Decoded:
    """Reads and decodes a file, which the annotations call `path`; raises PhotoError if that is impossible."""
    try:
        given = faults.patiently(file.read_bytes, file)
        content = _mend(given)
        with warnings.catch_warnings():  # of odd EXIF data and the like, which change no pixel
            warnings.simplefilter("ignore")
            opened = images.open_image(
                content, backdrop=backdrop, levels=levels, name=repr(path), max_pixels=max_pixels
            )
            return _Decoded(opened, content, content != given, _reads_the_same(opened))
    except images.ImageFileError as error:
        raise PhotoError("unreadable_image", f"can't be decoded: {error}") from error
    except OSError as error:
        raise PhotoError("unreadable_image", f"{path!r} can't be read: {error}") from error


def _as_stored(decoded: _Decoded, *, keep_metadata: bool) -> tuple[Image.Image, bytes]:
    """What training will see of a photo, and the bytes to store: the file's own, if they show the same."""
    if decoded.same:
        kept = decoded.content if keep_metadata else without_metadata(decoded.content)
        if kept is not None:
            return decoded.opened.picture, kept
    encoded = encode(decoded.opened.picture, "PNG" if decoded.opened.format == "PNG" else "JPEG")
    return rgb(Image.open(io.BytesIO(encoded))), encoded


def _doubts(path: str, picture: Image.Image, found: damage.Findings) -> list[tuple[str, str]]:
    """Reason and detail of what looks wrong in a photo, although all of it can be read."""
    doubts = [("looks_damaged", f"{path!r}: {damage.describe(found)}")] if found.doubt else []
    if tail := _gray_tail(picture):
        detail = (
            f"the lowest {tail} rows of {path!r} are plain gray, as in a copy of a JPEG that was cut short; "
            "look at it"
        )
        doubts.append(("gray_tail", detail))
    return doubts


def _gray_tail(picture: Image.Image) -> int:
    """Rows of plain mid-gray at the bottom of a photo; 0 if they are few, or the top is as gray.

    A decoder fills the missing part of a damaged JPEG with it. Once saved again, the file itself is intact.
    """

    def gray(rows: np.ndarray) -> np.ndarray:
        return np.asarray((np.abs(rows.astype(np.int16) - 128) <= 1).all(axis=(1, 2)))

    pixels = np.asarray(picture)
    if not gray(pixels[-1:])[0] or gray(pixels[:1])[0]:
        return 0
    rows = int(np.argmin(gray(pixels)[::-1]))
    return rows if rows >= max(_TAIL_ROWS, picture.height * _TAIL_SHARE) else 0


def _mend(content: bytes) -> bytes:
    """Removes from a file what keeps it from being opened although its pixels are intact."""
    return images.without_texts(jpeg_files.mend_end(content))


def _reads_the_same(opened: images.OpenedImage) -> bool:
    """Whether training, which only decodes, sees the same pixels in the file's own bytes."""
    if opened.format not in _FORMATS or opened.stored.mode != "RGB":
        return False  # (the shards' features are images with three channels)
    if opened.picture is opened.stored:
        return True
    return opened.picture.size == opened.stored.size and np.array_equal(
        np.asarray(rgb(opened.stored)), np.asarray(opened.picture)
    )


def _repairs(path: str, opened: images.OpenedImage, *, mended: bool) -> list[tuple[str, str]]:
    mode, repairs = opened.stored.mode, []
    if mended and opened.format == "PNG":
        repairs.append(("png_texts_removed", f"{path!r} holds too much text for Pillow; removed"))
    elif mended:
        repairs.append(("jpeg_end_missing", f"{path!r} lacks only its end marker; added"))
    if mode != "RGB":
        detail = f"{path!r} is stored as {mode}; converted to RGB"
        if opened.levels:
            black, white = opened.levels
            detail += f", {black:g} taken as black and {white:g} as white"
        repairs.append(("not_rgb", detail))
    elif opened.levels not in (None, FULL):
        black, white = opened.levels
        detail = f"{path!r} has colors of 16 bits, of which {black:g} is taken as black and {white:g} as white"
        repairs.append(("range_found", detail))
    elif opened.stored.has_transparency_data:
        repairs.append(("transparent", f"{path!r} has a transparent color; laid on the backdrop"))
    if opened.orientation != 1:
        detail = f"{path!r} has EXIF orientation {opened.orientation}; turned upright"
        repairs.append(("exif_rotated", detail))
    return repairs


def encode(picture: Image.Image, format: str) -> bytes:
    """Encodes an RGB image as "PNG" or, at high quality, as "JPEG"."""
    stream = io.BytesIO()
    # Of the pixels alone: Pillow writes comments, too, which a picture keeps when it is turned or made smaller.
    picture = Image.fromarray(np.asarray(picture))
    options = {"quality": _QUALITY, "subsampling": 0} if format == "JPEG" else {}
    picture.save(stream, format, **options)
    return stream.getvalue()


def turn_like(picture: Image.Image, orientation: int) -> Image.Image:
    """Turns an image that was stored like a photo with that EXIF orientation."""
    return picture.transpose(images.TURNS[orientation]) if orientation != 1 else picture
