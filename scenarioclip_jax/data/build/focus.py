"""Focused regions: the smallest form that reproduces a published focused-region image.

A focused-region image brings out the participants of a relation: it is black elsewhere, or, as in the authors'
repository, shows them dimmed on a blurred photo. Annotations don't say which, so the form is found by looking.
In order of size:

    boxes   the union of the two participants' boxes: nothing is stored
    mask    any other region of the photo: the lengths of its runs (`data.stored.masks`)
    image   no region of the photo gives that image (a blurred or dimmed background, another crop):
            the image itself is stored

Images that show no region are classified as `empty` (black, or of one color), `photo` (the whole photo, with
nothing set off) or `unlike` (another photo).

All errors are mean absolute differences of gray levels (0-255) over the pixels that the region or the boxes
cover, so small regions are judged as strictly as large ones. JPEG noise and the ringing at a region's border
cost the same for any region, so boxes are compared with the best possible region, not with zero.
"""

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageStat

from scenarioclip_jax.data.build import focus_copy, focus_evidence, focus_match, focus_styles
from scenarioclip_jax.data.stored import masks

# Boxes are used if they lose at most this share of the light that the best region explains: a box that is off
# by a pixel passes, a mask that leaves a corner of its box black doesn't.
BOXES_TOLERANCE = 0.06
# A region is used if photo x region differs from the image by at most this many gray levels.
MASK_TOLERANCE = 8.0
_STRIP = 256  # rows that are compared at once; whole units of a JPEG
# JPEG ringing around a region stays below this gray level in a photo of usual brightness; in a dark one, below
# a quarter of what is bright there, apart from noise.
_BLACK, _NOISE = 24, 3
_AMBIGUOUS = 12  # the photo itself is nearly black, so the pixel says nothing about the region
_FEWEST = 4  # pixels of a region
_PLAIN = 8  # gray levels between the darkest and the brightest pixel of one color, saved as JPEG
_SAME = 0.15  # difference from the photo, relative to the image's own variation

Box = Sequence[float]


class FocusFit(NamedTuple):
    """How a focused-region image can be stored."""

    kind: str  # "boxes", "mask" or "image"; "empty", "photo" or "unlike": it shows no region of the photo
    pair: int  # index of the pair of boxes that fits best; -1: no pair was given
    mask: bytes  # `masks.encode`, of the photo's size; for kind "mask" only
    extent: tuple[int, int, int, int]  # x0, y0, x1, y1 of what is not black, in photo pixels
    error: float  # gray levels; of the chosen form, 0 for "image"
    style: str = (
        ""  # of an image: "white", "plain", "dimmed", "blurred", "crop", "black" or "other"
    )


_EMPTY = FocusFit("empty", -1, b"", (0, 0, 0, 0), 0.0)


def fit_focus(photo: Image.Image, focus: Image.Image, pairs: Sequence[tuple[Box, Box]]) -> FocusFit:
    """Finds the smallest form of a focused-region image.

    Args:
      photo: The RGB photo.
      focus: The focused-region image, RGB; if only its size differs, it is resized to the photo's.
      pairs: Candidates for the boxes of (subject, object), in photo pixels. There are several if a name occurs
        twice in the photo.
    """
    width, height = photo.size
    darkness = _darkness(photo)
    if _is_plain(focus, _PLAIN) and not _is_plain(photo, 4 * _PLAIN):  # a placeholder of any size
        return _EMPTY
    if abs(focus.width / focus.height * height / width - 1) > 0.02:
        return _fit_part(photo, focus, pairs, darkness)
    laid = _Laid(photo, focus, darkness)
    if laid.lit.sum() < _FEWEST or _only_noise(photo, laid.black_cost, laid.lit):
        return _EMPTY
    return _fit_in_place(laid, pairs)


