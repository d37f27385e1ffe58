"""Decides whether two images show the same thing at the same place, by their local structure.

Levels say little: any white background matches another, and so does any night scene. Instead, brightness is
correlated within small windows that have contrast, so that plain pixels count neither for nor against, and a
change of tone or light costs nothing.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

_SIDE = 160  # longer side of the images that are compared, in pixels
_REACH = 3  # pixels from a window's center to its edge
_FILLED = 0.4  # share of a window that has to be visible
_CONTRAST = 4.0  # gray levels, standard deviation: less may be a JPEG's noise
_COLOR, _DIM_COLOR = 12.0, 5.0  # gray levels between a color and gray, by day and at night
_FEWEST, _BLOCKS = 16, 2  # windows with contrast that tell something; blocks of a JPEG that do
_SAME = 0.45  # mean correlation of brightness that is agreement
_SAME_COLORED = 0.15  # the same where colors agree too: of fine texture little may be left
_COLORS, _OTHER_COLORS = 0.9, 0.2  # mean cosine of colors that is agreement, or contradiction
_MOSTLY_COLOR = 4  # colored windows for each one with structure, in what is smooth
_EQUAL_COLORS, _EQUAL = (
    0.97,
    0.9,
)  # mean cosine of colors, and share of pixels about as bright, there
_LIKE = 0.45  # share of pixels about as bright, where there is no structure

BRIGHTNESS = np.array([0.299, 0.587, 0.114])


class Match(NamedTuple):
    """The correlation of two images around every pixel.

    Attributes:
      score: Correlation, float [H, W], -1 to 1.
      content: Whether a window has contrast in either image, so that its score is meaningful, bool [H, W].
      contrasts: Standard deviations of both images, in gray levels, float [2, H, W].
    """

    score: np.ndarray
    content: np.ndarray
    contrasts: np.ndarray


def local_match(a: np.ndarray, b: np.ndarray, valid: np.ndarray, contrast: float) -> Match:
    """Correlates brightness, float [H, W] both, over windows of the valid pixels, bool [H, W].

    `contrast` is the standard deviation, in gray levels, from which a window has content. The correlation is
    normalized as usual, cov / (std_a std_b), with an eighth of the contrast's variance added below.
    """
    weight = valid.astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    planes = np.stack(
        [weight, weight * a, weight * b, weight * a * a, weight * b * b, weight * a * b]
    )
    total, *sums = window_sum(planes)
    mean_a, mean_b, square_a, square_b, product = sums / np.maximum(total, 1e-9)
    var_a = np.maximum(square_a - mean_a**2, 0)
    var_b = np.maximum(square_b - mean_b**2, 0)
    filled = valid & (total >= _FILLED * (2 * _REACH + 1) ** 2)
    score = (product - mean_a * mean_b) / (np.sqrt(var_a * var_b) + contrast**2 / 8)
    contrasts = np.sqrt([var_a, var_b]) * filled
    return Match(score, contrasts.max(0) > contrast, contrasts)


def window_sum(values: np.ndarray) -> np.ndarray:
    """Sums over the windows around every pixel, float [..., H, W]; nothing lies beyond the edge."""
    around = [(0, 0)] * (values.ndim - 2)
    sums = np.pad(values, [*around, (_REACH + 1, _REACH), (_REACH + 1, _REACH)])
    sums = sums.cumsum(-1).cumsum(-2)
    width = 2 * _REACH + 1
    rows = sums[..., width:, :] - sums[..., :-width, :]
    return rows[..., width:] - rows[..., :-width]


def shows(
    photo: Image.Image,
    focus: Image.Image,
    inside: np.ndarray | None = None,
    brightness: float = 1.0,
    scale: float = 1.0,
) -> bool:
    """Whether the visible part of an image shows what the photo shows there.

    Undecidable parts (plain surfaces of about the same level) count as shown.

    Args:
      photo: The RGB photo.
      focus: RGB image, stretched to the photo's size.
      inside: Where the participants are in the photo, bool [H, W]; None or all False if unknown.
      brightness: 1, or less for a dark photo.
      scale: Pixels of the original image per pixel of the photo; a smaller image lacks detail.
    """
    known = min(scale, 1.0) * max(photo.size)
    size = reduced(photo.size, max(min(_SIDE, round(known)), 8))
    a, b = (pixels(picture, size) for picture in (photo, focus))
    block = 8 * size[0] / photo.width
    valid, fewest = _visible(b, brightness, block), max(_FEWEST, _BLOCKS * block**2)
    places = [valid]
    if inside is not None and inside.any():
        here = resized(inside, size)
        places = [valid & here, valid & ~here]
    match = local_match(a @ BRIGHTNESS, b @ BRIGHTNESS, valid, contrast_of(brightness))
    color = _colors_match(a, b, valid, brightness)
    # The participants alone, if they have structure: their surroundings may be anything.
    told = [_agrees(match, color, part, fewest) for part in places]
    if told[0] is False and told[-1] and _same_colors(color, places[0], fewest):
        return True  # a plain thing before its dimmed photo: only its border has structure, another one
    near = np.abs(a - b).mean(-1) <= np.minimum(20, 0.25 * a.mean(-1) + 4)
    colored = color.content & places[0]
    if colored.sum() > _MOSTLY_COLOR * (match.content & places[0]).sum():
        # Smooth colors that are the same nearly everywhere: what little structure there is may be noise.
        if color.score[colored].mean() >= _EQUAL_COLORS and near[colored].mean() >= _EQUAL:
            return True
    for each in told:
        if each is not None:
            return each
    return not valid.any() or any(part.any() and near[part].mean() >= _LIKE for part in places)


def contrast_of(brightness: float) -> float:
    """The least contrast of a window, in gray levels, in a photo of that brightness."""
    return max(1.2, _CONTRAST * brightness)


def _agrees(match: Match, color: Match, part: np.ndarray, fewest: float) -> bool | None:
    """Whether the images agree in a part; None if it can't be decided."""
    structure, colored = match.content & part, color.content & part
    if colored.sum() >= fewest and color.score[colored].mean() < _OTHER_COLORS:
        return False
    if structure.sum() < fewest:
        return None
    least = _SAME_COLORED if _same_colors(color, part, fewest) else _SAME
    return bool(match.score[structure].mean() >= least)


