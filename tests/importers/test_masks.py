"""Run lengths: what isn't a mask is an error, not a crash or whatever was in memory."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from scenarioclip_jax.importers import masks


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_every_mask_is_taken_as_it_is(mask):
    height, width = mask.shape
    encoded = masks.from_array(mask)
    assert masks.from_coco(encoded, width, height) == encoded
    assert np.array_equal(masks.to_array(encoded), mask)


@given(st.data())
def test_text_that_was_changed_fills_the_photo_or_is_an_error(data):
    mask = np.eye(24, 40, dtype=bool)
    encoded = masks.from_array(mask)
    letters = list(encoded["counts"])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(letters) - 1))
        letters[place] = data.draw(st.sampled_from([chr(n) for n in range(45, 115)]))
    cut = data.draw(st.integers(1, len(letters)))
    try:
        taken = masks.from_coco({"size": [24, 40], "counts": "".join(letters[:cut])}, 40, 24)
    except ValueError:
        return
    # Another mask, but one that has all its pixels.
    assert set(np.unique(masks.coco.decode(masks._as_bytes(taken)))) <= {0, 1}


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [10, 10], "counts": [50]},
        {"size": [10, 10], "counts": [-50, 150]},
        {"size": [10, 10], "counts": ["100"]},
        {"size": [10, 10], "counts": ""},
        {"size": [10, 10]},
        {"size": [9, 10], "counts": [90]},
        [[1, 1, 5, 1, 5, 1e300]],
        [[1, 1, 5, 1, 5, float("nan")]],
        [[1, 1, 5, 1, 5, 5, 7]],
        [[1, 1, 5, 1, 5, "x"]],
        "polygon",
    ],
)
def test_what_is_no_mask(segmentation):
    with pytest.raises(ValueError):
        masks.from_coco(segmentation, 10, 10)
