import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax.data import photo
from scenarioclip_jax.data import view as view_of_photo
from scenarioclip_jax.data.settings import FITS
from scenarioclip_jax.data.stored import masks
from tests.data.fake_scenes import encode, fake_scene, picture

GOLDEN = Path(__file__).parents[1] / "golden"


def difference(a, b):
    return np.abs(np.asarray(a, float) - np.asarray(b, float)).mean()


def test_view_is_the_references_evaluation_transform():
    image = Image.open(GOLDEN / "scene.png").convert("RGB")
    golden = np.load(GOLDEN / "transforms.npz")["global"]
    canvas = view_of_photo.view_canvas(
        image, view_of_photo.photo_view(*image.size, 224, "centre_crop")
    )
    assert difference(canvas, golden) < 0.01
    assert np.abs(canvas.astype(int) - golden).max() <= 2


SIZES = [(320, 240), (240, 320), (50, 50), (31, 97), (640, 427), (1000, 20), (7, 300)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_centre_crop_equals_resize_then_crop(width, height):
    image = picture(width, height)
    short = min(width, height)
    size = (int(64 * width / short), int(64 * height / short))
    left, top = round((size[0] - 64) / 2), round((size[1] - 64) / 2)
    expected = image.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + 64, top + 64))
    canvas = view_of_photo.view_canvas(
        image, view_of_photo.photo_view(width, height, 64, "centre_crop")
    )
    assert canvas.shape == (64, 64, 3)
    assert np.abs(canvas.astype(int) - np.asarray(expected)).max() <= 2


def test_squash_is_a_resize_of_the_whole_photo():
    image = picture(97, 31)
    canvas = view_of_photo.view_canvas(image, view_of_photo.photo_view(97, 31, 64, "squash"))
    np.testing.assert_array_equal(canvas, image.resize((64, 64), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_contain_shows_the_whole_photo(width, height):
    image = Image.new("RGB", (width, height), (200, 100, 50))
    view = view_of_photo.photo_view(width, height, 64, "contain")
    lit = view_of_photo.view_canvas(image, view).any(-1)
    box = view_of_photo.map_boxes(np.array([[0, 0, width, height]]), view)
    assert lit.sum() == view_of_photo.box_area(box)[0]
    assert lit.any(0).sum() == 64 or lit.any(1).sum() == 64
    rows = np.flatnonzero(lit.any(1))
    assert abs(rows[0] - (63 - rows[-1])) <= 1  # in the middle


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("width", "height"), [(4000, 1), (1, 4000), (1, 1), (12000, 30)])
def test_extreme_photos_keep_their_shape(width, height, fit):
    image = Image.new("RGB", (width, height), (10, 200, 30))
    canvas = view_of_photo.view_canvas(image, view_of_photo.photo_view(width, height, 32, fit))
    assert canvas.shape == (32, 32, 3)
    assert canvas.max() == 200


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("width", "height"), SIZES[:5])
def test_boxes_follow_the_pixels(width, height, fit):
    """A white rectangle in a black photo is found where its box is mapped to."""
    pixels = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = (round(v) for v in (width * 0.3, height * 0.4, width * 0.7, height * 0.6))
    pixels[y0:y1, x0:x1] = 255
    view = view_of_photo.photo_view(width, height, 64, fit)
    canvas = view_of_photo.view_canvas(Image.fromarray(pixels), view)[..., 0] / 255
    (box,) = view_of_photo.map_boxes(np.array([[x0, y0, x1, y1]]), view)
    weight = canvas / canvas.sum()
    center = (weight.sum(0) @ (np.arange(64) + 0.5), weight.sum(1) @ (np.arange(64) + 0.5))
    np.testing.assert_allclose(center, [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], atol=0.15)
    np.testing.assert_allclose(canvas.sum(), view_of_photo.box_area(box[None])[0], rtol=0.05)


def test_boxes_outside_the_crop_are_empty_and_contain_keeps_them():
    box = np.array([[0, 0, 30, 100]], np.float32)  # left edge of a 3:1 photo
    cropped = view_of_photo.map_boxes(box, view_of_photo.photo_view(300, 100, 64, "centre_crop"))
    contained = view_of_photo.map_boxes(box, view_of_photo.photo_view(300, 100, 64, "contain"))
    assert view_of_photo.box_area(cropped)[0] == 0
    assert view_of_photo.box_area(contained)[0] == pytest.approx(
        30 * 100 * (64 / 300) ** 2, rel=0.05
    )


def test_thin_boxes_keep_a_pixel():
    view = view_of_photo.photo_view(64, 64, 64, "centre_crop")
    (box,) = view_of_photo.map_boxes(np.array([[10.2, 20.0, 10.9, 30.0]]), view)
    np.testing.assert_array_equal(box, [10, 20, 11, 30])


