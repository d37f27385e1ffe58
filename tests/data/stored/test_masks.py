"""Masks as run lengths: what is sampled from them is what they were made from."""

import tracemalloc
import zlib

import numpy as np
import pytest

from scenarioclip_jax.data.stored import masks


def test_any_pixels_of_any_mask_come_back():
    draw = np.random.default_rng(0)
    for _ in range(500):
        height, width = draw.integers(1, 12, 2)
        mask = draw.random((height, width)) < draw.choice([0, 0.1, 0.5, 1])
        rows, columns = (np.sort(draw.integers(0, n, draw.integers(1, 20))) for n in mask.shape)
        encoded = masks.encode(mask)
        np.testing.assert_array_equal(masks.decode(encoded), mask)
        found = masks.sample(encoded, masks.Grid((width, height), rows, columns))
        np.testing.assert_array_equal(found, mask[rows[:, None], columns])


def test_a_mask_takes_few_bytes():
    y, x = np.mgrid[:480, :640]
    assert len(masks.encode(np.hypot(x - 300, y - 200) < 120)) < 600


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-4], "damaged mask"),
        (lambda b: b"\x89PNG", "damaged mask"),
        (lambda b: zlib.compress(zlib.decompress(b)[:-4]), "its runs don't fill it"),
        (lambda b: zlib.compress(zlib.decompress(b)[:-3]), "damaged mask"),
        (lambda b: zlib.compress(b""), "damaged mask"),
        (lambda b: zlib.compress(zlib.decompress(b)[:8] + bytes(400)), "its runs don't fill it"),
        (lambda b: zlib.compress(b"\xff" * 8), "mask of"),
        (lambda b: b, r"mask of \(5, 4\) pixels for a photo of \(4, 5\)"),
    ],
)
def test_damage_is_named(damage, message):
    mask = damage(masks.encode(np.eye(4, 5, dtype=bool)))
    with pytest.raises(ValueError, match=message):
        masks.sample(mask, masks.Grid((4, 5), [0], [0]))


def test_a_bomb_is_not_unpacked():
    """270 kB that would unfold to 60 MB."""
    bomb = zlib.compress(np.array([640, 480], "<u4").tobytes() + bytes(60_000_000), 1)
    tracemalloc.start()
    with pytest.raises(ValueError, match="damaged mask"):
        masks.sample(bomb, masks.Grid((640, 480), [0], [0]))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
