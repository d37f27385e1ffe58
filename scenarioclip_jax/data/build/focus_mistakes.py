"""Recognizes focused-region images that a tool has turned, mirrored, or written with red and blue swapped.

Such an image shows the photo, but not as the photo is. OpenCV keeps colors as blue, green, red, so that whoever
saves them by another library swaps two of them; and some tools turn pictures by their EXIF data twice.
"""

import numpy as np
from PIL import Image

from scenarioclip_jax.data import images
from scenarioclip_jax.data.build import focus_match
from scenarioclip_jax.data.build.focus_evidence import SIDE

BGR = "with red and blue swapped"
TURNED = {
    2: "mirrored left to right",
    3: "turned by 180 degrees",
    4: "mirrored top to bottom",
    5: "mirrored and turned by 90 degrees",
    6: "turned by 90 degrees",
    7: "mirrored and turned by 90 degrees",
    8: "turned by 90 degrees",
}
_IN_PLACE, _TURNED, _GAIN = 0.4, 0.6, 0.35  # mean correlation of local structure
_MOSTLY, _MOSTLY_GAIN = 0.8, 0.5  # share of the visible pixels that are the photo's
_FEWEST = 60  # visible pixels, or windows with structure, at `SIDE` pixels
_BLACK = 12  # gray levels: less was cut away
# Pixels that vote for swapped colors: at least so many, such a share of the colored ones (most of these may be
# surroundings of another color), and so many times as many as vote against.
_FEWEST_COLORED, _SHARE, _RATIO = 30, 0.02, 20
# Gray levels, of the channel that differs most: the same; and clearly another color.
_LIKE, _MORE = 12.0, 8.0
_SHAPE = 0.03  # relative difference of shapes that are the same


def undo(photo: Image.Image, focus: Image.Image) -> tuple[Image.Image, str]:
    """Undoes such a mistake.

    Args:
      photo: The RGB photo.
      focus: The focused-region image, RGB.

    Returns:
      The image as it should be, and what it was like, in words; `focus` itself and "" if there is no mistake.
    """
    small_photo, small = (_small(picture) for picture in (photo, focus))
    if colors_swapped(small_photo, small):
        return swapped(focus), BGR
    if (number := turn(small_photo, small)) != 1:
        return focus.transpose(images.TURNS[number]), TURNED[number]
    return focus, ""


def _small(picture: Image.Image) -> Image.Image:
    return picture.resize(focus_match.reduced(picture.size, SIDE), Image.Resampling.BOX)


def turn(photo: Image.Image, focus: Image.Image) -> int:
    """Returns the key of `TURNED` that makes `focus` show the photo in place; 1 if it does, or no turn helps.

    Levels say little where surroundings are dimmed or blurred, so local structure counts; of plain things,
    nearly all pixels have to be the photo's.
    """
    if _same_shape(photo, focus) and _correlation(photo, focus) >= _IN_PLACE:
        return 1
    ways = {1: focus} | {number: focus.transpose(how) for number, how in images.TURNS.items()}
    ways = {number: way for number, way in ways.items() if _same_shape(photo, way)}
    for score, least, gain in ((_correlation, _TURNED, _GAIN), (_equal, _MOSTLY, _MOSTLY_GAIN)):
        scores = {number: score(photo, way) for number, way in ways.items()}
        best = max(scores, key=scores.__getitem__, default=1)
        # (Of a plain thing two turns may show the same.)
        if best != 1 and scores[best] >= least and scores[best] - scores.get(1, 0.0) >= gain:
            return best
    return 1


def colors_swapped(photo: Image.Image, focus: Image.Image) -> bool:
    """Whether an image shows the photo in place, but with red and blue in each other's places.

    Pixels vote: those that are the photo's once the two are swapped back, against those that are as they are.
    In a right image all participants are of the second kind, or all surroundings, so nothing outvotes them.
    Where a photo is gray this can't be told, nor does it matter.
    """
    if not _same_shape(photo, focus):
        return False
    size = focus_match.reduced(photo.size, SIDE)
    a, b = (focus_match.pixels(picture, size) for picture in (photo, focus))
    as_is, back = (np.abs(a - each).max(-1) for each in (b, b[..., ::-1]))
    told = (b.max(-1) > _BLACK) & (np.abs(a[..., 0] - a[..., 2]) > _MORE)
    right = told & (as_is <= _LIKE) & (back - as_is >= _MORE)
    wrong = told & (back <= _LIKE) & (as_is - back >= _MORE)
    return bool(wrong.sum() >= max(_FEWEST_COLORED, _SHARE * told.sum(), _RATIO * right.sum()))


def swapped(picture: Image.Image) -> Image.Image:
    """An RGB picture with red and blue in each other's places."""
    red, green, blue = picture.split()
    return Image.merge("RGB", (blue, green, red))


def _same_shape(photo: Image.Image, focus: Image.Image) -> bool:
    return abs(focus.width / focus.height * photo.height / photo.width - 1) <= _SHAPE


def _correlation(photo: Image.Image, focus: Image.Image) -> float:
    """Mean correlation of the brightness in windows in which both images have structure; 0 if they are few."""
    size = focus_match.reduced(photo.size, SIDE)
    a, b = (focus_match.pixels(picture, size) for picture in (photo, focus))
    valid = b.max(-1) > _BLACK
    contrast = focus_match.contrast_of(1.0)
    gray = a @ focus_match.BRIGHTNESS, b @ focus_match.BRIGHTNESS
    match = focus_match.local_match(*gray, valid, contrast)
    told = (match.contrasts > contrast).all(0)
    return float(match.score[told].mean()) if told.sum() >= _FEWEST else 0.0


def _equal(photo: Image.Image, focus: Image.Image) -> float:
    """Share of an image's visible pixels that are the photo's; 0 if they are few."""
    size = focus_match.reduced(photo.size, SIDE)
    a, b = (focus_match.pixels(picture, size) for picture in (photo, focus))
    valid = b.max(-1) > _BLACK
    same = np.abs(a - b).max(-1) <= _LIKE
    return float(same[valid].mean()) if valid.sum() >= _FEWEST else 0.0