def test_scaled_decoding_only_where_enough_pixels_are_left():
    opened = lambda: Image.open(io.BytesIO(encode(picture(640, 480), "JPEG")))  # noqa: E731
    assert photo.rgb(opened(), at_least=240).size == (320, 240)
    assert photo.rgb(opened(), at_least=241).size == (640, 480)
    assert photo.rgb(opened()).size == (640, 480)
    full = photo.lay_out(photo.rgb(opened()), (200, 200), 200)
    scaled = photo.lay_out(photo.rgb(opened(), at_least=200), (200, 200), 200)
    assert difference(full, scaled) < 1


@pytest.mark.parametrize(
    ("width", "height", "extent"),
    [(640, 480, (320, 240)), (640, 425, (400, 400)), (90, 500, (90, 400)), (30, 20, (30, 20))],
)
def test_a_canvas_holds_the_photo_as_it_was_decoded(width, height, extent):
    """A side is resampled only where it is longer than the canvas."""
    scene = fake_scene(1, width, height)
    fitted = photo.fit_scene(scene, 224, "centre_crop", 400)
    assert fitted.extent == extent
    assert fitted.canvas.shape == (400, 400, 3)
    image = photo.rgb(Image.open(io.BytesIO(scene.photo)), at_least=224)
    shown = fitted.canvas[: extent[1], : extent[0]]
    assert difference(shown, image.resize(extent, Image.Resampling.BICUBIC)) == 0
    beside = fitted.canvas[: extent[1], extent[0] :]
    np.testing.assert_array_equal(beside, np.broadcast_to(shown[:, -1:], beside.shape))
    below = fitted.canvas[extent[1] :]
    np.testing.assert_array_equal(below, np.broadcast_to(fitted.canvas[extent[1] - 1], below.shape))


def test_mask_and_union_regions_agree():
    boxes = np.array([[5, 5, 30, 20], [25, 15, 45, 33]], np.float32)
    mask = np.zeros((36, 48), bool)
    for x0, y0, x1, y1 in boxes.astype(int):
        mask[y0:y1, x0:x1] = True
    view = view_of_photo.photo_view(48, 36, 64, "contain")
    by_mask = photo.mask_region(masks.encode(mask), 48, 36, view)
    by_boxes = view_of_photo.union_region(view_of_photo.map_boxes(boxes, view), 64)
    assert by_boxes.sum() > 500
    assert (by_mask != by_boxes).sum() < 0.03 * by_boxes.sum()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("width", "height"), [(640, 480), (31, 47), (224, 224), (1000, 90)])
def test_a_mask_is_sampled_as_pillow_does(width, height, fit):
    """Its nearest-neighbor resize of the part that the view keeps."""
    mask = np.asarray(picture(width, height).convert("L")) > 128
    view = view_of_photo.photo_view(width, height, 224, fit)
    found = photo.mask_region(masks.encode(mask), width, height, view)
    left, right, x0, x1 = view_of_photo.span(width, view, 0)
    top, bottom, y0, y1 = view_of_photo.span(height, view, 1)
    kept = Image.fromarray(mask).resize(
        (right - left, bottom - top), Image.Resampling.NEAREST, box=(x0, y0, x1, y1)
    )
    expected = np.zeros((224, 224), bool)
    expected[top:bottom, left:right] = np.asarray(kept)
    assert (found != expected).mean() < 1e-3
    assert found.any()


def test_fit_scene_shapes_and_areas():
    scene = fake_scene(3)
    image = encode(picture(48, 36, 9))
    scene.relations[1] = scene.relations[1]._replace(image=image)
    train = photo.fit_scene(scene, 32, "centre_crop", 40)
    evaluation = photo.fit_scene(scene, 32, "centre_crop", None)
    assert train.canvas.shape == (40, 40, 3)
    assert evaluation.canvas.shape == (32, 32, 3)
    assert train.regions.shape == (2, 32, 4)
    assert train.regions.dtype == np.uint8
    assert train.focus[0] is None
    assert train.focus[1].shape == (40, 40, 3)
    np.testing.assert_array_equal(train.object_area, view_of_photo.box_area(train.object_boxes))
    assert np.unpackbits(train.regions[0]).sum() == train.region_area[0] > 0
    assert train.region_area[1] == 32 * 32
    nothing = photo.fit_scene(fake_scene(0, objects=0, relations=0), 32, "contain", 40)
    assert nothing.object_boxes.shape == (0, 4)
    assert nothing.regions.shape == (0, 32, 4)


def test_damaged_and_contradictory_pictures_raise():
    scene = fake_scene(1)
    with pytest.raises(OSError, match="truncated"):
        photo.fit_scene(scene._replace(photo=scene.photo[:-200]), 32, "centre_crop", None)
    with pytest.raises(OSError, match="cannot identify"):
        photo.fit_scene(scene._replace(photo=b"no picture"), 32, "centre_crop", None)
    with pytest.raises(ValueError, match="recorded as"):
        photo.fit_scene(scene._replace(width=99), 32, "centre_crop", None)