class _Laid:
    """A focused-region image laid on its photo, pixel by pixel.

    Attributes:
      photo: The photo.
      given: The image as it was given.
      focus: The image in the photo's size.
      darkness: See `_darkness`.
      black_cost: Error of a pixel that is left out of the region, uint8 [H, W].
      photo_cost: Error of a pixel that belongs to it, uint8 [H, W].
      lit: What isn't black, bool [H, W].
    """

    def __init__(self, photo: Image.Image, given: Image.Image, darkness: float):
        self.photo, self.given, self.darkness = photo, given, darkness
        same_size = given.size == photo.size
        self.focus = given if same_size else given.resize(photo.size, Image.Resampling.BICUBIC)
        self.black_cost = np.asarray(self.focus.convert("L"))
        self.photo_cost = _difference(photo, self.focus)
        self.lit = self.black_cost > _blackest(photo)

    def error(self, region: np.ndarray, judged: np.ndarray) -> float:
        """Gray levels by which the photo, cut to a region, differs where it is judged; both bool [H, W]."""
        return _mean(
            judged,
            lambda rows: np.where(region[rows], self.photo_cost[rows], self.black_cost[rows]),
        )

    def least_error(self, judged: np.ndarray) -> float:
        """The error of the region that explains the image best."""
        return _mean(judged, lambda rows: np.minimum(self.black_cost[rows], self.photo_cost[rows]))

    def tolerance(self, judged: np.ndarray) -> float:
        """Gray levels by which boxes may be worse than the region that explains the image best."""
        tolerance = BOXES_TOLERANCE * _mean(judged, lambda rows: self.black_cost[rows])
        # A rounded gray level is much where there are few.
        return max(tolerance, 0.75) if self.darkness < 1 else tolerance

    def shows(self, boxes: np.ndarray) -> bool:
        """Whether the image shows this photo around the boxes, bool [H, W], and not another one."""
        if _clearly_same(self.photo_cost, self.black_cost, self.lit):
            return True
        near = _around(boxes | self.lit)
        own = boxes[near[1] : near[3], near[0] : near[2]]
        scale = self.given.width / self.photo.width
        photo, focus = self.photo.crop(near), self.focus.crop(near)
        return focus_match.shows(photo, focus, own, self.darkness, scale)


def _fit_in_place(laid: _Laid, pairs: Sequence[tuple[Box, Box]]) -> FocusFit:
    """Finds the smallest form of an image that has the photo's shape and isn't black."""
    photo, focus, darkness = laid.photo, laid.focus, laid.darkness
    extent = _extent(laid.lit)
    pair = _best_pair(laid.black_cost, laid.photo_cost, pairs)
    boxes = _union(pairs, pair, laid.lit.shape)
    judged = boxes | laid.lit
    best, by_boxes = laid.least_error(judged), laid.error(boxes, judged)
    most, tolerance = max(MASK_TOLERANCE * darkness, 2.0), laid.tolerance(judged)
    unlike = FocusFit("unlike", pair, b"", extent, 0.0)

    if pair >= 0 and best <= most and by_boxes - best <= tolerance:
        return FocusFit("boxes", pair, b"", extent, by_boxes) if laid.shows(boxes) else unlike
    if pair >= 0 and (saved := _error_saved(photo, boxes, focus, judged)) <= tolerance:
        return FocusFit("boxes", pair, b"", extent, saved) if laid.shows(boxes) else unlike
    bright = np.asarray(photo.convert("L")) > 2 * _BLACK * darkness
    if (laid.lit & bright).sum() > 0.5 * bright.sum() and focus_copy.is_copy(
        photo, laid.given, boxes, darkness
    ):
        return FocusFit("photo", pair, b"", (0, 0, *photo.size), 0.0)

    ambiguous = max(_AMBIGUOUS * darkness, 2.0)
    mask = _region(laid.black_cost, laid.photo_cost, boxes, ambiguous)
    by_mask = laid.error(mask, judged)
    if by_mask > most:
        by_mask = _error_saved(photo, mask, focus, judged)
    # A region of nearly everything that isn't black anyway: the background was blurred, not cut out.
    if by_mask <= most and (mask & bright).sum() < 0.9 * bright.sum():
        fit = FocusFit("mask", pair, masks.encode(mask), extent, by_mask)
        return fit if laid.shows(boxes) else unlike
    return _fit_image(laid, pairs, unlike)


