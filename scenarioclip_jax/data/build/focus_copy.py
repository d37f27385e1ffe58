"""Detects an image that should show a focused region but is a copy of the whole photo, in whatever tones.

In a focused region, something sets the participants off: their surroundings are blurred, dimmed, colorless or
gone. In a copy (brighter, grayer, compressed again, slightly trimmed) both were treated in the same way.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from scenarioclip_jax.data.build.focus_match import (
    BRIGHTNESS,
    Match,
    contrast_of,
    local_match,
    pixels,
    reduced,
    resized,
    window_sum,
)

_SIDE = 160  # longer side of the images that are compared, in pixels
_SAME = 0.5  # correlation of a window that shows the same
_SHARE = 0.8  # of windows that show the same, in a copy
_FEWEST = 40  # windows that tell something
_TONES = 10.0  # gray levels between a photo, in the tones of its copy, and the copy
_GAIN, _COLOR_GAIN = 1.12, 1.4  # ratio of what is inside to what is outside: more sets it off
_COLOR = 15.0  # gray levels between a color and gray
_CELLS = 12  # along each side, whose detail is compared
_ALIGNED = 0.93  # mean correlation of images that needn't be aligned
_LEVELS = 24  # of a tone curve
_COARSE = 64  # pixels: side of the images that are aligned first
_SCALES = (0.8, 0.84, 0.88, 0.91, 0.94, 0.97, 1.0, 1.04, 1.08, 1.12)
_OVERLAP = 0.6  # least share of the photo that a whole one shows

Rect = tuple[float, float, float, float]  # x0, y0, x1, y1


class Pair(NamedTuple):
    """A photo and an image of it at the same size, float [H, W, 3], and the participants' place if known."""

    a: np.ndarray
    b: np.ndarray
    inside: np.ndarray | None  # bool [H, W]; None: it isn't known
    details: tuple[np.ndarray, np.ndarray]  # gray, float [H', W'] both, larger


def is_copy(
    photo: Image.Image, focus: Image.Image, inside: np.ndarray | None, brightness: float = 1.0
) -> bool:
    """Whether an image is the whole photo, scaled, trimmed, shifted or in other tones, with nothing set off.

    Args:
      photo: The RGB photo.
      focus: RGB image of about the same shape.
      inside: Where the participants are in the photo, bool [H, W]; None or all False if unknown.
      brightness: 1, or less for a dark photo.
    """
    contrast = contrast_of(brightness)
    pair = _pair(photo, focus, inside)
    match = _match(pair, contrast)
    if _same(pair, match, brightness):
        return True
    structured = _structured(match, contrast)
    outside, here = structured, structured
    if pair.inside is not None:
        outside, here = structured & ~pair.inside, structured & pair.inside
    # Surroundings that were made plain can't be aligned, participants in their places needn't be.
    lost = (match.contrasts[1][outside] < contrast).mean() if outside.any() else 1.0
    if lost > 0.5 or (here.any() and match.score[here].mean() > _ALIGNED):
        return False
    rect = align(photo, focus, contrast)
    cut = _overlapping(photo, focus, inside, rect) if rect else None
    if cut is None:
        return False
    pair = _pair(*cut)
    return _same(pair, _match(pair, contrast), brightness)


def _match(pair: Pair, contrast: float) -> Match:
    everywhere = np.ones(pair.a.shape[:2], bool)
    return local_match(pair.a @ BRIGHTNESS, pair.b @ BRIGHTNESS, everywhere, contrast)


def _structured(match: Match, contrast: float) -> np.ndarray:
    """Windows of the photo with so much contrast that no compression takes it away, if there are such."""
    strong = match.contrasts[0] > 2 * contrast
    return strong if strong.sum() >= 2 * _FEWEST else match.contrasts[0] > contrast


def _pair(photo: Image.Image, focus: Image.Image, inside: np.ndarray | None) -> Pair:
    least = (min(photo.width, focus.width), min(photo.height, focus.height))
    size, large = reduced(least, _SIDE), reduced(least, 1024)
    part = resized(inside, size) if inside is not None else None
    if part is not None and (part.all() or not part.any()):
        part = None
    details = [
        np.asarray(picture.convert("L").resize(large, Image.Resampling.BOX), np.float64)
        for picture in (photo, focus)
    ]
    return Pair(pixels(photo, size), pixels(focus, size), part, (details[0], details[1]))


