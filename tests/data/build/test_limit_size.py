"""--max-side: a smaller photo, and everything else in its pixels."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax.data.build.annotations import read_records
from scenarioclip_jax.data.build.assemble import assemble
from scenarioclip_jax.data.build.dataset import build
from scenarioclip_jax.data.build.problems import Problems
from scenarioclip_jax.data.image_files import open_encoded
from scenarioclip_jax.data.photo import fit_scene
from scenarioclip_jax.data.stored import masks
from tests.data.build.test_format import ellipse, grown, runs
from tests.data.builder_inputs import CAT, DOG, HEIGHT, WIDTH, photo, write_root


def scene_of(root, **options):
    (record,) = read_records(root, Problems())
    return assemble(record, root, Problems(), Counter(), **options)


def with_masks():
    entry = grown()
    entry["objects"][0]["mask"] = runs(ellipse(CAT))
    return entry


@pytest.mark.parametrize("max_side", [60, 77])
def test_everything_is_in_pixels_of_the_smaller_photo(max_side, tmp_path):
    root = write_root(tmp_path, with_masks())
    full, small = scene_of(root), scene_of(root, max_side=max_side)
    assert (small.width, small.height) == (max_side, round(max_side * HEIGHT / WIDTH))
    assert open_encoded(small.photo).size == (small.width, small.height)
    scale = np.array([small.width / WIDTH, small.height / HEIGHT] * 2)
    np.testing.assert_allclose(small.object_boxes, full.object_boxes * scale, rtol=1e-6)
    np.testing.assert_allclose(small.relations[0].boxes, full.relations[0].boxes * scale, rtol=1e-6)
    mask = masks.decode(small.relations[0].mask)
    assert mask.shape == (small.height, small.width)
    box = [round(v) for v in np.array(DOG) * scale]
    dog = masks.decode(small.object_masks[1])
    assert dog[(box[1] + box[3]) // 2, (box[0] + box[2]) // 2]
    area = ellipse(DOG).sum() * scale[0] * scale[1]
    assert dog.sum() == pytest.approx(area, rel=0.05)
    # What training sees is nearly the same.
    a, b = (fit_scene(scene, 48, "centre_crop", None) for scene in (full, small))
    np.testing.assert_allclose(a.object_boxes, b.object_boxes, atol=1.5)
    assert np.abs(a.canvas.astype(int) - b.canvas).mean() < 6


def test_small_photos_stay_as_they_are(tmp_path):
    root = write_root(tmp_path, with_masks())
    for max_side in (WIDTH, 4000):
        assert scene_of(root, max_side=max_side).photo == scene_of(root).photo


def test_focused_regions_that_are_images_become_smaller_too(tmp_path):
    entry = grown(relations=[["focus/a_0.jpg", ["cat", "near", "dog"]]])
    root = write_root(tmp_path, entry)
    white = Image.new("RGB", (WIDTH, HEIGHT), "white")
    for box in (CAT, DOG):
        white.paste(photo().crop(box), box[:2])
    white.save(root / "focus/a_0.jpg", quality=95)
    assert open_encoded(scene_of(root).relations[0].image).size == (WIDTH, HEIGHT)
    small = scene_of(root, max_side=60)
    assert open_encoded(small.relations[0].image).size == (60, 40)


def test_regions_keep_their_own_shape_and_are_never_enlarged(tmp_path):
    entry = grown(relations=[["focus/a_0.jpg", ["cat", "near", "dog"]]])
    root = write_root(tmp_path, entry)
    x0, y0, x1, y1 = CAT[0], CAT[1], DOG[2], DOG[3]
    photo().crop((x0, y0, x1, y1)).save(root / "focus/a_0.jpg", quality=95)
    image = open_encoded(scene_of(root).relations[0].image)
    small = open_encoded(scene_of(root, max_side=60).relations[0].image)
    assert image.size == (x1 - x0, y1 - y0)
    assert small.size == ((x1 - x0) // 2, (y1 - y0) // 2)


def test_the_flag_is_checked_and_reaches_the_shards(tmp_path):
    root = write_root(tmp_path / "in", with_masks())
    with pytest.raises(ValueError, match="max_side must be at least 1"):
        build(root, tmp_path / "out", max_side=0)
    build(root, tmp_path / "out", max_side=60, progress=False, fractions=(1, 0, 0))
