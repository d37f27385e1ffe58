"""Detects a jump of brightness or color in a JPEG that starts within a row of blocks and lasts to the end.

Each block of a JPEG stores its mean as the difference from the previous block. If a few bytes of the data are
wrong, decoders are in step again after a block or two, mostly with the right number of blocks, so the file
looks intact; but the means of all later blocks are off by the same amount. The border of that part is a stair
with one step: above the row of blocks to the right of the damage, below it to the left.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

_FEWEST_COLUMNS = 20  # columns of blocks; fewer don't show what is usual
_FEWEST_ROWS = 4
_SIDE = 4  # blocks that must lie on either side of the damage
_DAMAGED = 2  # blocks that are damaged themselves
_LEAST = 12  # levels of a jump in one of the colors; less may be a step of coarse quantization
_USUAL = 1.5  # levels by which neighbors differ in the smoothest image
_INFORMED = 0.3  # share of a side in which the jump would be visible, not lost in texture or black
_HOPEFUL = 0.3  # share in the quick check
_FLAT = 2.0  # levels of deviation along a row: drawings have less, photos more
_MOST = 3.0  # most that one pixel counts
# None of 2,840 intact images has more (photos, screenshots, drawings and pages: 71 originals, each cut and
# scaled in 40 ways, at qualities from 30 to 95, in nine kinds of encoding). Two images of one photo exceed 2.0.
_SURE = 2.2
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def level_jump(pixels: UInt8[np.ndarray, "h w 3"], width: int, height: int) -> int:
    """Finds the row of `pixels` in which a jump begins that looks like JPEG damage; 0 if there is none.

    This is a guess: damage that changes no mean, or that begins near an edge of the image, isn't found, and an
    image could be drawn this way. Every place between two blocks is tried. There is a jump if the lower pixels
    are nearer to the upper ones plus the jump than to the upper ones themselves along both parts of the stair,
    and farther from them along both of its continuations; the lowest of these four means is the score.

    Args:
      pixels: The JPEG at an eighth of its size, RGB: one pixel is the mean of a block.
      width: Width of the smallest unit in the data, in pixels: 2 with halved color, else 1.
      height: Height of that unit, likewise.
    """
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    if rows < _FEWEST_ROWS or columns < _FEWEST_COLUMNS:
        return 0
    field = _Field(pixels[:, : columns * width].astype(np.float32), rows, height)
    starts = np.arange(_SIDE, columns - _SIDE - _DAMAGED + 1) * width
    ends = starts + _DAMAGED * width
    row, jump = field.candidates(field.hopeful(starts, ends))
    if not len(row):
        return 0
    scores = field.scores(row, jump, starts, ends)
    best = int(scores.argmax())
    return (int(row[best]) + 1) * height if scores[best] > _SURE else 0


class _Field:
    """Pairs of neighboring pixels above and below the borders between rows of blocks."""

    def __init__(self, pixels: Float[np.ndarray, "h w 3"], rows: int, height: int):
        below = np.arange(1, rows) * height
        apart = _opponents(pixels)
        steps = np.abs(np.diff(apart, axis=0))
        # How much neighbors differ nearby, over five columns: the second largest of four, because the next
        # border may be a part of the stair.
        nearby = [steps[np.clip(below - 1 + by, 0, len(steps) - 1)] for by in (-2, -1, 1, 2)]
        usual = _second(*nearby)
        padded = np.pad(usual, ((0, 0), (2, 2), (0, 0)), "edge")
        count = usual.shape[1]
        spread = np.asarray(sum(padded[:, i : i + count] for i in range(5)))
        self._usual = _USUAL + spread / 5
        self._upper, self._lower = pixels[below - 1], pixels[below]
        self._apart_upper, self._apart_lower = apart[below - 1], apart[below]
        self._change = (self._apart_lower - self._apart_upper) / self._usual
        self._stays = np.abs(self._change)

    def hopeful(self, starts, ends) -> Int[np.ndarray, " n"]:
        """The borders at which a stair may begin, by a quick check of only the changes' directions."""
        sums = np.cumsum(np.clip(self._change, -1, 1), axis=1)
        sums = np.pad(sums, ((0, 0), (1, 0), (0, 0)))
        left = sums[:, starts] / starts[:, None]
        right = (sums[:, -1:] - sums[:, ends]) / (sums.shape[1] - 1 - ends)[:, None]
        above, below = right[:-1], left[1:]
        both = np.where(above * below > 0, np.minimum(np.abs(above), np.abs(below)), 0)
        neither = np.maximum(np.abs(left[:-1]), np.abs(right[1:]))
        return np.flatnonzero((both - neither).max(axis=(1, 2)) > _HOPEFUL)

    def candidates(self, row) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, "m 3"]]:
        """Candidate jumps at some borders, from parts of the width, at the border or one further down."""
        count, rows, jumps = self._upper.shape[1], [], []
        for border in (row, row + 1):
            upper, lower = self._upper[border], self._lower[border]
            clear = (np.minimum(upper, lower) > 1) & (np.maximum(upper, lower) < 254)
            for parts in (4, 2):
                for part in range(parts):
                    some = slice(part * count // parts, (part + 1) * count // parts)
                    rows.append(row)
                    jumps.append(_typical((lower - upper)[:, some], clear[:, some]))
        row, jump = np.concatenate(rows), np.concatenate(jumps)
        large = np.abs(jump).max(axis=1) >= _LEAST
        return row[large], jump[large]

    def scores(self, row, jump, starts, ends) -> Float[np.ndarray, " n"]:
        """The score of the best place along the row, for each of some borders with a jump."""
        gained, seen = self._gain(row, jump)
        gained_next, seen_next = self._gain(row + 1, jump)
        width = self._upper.shape[1]
        right, left = width - ends, starts
        parts = (
            _mean(gained[:, -1:] - gained[:, ends], seen[:, -1:] - seen[:, ends], right),
            _mean(-gained[:, starts], seen[:, starts], left),
            _mean(gained_next[:, starts], seen_next[:, starts], left),
            _mean(
                gained_next[:, ends] - gained_next[:, -1:],
                seen_next[:, -1:] - seen_next[:, ends],
                right,
            ),
        )
        flat = self._flat(row, ends, None) | self._flat(row + 1, None, starts)
        return np.where(flat, -np.inf, np.minimum.reduce(parts)).max(axis=1)

    def _flat(self, row, start, end) -> Bool[np.ndarray, "n places"]:
        """Whether the upper pixels of some borders are uniform from `start` or up to `end`, as in a drawing."""
        luma = self._apart_upper[row, :, 0].astype(np.float64)
        sums = [np.pad(np.cumsum(x, axis=1), ((0, 0), (1, 0))) for x in (luma, luma**2)]
        if end is None:
            count = luma.shape[1] - start
            mean, square = ((x[:, -1:] - x[:, start]) / count for x in sums)
        else:
            mean, square = (x[:, end] / end for x in sums)
        return square - mean**2 < _FLAT**2

    def _gain(self, row, jump) -> tuple[np.ndarray, np.ndarray]:
        """How much better the jump fits, and where it would be visible, as sums from the left, [n, w + 1]."""
        jumped = _opponents(np.clip(self._upper[row] + jump[:, None], 0, 255))
        usual = self._usual[row]
        misfit = np.abs(self._apart_lower[row] - jumped) / usual
        seen = (np.abs(jumped - self._apart_upper[row]) / usual).max(axis=2) > 1
        gain = np.clip((self._stays[row] - misfit).sum(axis=2), -_MOST, _MOST) * seen
        return _sums(gain), _sums(seen)


def _second(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The second largest of four."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    other_low, other_high = np.minimum(c, d), np.maximum(c, d)
    return np.maximum(np.minimum(high, other_high), np.maximum(low, other_low))


def _opponents(rgb: np.ndarray) -> np.ndarray:
    """Luma, and red and blue minus luma: a JPEG stores these apart, so smooth color counts within texture."""
    luma = rgb @ _LUMA
    return np.stack([luma, rgb[..., 0] - luma, rgb[..., 2] - luma], axis=-1)


def _typical(change: np.ndarray, clear: np.ndarray) -> Float[np.ndarray, "rows 3"]:
    """The median change by row and color where nothing is clipped at black or white; else the largest."""
    ordered = np.sort(np.where(clear, change, np.inf), axis=1)
    count = clear.sum(axis=1)
    median = np.take_along_axis(ordered, (count[:, None] // 2).clip(max=clear.shape[1] - 1), axis=1)
    farthest = np.where(change.mean(axis=1) < 0, -255.0, 255.0)
    return np.where(count > 0.1 * clear.shape[1], median[:, 0], farthest).astype(np.float32)


def _sums(values: np.ndarray) -> np.ndarray:
    return np.pad(np.cumsum(values, axis=1, dtype=np.float32), ((0, 0), (1, 0)))


def _mean(total: np.ndarray, count: np.ndarray, length: np.ndarray) -> np.ndarray:
    return np.where(count >= _INFORMED * length, total / np.maximum(count, 1), -np.inf)