def _same(pair: Pair, match: Match, brightness: float) -> bool:
    """Whether two aligned images show the same thing everywhere, treated in the same way."""
    parts = [np.ones(match.score.shape, bool)]
    if pair.inside is not None:
        parts = [pair.inside, ~pair.inside]
    structured = _structured(match, contrast_of(brightness)) & parts[-1]
    if structured.sum() >= _FEWEST:
        if (match.score[structured] > _SAME).mean() < _SHARE:
            return False
        toned = _toned(pair.a, pair.b, parts)
    else:  # plain surroundings: only the same tones are the same picture
        toned = pair.a
    count = window_sum(np.ones(match.score.shape))
    gap = np.abs(window_sum(np.moveaxis(toned - pair.b, -1, 0)) / count).mean(0)
    most = max(_TONES * brightness, 1.5)
    if max(gap[part].mean() for part in parts) > most:
        return False
    return (
        _evenly_toned(toned, pair.b, pair.inside)
        and _evenly_colored(pair, brightness)
        and _evenly_sharp(pair, brightness)
    )


def _toned(a: np.ndarray, b: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
    """A photo in the tones of another image, by least squares; all parts have the same weight."""
    weight = np.asarray(sum(part / max(part.sum(), 1) for part in parts))
    some = (slice(None, None, 2),) * 2  # enough to fit a curve to
    weight = weight[some].reshape(-1, 1) ** 0.5
    found = np.empty_like(b)
    for c in range(3):
        own = a[..., c : c + 1] / 255
        terms = np.concatenate([np.ones_like(own), a / 255, own**2, own**3, np.sqrt(own)], -1)
        known = weight * terms[some].reshape(-1, terms.shape[-1])
        wanted = b[some][..., c].reshape(-1, 1)
        normal = known.T @ known + 1e-6 * np.eye(known.shape[1])
        fitted = terms @ np.linalg.solve(normal, known.T @ (weight * wanted))
        found[..., c] = _leveled(fitted[..., 0], fitted[some].ravel(), wanted[:, 0], weight[:, 0])
    return np.clip(found, 0, 255)


def _leveled(
    fitted: np.ndarray, known: np.ndarray, wanted: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Fitted levels, [H, W], as the means of what is wanted, [N], at such levels: tones may be clipped."""
    ends = np.quantile(known, np.linspace(0, 1, _LEVELS + 1)[1:-1])
    level = np.searchsorted(ends, known)
    total = np.bincount(level, weight, minlength=_LEVELS)
    filled = total > 0
    at, means = (
        np.bincount(level, weight * each, minlength=_LEVELS)[filled] / total[filled]
        for each in (known, wanted)
    )
    return np.interp(fitted, at, means)


def _evenly_toned(a: np.ndarray, b: np.ndarray, inside: np.ndarray | None) -> bool:
    """Whether brightness has the same ratio in all parts."""
    if inside is None:
        rows, columns = (np.arange(n) * 4 // n for n in a.shape[:2])
        label = rows[:, None] * 4 + columns
    else:
        label = (~inside).astype(int)
    sums = [np.bincount(label.ravel(), (each @ BRIGHTNESS).ravel()) + 0.5 for each in (a, b)]
    ratio = np.sort(sums[1] / sums[0])
    if (
        inside is None
    ):  # a dark cell, or one at the border of what is set off, says nothing by itself
        ratio = ratio[1:-1]
    return bool(ratio[-1] <= _GAIN * ratio[0])


def _evenly_colored(pair: Pair, brightness: float) -> bool:
    """Whether as much color is left inside as outside, where surroundings may be made gray."""
    count = window_sum(np.ones(pair.a.shape[:2]))
    a, b = (
        window_sum(np.moveaxis(each - each.mean(-1, keepdims=True), -1, 0)) / count
        for each in (pair.a, pair.b)
    )
    energy = (a**2).sum(0)
    colored = energy > max(_COLOR * brightness, 3.0) ** 2
    left = (a * b).sum(0)
    if pair.inside is None:
        if colored.sum() < _FEWEST:
            return True
        left = left[colored] / energy[colored]
        return bool((left < 0.25).mean() < 0.05 or (left > 0.6).mean() < 0.02)
    ratio = []
    for part in (colored & pair.inside, colored & ~pair.inside):
        if part.sum() < _FEWEST:
            return True
        ratio.append(left[part].sum() / energy[part].sum())
    # In a gray copy no color is left anywhere.
    return bool(max(ratio) < 0.1 or max(ratio) <= _COLOR_GAIN * min(ratio))


def _evenly_sharp(pair: Pair, brightness: float) -> bool:
    """Whether as much detail is left inside as outside, where surroundings may be blurred."""
    a, b = (_detail(gray) for gray in pair.details)
    least = 0.9 * max(brightness, 0.2)
    rows, columns = (np.arange(n) * _CELLS // n for n in a.shape)
    cell = rows[:, None] * _CELLS + columns
    if pair.inside is None:
        parts = [np.ones(a.shape, bool)]
    else:
        inside = resized(pair.inside, a.shape[::-1])
        parts = [inside, ~inside]
    left = []
    for part in parts:
        count = np.bincount(cell[part], minlength=_CELLS**2)
        had, has = (np.bincount(cell[part], each[part], minlength=_CELLS**2) for each in (a, b))
        # Smooth cells, which have nothing to lose, are left out.
        rich = (count > 8) & (had > least * count)
        if not rich.any():
            return True
        left.append((had[rich], has[rich]))
    if pair.inside is None:
        (had, has), *_ = left
        low, high = np.quantile(has / had, (0.15, 0.97))
        return bool(low > 0.5 * high)
    kept = [has.sum() / had.sum() for had, has in left]
    return bool(0.6 < kept[0] / max(kept[1], 1e-3) < 1.7)


def _detail(gray: np.ndarray) -> np.ndarray:
    smooth = Image.fromarray(gray.astype(np.uint8)).filter(ImageFilter.BoxBlur(2))
    return np.abs(gray - np.asarray(smooth, np.float64))


def align(photo: Image.Image, focus: Image.Image, contrast: float) -> Rect | None:
    """Finds the part of the photo (most of it) that an image shows, scaled and shifted; None if it shows none.

    Returns:
      Edges of the part as shares of the photo's width and height; they may be beyond 0 and 1.
    """
    size = reduced(photo.size, _COARSE)
    a = _flattened(pixels(photo, size) @ BRIGHTNESS, contrast)
    best, rect = 0.0, None
    for scale in _SCALES:
        scaled = [max(8, round(n * scale)) for n in size]
        b = _flattened(pixels(focus, scaled) @ BRIGHTNESS, contrast)
        score, (down, across) = _best_place(a, b)
        if score > best:
            ends = (across + scaled[0], down + scaled[1])
            best, rect = (
                score,
                (across / size[0], down / size[1], ends[0] / size[0], ends[1] / size[1]),
            )
    if rect is None or best <= 0.3:
        return None
    return _refined(photo, focus, rect, contrast)


def _flattened(gray: np.ndarray, contrast: float) -> np.ndarray:
    """Brightness without its local mean, over its local deviation."""
    sums = window_sum(np.stack([np.ones_like(gray), gray, gray * gray]))
    mean = sums[1] / sums[0]
    return (gray - mean) / (np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 0)) + contrast)


def _best_place(a: np.ndarray, b: np.ndarray) -> tuple[float, tuple[int, int]]:
    """Correlation over the overlap, and the row and column of `a` where `b` starts, for the best place."""
    shape = [n + m for n, m in zip(a.shape, b.shape, strict=True)]

    def correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        product = np.fft.rfft2(first, shape) * np.conj(np.fft.rfft2(second, shape))
        return np.fft.irfft2(product, shape)

    area = correlate(np.ones_like(a), np.ones_like(b))
    energy = correlate(a**2, np.ones_like(b)) * correlate(np.ones_like(a), b**2)
    score = correlate(a, b) / np.sqrt(np.maximum(energy, 1e-6))
    score[area < _OVERLAP * a.size] = -1
    at = np.unravel_index(np.argmax(score), score.shape)
    start = [int(i) if i < n else int(i) - s for i, n, s in zip(at, a.shape, shape, strict=True)]
    return float(score[at]), (start[0], start[1])


def _refined(photo: Image.Image, focus: Image.Image, rect: Rect, contrast: float) -> Rect | None:
    """Moves the edges until the images fit best, with the steps of Lucas and Kanade (1981)."""
    size = reduced(photo.size, _SIDE)
    b = _flattened(pixels(focus, size) @ BRIGHTNESS, contrast)
    # Shares of the way from one edge to the other, for each pixel.
    x = (np.arange(size[0]) + 0.5) / size[0]
    y = ((np.arange(size[1]) + 0.5) / size[1])[:, None]
    edges = np.array(rect)
    for _ in range(8):
        shown = _cut(photo, tuple(edges), size)
        if shown is None:
            return None
        pixels_shown, known = shown
        a = _flattened(pixels_shown, contrast)
        down, across = np.gradient(a)
        # How a changes as each edge moves by a pixel of this size.
        slopes = np.stack(
            [each[known] for each in (across * (1 - x), down * (1 - y), across * x, down * y)], -1
        )
        step = np.linalg.lstsq(slopes, (b - a)[known], rcond=None)[0]
        step = np.clip(step, -3, 3)
        edges = edges + step * np.tile((edges[2:] - edges[:2]) / size, 2)
        if np.abs(step).max() < 0.05:
            break
    return tuple(edges.tolist())


def _cut(
    photo: Image.Image, edges: Rect, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Brightness of a part of a photo at a size, and where that isn't beyond its edge: bool [H, W]."""
    x0, y0, x1, y1 = edges
    if x1 - x0 < 0.3 or y1 - y0 < 0.3:
        return None
    small = reduced(photo.size, 2 * _SIDE)
    gray = photo.convert("L").resize(small, Image.Resampling.BOX)
    # Pillow doesn't accept a box beyond the image.
    margin = (small[0] // 2, small[1] // 2)
    canvas = Image.new("L", (small[0] + 2 * margin[0], small[1] + 2 * margin[1]))
    canvas.paste(gray, margin)
    box = np.array(edges) * (small * 2) + np.tile(margin, 2)
    if box.min() < 0 or (box[2:] > canvas.size).any():
        return None
    shown = canvas.resize(size, Image.Resampling.BILINEAR, box=tuple(box))
    x = x0 + (x1 - x0) * (np.arange(size[0]) + 0.5) / size[0]
    y = y0 + (y1 - y0) * (np.arange(size[1]) + 0.5) / size[1]
    known = ((y > 0.02) & (y < 0.98))[:, None] & ((x > 0.02) & (x < 0.98))
    return np.asarray(shown, np.float64), known


def _overlapping(
    photo: Image.Image, focus: Image.Image, inside: np.ndarray | None, rect: Rect
) -> tuple[Image.Image, Image.Image, np.ndarray | None] | None:
    """The parts of both images that overlap; None if that isn't most of the photo."""
    x0, y0, x1, y1 = rect
    shared = (max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0))
    if (shared[2] - shared[0]) * (shared[3] - shared[1]) < _OVERLAP:
        return None
    own = np.round(np.array(shared) * np.tile(photo.size, 2)).astype(int)
    scale = np.array([x1 - x0, y1 - y0])
    theirs = (np.array(shared) - np.tile([x0, y0], 2)) / np.tile(scale, 2)
    theirs = np.round(theirs * np.tile(focus.size, 2)).astype(int)
    # An edge may be smeared or plain: it isn't looked at.
    inset = 0.01
    for box, size in ((own, photo.size), (theirs, focus.size)):
        margin = np.round(np.array(size) * inset).astype(int)
        box += np.concatenate([margin, -margin])
    part = inside[own[1] : own[3], own[0] : own[2]] if inside is not None else None
    return photo.crop(tuple(own.tolist())), focus.crop(tuple(theirs.tolist())), part
