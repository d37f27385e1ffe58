"""The formulas of focused regions, against SciPy and sums written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from scenarioclip_jax.data import region_styles
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored import masks
from scenarioclip_jax.data.view import map_boxes, photo_view, show_region, union_region
from tests.data.fake_scenes import picture

WHOLE = np.array([0, 0, 1, 1], np.float32)


def dimmed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Brightness at the distances a and b, in photo pixels, from the two centers."""
    near_a, near_b = np.exp(-(a**2) / 2 / 100**2), np.exp(-(b**2) / 2 / 100**2)
    return (near_a * b + near_b * a) / (a + b)


def published(photo: np.ndarray, mask_a: np.ndarray, mask_b: np.ndarray) -> np.ndarray:
    """A published region of a photo in 0-1, pixel by pixel."""
    around = ndimage.gaussian_filter(photo, (2, 2, 0), truncate=8)
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]]
    distances = []
    for mask in (mask_a, mask_b):
        cy, cx = ndimage.center_of_mass(mask)
        distances.append(np.hypot(y - cy, x - cx))
    bright = dimmed(*distances)[..., None]
    return np.where((mask_a | mask_b)[..., None], photo * bright, around)


@given(
    arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))),
)
def test_center_of_mass_is_the_mean_position(mask):
    found = masks.center_of_mass(masks.encode(mask), mask.shape[::-1])
    if not mask.any():
        assert found is None
        return
    rows, columns = np.nonzero(mask)
    np.testing.assert_allclose(found, [columns.mean() + 0.5, rows.mean() + 0.5])


def test_center_of_mass_of_a_photo_of_100_megapixels_does_not_overflow():
    mask = np.zeros((10_000, 10_000), bool)
    mask[9_000:, 5_000:] = True
    assert masks.center_of_mass(masks.encode(mask), (10_000, 10_000)) == (7_500, 9_500)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_published_blur_is_two_photo_pixels_at_any_size(scale):
    """Blurred and then made smaller, or made smaller and then blurred less: nearly the same."""
    photo = np.asarray(picture(64 * scale, 64 * scale, 3), np.float32) / 255
    expected = ndimage.gaussian_filter(photo, (2, 2, 0))
    smaller, expected = (x.reshape(64, scale, 64, scale, 3).mean((1, 3)) for x in (photo, expected))
    size = np.array([64 * scale] * 2, np.float32)
    found = region_styles.surroundings(np, smaller, WHOLE, size, "published")
    inside = np.s_[6:-6, 6:-6]
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-3)
    assert np.abs(smaller - expected)[inside].max() > 4e-3  # the blur can be seen


def test_squashed_photos_are_blurred_by_each_axis_scale():
    photo = np.zeros((32, 32, 3), np.float32)
    photo[16, 16] = 1
    size = np.array([32, 64], np.float32)  # of a photo twice as high
    found = region_styles.surroundings(np, photo, WHOLE, size, "published")[..., 0]
    across, down = ndimage.gaussian_filter1d(np.eye(1, 32, 16)[0], 2), found[:, 16] / found[16, 16]
    np.testing.assert_allclose(found[16] / found[16, 16], across / across[16], atol=1e-3)
    np.testing.assert_allclose(down[17], np.exp(-0.5), atol=1e-3)  # one pixel is one sigma


def test_blur_keeps_plain_photos_and_black_bars():
    view = np.zeros((32, 32, 3), np.float32)
    view[8:24] = 0.5  # a photo twice as wide as high, `contain`
    window = np.array([0, -0.5, 1, 1.5], np.float32)
    for style in region_styles.WITHOUT_BLACK:
        found = region_styles.surroundings(
            np, view, window, np.array([320, 160], np.float32), style
        )
        np.testing.assert_allclose(found, view, atol=1e-6)


def test_blurred_loses_what_published_keeps():
    view = np.asarray(picture(64, 64, 1), np.float32) / 255
    size = np.array([64, 64], np.float32)
    strong, weak = (
        region_styles.surroundings(np, view, WHOLE, size, style)
        for style in ("blurred", "published")
    )
    np.testing.assert_allclose(
        strong[16:48, 16:48], ndimage.gaussian_filter(view, (3.2, 3.2, 0))[16:48, 16:48], atol=2e-3
    )
    assert strong.std() < 0.9 * weak.std()


def test_dimming_is_written_out_by_hand():
    """Centers 200 photo pixels apart, in a view of half the photo's size."""
    size = np.array([400, 400], np.float32)
    centers = np.array([50.5, 100.5, 150.5, 100.5], np.float32)
    found = region_styles.dimming(np, centers, WHOLE, size, 200)
    assert found.shape == (200, 200)
    np.testing.assert_allclose(found[100, [50, 150]], 1)  # each participant's own center
    np.testing.assert_allclose(
        found[100, 100], np.exp(-0.5), rtol=1e-5
    )  # 100 photo pixels from both
    a, b = 100.0, 300.0
    np.testing.assert_allclose(found[100, 0], dimmed(np.array(a), np.array(b)), rtol=1e-5)
    same = region_styles.dimming(np, centers[[0, 1, 0, 1]], WHOLE, size, 200)
    assert same[100, 50] == 1  # not NaN
    np.testing.assert_allclose(same[100, 100], np.exp(-0.5), rtol=1e-5)


def test_the_host_makes_published_regions_of_boxes():
    photo = picture(96, 96, 2)
    boxes = np.array([[10, 12, 40, 60], [50, 30, 90, 80]], float)
    view = photo_view(96, 96, 96, "centre_crop")
    region = union_region(map_boxes(boxes, view), 96)
    canvas = np.asarray(photo)
    found = show_region(canvas, region, boxes, view, photo.size, "published")
    inside = [np.zeros((96, 96), bool) for _ in boxes]
    for mask, (x0, y0, x1, y1) in zip(inside, boxes.astype(int), strict=True):
        mask[y0:y1, x0:x1] = True
    expected = published(canvas / 255, *inside) * 255
    cut = np.s_[12:-12, 12:-12]  # beyond the border, SciPy mirrors
    np.testing.assert_allclose(found[cut], expected[cut], atol=1.0)
    black = show_region(canvas, region, boxes, view, photo.size, "boxes")
    np.testing.assert_array_equal(black, np.where(region[..., None], canvas, 0))


def test_another_style_is_refused():
    with pytest.raises(
        ValueError, match=r"data\.region_style='blur': must be one of stored, boxes"
    ):
        DataSettings(region_style="blur")