def _same_colors(color: Match, part: np.ndarray, fewest: float) -> bool:
    colored = color.content & part
    return bool(colored.sum() >= fewest and color.score[colored].mean() >= _COLORS)


def _colors_match(a: np.ndarray, b: np.ndarray, valid: np.ndarray, brightness: float) -> Match:
    """The cosine of the two images' colors around every pixel, without their brightness."""
    least = max(_DIM_COLOR, _COLOR * brightness)
    if min(np.ptp(each, axis=-1).mean() for each in (a, b)) < least / 6:  # one is gray
        return Match(
            np.zeros(valid.shape), np.zeros(valid.shape, bool), np.zeros((2, *valid.shape))
        )
    plain = [np.moveaxis(each - each.mean(-1, keepdims=True), -1, 0) for each in (a, b)]
    sums = window_sum(np.concatenate([valid[None], *plain]) * valid)
    mean_a, mean_b = np.split(sums[1:] / np.maximum(sums[0], 1e-9), 2)
    norms = np.sqrt([(mean**2).sum(0) for mean in (mean_a, mean_b)]) * valid
    score = (mean_a * mean_b).sum(0) / (norms[0] * norms[1] + least**2 / 8)
    return Match(score, norms.min(0) > least, norms)


def _visible(b: np.ndarray, brightness: float, block: float) -> np.ndarray:
    """Pixels, bool [H, W], that aren't in or next to an image's plain background; all if it has none.

    `block` is the side of a JPEG block, in pixels, which is how far a bright background disturbs dark parts.
    """
    tolerance = max(2.0, 6 * brightness)
    gray = b @ BRIGHTNESS
    counts = np.bincount(gray.astype(int).ravel(), minlength=256)
    level = int(np.argmax(np.convolve(counts, np.ones(5), "same")))
    near = np.abs(gray - level) <= 3
    ground = np.abs(b - np.median(b[near], axis=0)).max(-1) <= tolerance
    ground |= b.max(-1) <= max(2.0, 8 * brightness)
    if ground.mean() < 0.05:
        return np.ones(ground.shape, bool)
    reach = int(np.ceil(block)) if brightness < 0.5 and level > 48 else 1
    grown = Image.fromarray(ground).convert("L").filter(ImageFilter.BoxBlur(reach))
    return np.asarray(grown) == 0


def reduced(size: tuple[int, int], side: int) -> tuple[int, int]:
    """A size of the same shape whose longer side is `side` at most."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def pixels(picture: Image.Image, size: tuple[int, int] | list[int]) -> np.ndarray:
    """The pixels of an RGB image resized to `size`, float64 [H, W, 3], 0 to 255."""
    return np.asarray(picture.resize(size, Image.Resampling.BOX), np.float64)


def resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask, bool [H, W], at another size (width, height)."""
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