def _fit_image(laid: _Laid, pairs: Sequence[tuple[Box, Box]], unlike: FocusFit) -> FocusFit:
    """What an image is that no region of the photo gives; `unlike` if it doesn't show the photo."""
    photo, focus = laid.photo, laid.focus
    pair = _best_set_off(photo, focus, pairs, unlike.pair)
    boxes = _union(pairs, pair, laid.lit.shape)
    if not laid.shows(boxes):
        part = _fit_part(photo, laid.given, pairs, laid.darkness)
        return part if part.kind != "unlike" else unlike
    x0, y0, x1, y1 = near = _around(boxes | laid.lit)
    style = focus_styles.style(photo.crop(near), focus.crop(near), boxes[y0:y1, x0:x1])
    return FocusFit("image", pair, b"", unlike.extent, 0.0, style)


def _is_plain(image: Image.Image, levels: int) -> bool:
    """Whether each channel of an RGB image stays within so many gray levels."""
    return all(high - low <= levels for low, high in ImageStat.Stat(image).extrema)


def _fit_part(
    photo: Image.Image, focus: Image.Image, pairs: Sequence[tuple[Box, Box]], brightness: float
) -> FocusFit:
    """Finds the part that an image was cut from if its shape differs or it doesn't match the photo in place."""
    pair, whole = 0 if pairs else -1, (0, 0, *photo.size)
    rect = focus_styles.cut_from(photo, focus, pairs, brightness)
    if rect is None:
        return FocusFit("unlike", pair, b"", whole, 0.0)
    if focus_styles.is_trimmed(photo, focus, rect, pairs, brightness):
        return FocusFit("photo", pair, b"", whole, 0.0)
    return FocusFit("image", pair, b"", whole, 0.0, "crop")


def _clearly_same(photo_cost: np.ndarray, black_cost: np.ndarray, lit: np.ndarray) -> bool:
    """Whether what is lit differs far less from the photo than it varies: nothing else has to be compared."""
    step = max(1, round((lit.size / 40_000) ** 0.5))
    some = slice(None, None, step), slice(None, None, step)
    level = black_cost[some][lit[some]].astype(np.float64)
    if len(level) < 100:
        return False
    varies = np.abs(level - level.mean()).mean()
    return bool(photo_cost[some][lit[some]].mean() < _SAME * varies)


def _darkness(photo: Image.Image) -> float:
    """1 for a photo of usual brightness, less for a dark one: what is bright there, by 96 gray levels."""
    counts = np.cumsum(photo.convert("L").histogram())
    bright = int(np.searchsorted(counts, 0.95 * counts[-1]))
    return float(np.clip(bright / (4 * _BLACK), _NOISE / _BLACK, 1.0))


