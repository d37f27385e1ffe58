"""Boxes in the views of whole photos: where they say is where the object is seen."""

import dataclasses

import numpy as np
import pytest

from scenarioclip_jax.data.device.box_views import in_center, in_crop
from scenarioclip_jax.data.device.views import ViewSettings, draw_scenes, views
from scenarioclip_jax.data.packing.fill import empty_batch
from tests.data.fake_scenes import SETTINGS

SETTINGS = dataclasses.replace(
    SETTINGS, image_size=64, canvas_size=80, pooled_regions=True, min_visible_pixels=0
)


def bright(picture):
    """x0, y0, x1, y1 of what is bright, as shares of the picture."""
    seen = np.asarray(picture).mean(-1) > 0
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    size = seen.shape[0]
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / size


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_box_is_where_its_object_is_seen(seed):
    """A white rectangle on black, in the random crop of training and in the plain view."""
    width, height = 80, 60
    batch = empty_batch(4, 80, SETTINGS)
    batch.extent[:], batch.photo_size[:] = (width, height), (width, height)
    batch.seed[:] = seed
    photo_box = np.array([30, 20, 50, 44], np.float32)
    x0, y0, x1, y1 = photo_box.astype(int)
    batch.canvas[:, :, y0:y1, x0:x1] = 255
    scale = 64 / height  # the short side becomes 64 pixels, then the center is cropped
    offset = np.array([(int(64 * width / height) - 64) // 2, 0])
    box = photo_box * scale - np.tile(offset, 2)
    objects, relations = batch.levels["object"], batch.levels["relation"]
    objects.box[:] = box
    relations.ends[:] = np.stack([box, box + 1])

    settings = ViewSettings(jitter_probability=0, blur_probability=0)
    seen = views(batch, settings, train=True)["global"][0, 0]
    found = in_crop(batch, "object", draw_scenes(batch, settings), settings)
    np.testing.assert_allclose(found.box[0, 0, 0], bright(seen), atol=1.5 / 64)
    ends = in_crop(batch, "relation", draw_scenes(batch, settings), settings).box
    np.testing.assert_allclose(ends[0, 0, 0], found.box[0, 0, 0], rtol=1e-5)
    assert (np.asarray(ends[0, 0, 1]) > np.asarray(ends[0, 0, 0])).all()

    np.testing.assert_allclose(in_center(batch, "object").box[0, 0, 0], box / 64, rtol=1e-6)
