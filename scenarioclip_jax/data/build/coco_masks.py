"""Decodes masks that are written as in COCO: run lengths column by column, as numbers or as text.

pycocotools does the same, but writes outside of its memory where the text is damaged, so that a build would end
without a message.
"""

import numpy as np

from scenarioclip_jax.data.build.records import MaskRecord

# Of a character: five bits, least significant first.
_FIRST, _BITS, _MORE, _SIGN = 48, 5, 0x20, 0x10


def decode(mask: MaskRecord) -> np.ndarray:
    """Returns a mask as bool [height, width].

    Raises:
      ValueError: The runs can't be read, or don't fill the mask.
    """
    runs = _read(mask.counts) if isinstance(mask.counts, str) else list(mask.counts)
    pixels = mask.width * mask.height
    if any(run < 0 for run in runs) or sum(runs) != pixels:
        raise ValueError(
            f"the runs of a mask of {mask.width} x {mask.height} pixels should be positive and sum to "
            f"{pixels}, but sum to {sum(runs)}"
        )
    inside = np.arange(len(runs)) % 2 == 1  # runs of 0 and 1 in turn, of 0 first
    return np.repeat(inside, runs).reshape(mask.width, mask.height).T


def _read(text: str) -> list[int]:
    """The runs in a text; from the fourth on, each is written as a difference from the run two before."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - _FIRST
        if not 0 <= code < 2 * _MORE:
            raise ValueError(f"{character!r} occurs in no run length of COCO")
        value |= (code & (_MORE - 1)) << shift
        shift += _BITS
        if code & _MORE:
            continue
        if code & _SIGN:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the text ends within a run length")
    return runs