def _blackest(photo: Image.Image) -> np.ndarray:
    """Gray level, uint8 [H, W], up to which a pixel counts as black: half of the photo's there, 3 to 24."""
    near = photo.convert("L").filter(ImageFilter.BoxBlur(2))
    return np.asarray(near.point([min(_BLACK, max(_NOISE, level // 2)) for level in range(256)]))


def _only_noise(photo: Image.Image, focus: np.ndarray, lit: np.ndarray) -> bool:
    """Whether all that is lit is as dark as noise, and doesn't follow the photo."""
    if int(focus.max()) > _BLACK:
        return False
    # Where most of the neighborhood is lit; single pixels would be those that happen to follow the photo.
    dense = np.asarray(Image.fromarray(lit).convert("L").filter(ImageFilter.BoxBlur(2))) > 76
    if not dense.any():
        return lit.mean() > 1e-3
    a, b = np.asarray(photo.convert("L"))[dense].astype(float), focus[dense].astype(float)
    if a.std() < 0.5 and b.std() < 0.5:  # a plain region: about as bright as the photo there?
        return abs(a.mean() - b.mean()) > 2
    return bool(a.std() == 0 or b.std() == 0 or np.corrcoef(a, b)[0, 1] < 0.5)


def _union(pairs: Sequence[tuple[Box, Box]], pair: int, shape: tuple[int, int]) -> np.ndarray:
    """The area of a pair's boxes, bool [H, W]; all False for -1."""
    boxes = np.zeros(shape, bool)
    for box in pairs[pair] if pair >= 0 else ():
        boxes[_slices(box)] = True
    return boxes


def _best_set_off(
    photo: Image.Image, focus: Image.Image, pairs: Sequence[tuple[Box, Box]], pair: int
) -> int:
    """Index of the pair that is set off from surroundings that aren't black; `pair` if none stands out."""
    changed = focus_evidence.differences(photo, focus) if len(pairs) > 1 else None
    if changed is None:
        return pair
    found = [focus_evidence.agreement(changed, np.array(each, float), photo.size) for each in pairs]
    best = int(np.argmax(found))
    return best if found[best] > 0.3 else pair


def _slices(box: Box) -> tuple[slice, slice]:
    x0, y0, x1, y1 = (
        int(value) for value in box
    )  # as `view.map_boxes` cuts them when they are read
    return slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1))


def _strips(height: int) -> Iterator[slice]:
    """Rows from top to bottom, a few at a time.

    NumPy keeps every step of a formula: a whole photo of 50 megapixels would need more than a gigabyte.
    """
    for start in range(0, height, _STRIP):
        yield slice(start, min(start + _STRIP, height))


def _rows(image: Image.Image, rows: slice) -> Image.Image:
    return image.crop((0, rows.start, image.width, rows.stop))


def _difference(a: Image.Image, b: Image.Image) -> np.ndarray:
    """Gray level of the difference of two RGB images, uint8 [H, W]."""
    found = np.empty((a.height, a.width), np.uint8)
    for rows in _strips(a.height):
        difference = ImageChops.difference(_rows(a, rows), _rows(b, rows))
        found[rows] = np.asarray(difference.convert("L"))
    return found


def _mean(judged: np.ndarray, values: Callable[[slice], np.ndarray]) -> float:
    """Mean of integers, given by rows, over the judged pixels, bool [H, W]."""
    total = sum(int(values(rows)[judged[rows]].sum()) for rows in _strips(len(judged)))
    return total / max(int(judged.sum()), 1)


def _best_pair(
    black_cost: np.ndarray, photo_cost: np.ndarray, pairs: Sequence[tuple[Box, Box]]
) -> int:
    """Index of the pair whose union gathers the most gain; -1 without pairs.

    The gain of a pixel is the error if it is left out, minus the error if it belongs to the region. The boxes'
    edges cut the photo into cells, and a summed-area table of these makes each pair O(1): a crowd of thirty
    people has 870 pairs.
    """
    if len(pairs) < 2:
        return len(pairs) - 1
    height, width = black_cost.shape
    cut = [
        tuple(
            np.clip((s.start, s.stop), 0, n).tolist()
            for s, n in zip(_slices(b), (height, width), strict=True)
        )
        for b in dict.fromkeys(tuple(box) for pair in pairs for box in pair)
    ]
    ys = sorted({0, height, *(y for rows, _ in cut for y in rows)})
    xs = sorted({0, width, *(x for _, columns in cut for x in columns)})
    table = np.zeros((len(ys), len(xs)), np.int64)
    for band, (top, bottom) in enumerate(itertools.pairwise(ys)):
        for rows in _strips(bottom - top):
            rows = slice(top + rows.start, top + rows.stop)
            by_column = black_cost[rows].sum(0, dtype=np.int64) - photo_cost[rows].sum(
                0, dtype=np.int64
            )
            table[band + 1, 1:] += np.add.reduceat(by_column, xs[:-1])
    table = table.cumsum(0).cumsum(1)
    row, column = {y: i for i, y in enumerate(ys)}, {x: i for i, x in enumerate(xs)}

    def total(rows: slice, columns: slice) -> int:
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return 0
        y0, y1 = (row[y] for y in np.clip((rows.start, rows.stop), 0, height).tolist())
        x0, x1 = (column[x] for x in np.clip((columns.start, columns.stop), 0, width).tolist())
        return int(table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0])

    def union(pair: tuple[Box, Box]) -> int:
        (ay, ax), (by, bx) = _slices(pair[0]), _slices(pair[1])
        both = total(
            slice(max(ay.start, by.start), min(ay.stop, by.stop)),
            slice(max(ax.start, bx.start), min(ax.stop, bx.stop)),
        )
        return total(ay, ax) + total(by, bx) - both

    return max(range(len(pairs)), key=lambda i: union(pairs[i]))


def _region(
    black_cost: np.ndarray, photo_cost: np.ndarray, boxes: np.ndarray, ambiguous: float
) -> np.ndarray:
    """The region that explains the image: bool [H, W]. A gain up to `ambiguous` gray levels says nothing."""
    region = np.empty(boxes.shape, bool)
    for rows in _strips(len(boxes)):
        # Each of the two filters below reaches one row beyond.
        start, stop = max(rows.start - 2, 0), min(rows.stop + 2, len(boxes))
        gain = black_cost[start:stop].astype(np.int16) - photo_cost[start:stop]
        gain = Image.fromarray((np.clip(gain, -127, 127) + 127).astype(np.uint8))
        smooth = np.asarray(gain.filter(ImageFilter.BoxBlur(1)), np.int16) - 127
        # Where the photo is black the pixel may be in or out: with the boxes, the mask is simpler.
        found = np.where(np.abs(smooth) < ambiguous, boxes[start:stop], smooth > 0)
        found = Image.fromarray(found).convert("L").filter(ImageFilter.MedianFilter(3))
        region[rows] = np.asarray(found)[rows.start - start : rows.stop - start] > 0
    return region


def _error_saved(
    photo: Image.Image, region: np.ndarray, focus: Image.Image, judged: np.ndarray
) -> float:
    """Gray levels between the focused-region image and the photo cut to `region` and saved as JPEG.

    In a region of a few blocks of 8 x 8 pixels the ringing at its border is all there is; only another JPEG
    has the same.
    """
    total = 0
    for rows in _strips(photo.height):
        if not judged[rows].any():
            continue
        # A JPEG's units are 16 x 16 pixels, and colors are smoothed over their borders.
        start, stop = max(rows.start - 16, 0), min(rows.stop + 16, photo.height)
        strip = _rows(photo, slice(start, stop))
        stream = io.BytesIO()
        cut = Image.composite(
            strip, Image.new("RGB", strip.size), Image.fromarray(region[start:stop])
        )
        cut.save(stream, "JPEG", quality=85)
        saved = _rows(
            Image.open(stream).convert("RGB"), slice(rows.start - start, rows.stop - start)
        )
        difference = ImageChops.difference(saved, _rows(focus, rows)).convert("L")
        total += int(np.asarray(difference)[judged[rows]].sum(dtype=np.int64))
    return total / max(int(judged.sum()), 1)


def _around(shown: np.ndarray) -> tuple[int, int, int, int]:
    """What is shown and a quarter more on each side: x0, y0, x1, y1."""
    x0, y0, x1, y1 = _extent(shown)
    across, down = (x1 - x0) // 4 + 8, (y1 - y0) // 4 + 8
    height, width = shown.shape
    return max(x0 - across, 0), max(y0 - down, 0), min(x1 + across, width), min(y1 + down, height)


def _extent(lit: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
