"""Focused regions of every style on the device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scenarioclip_jax.data import region_styles
from scenarioclip_jax.data.device import views
from scenarioclip_jax.data.packing.choose import shown_patches
from scenarioclip_jax.data.photo import fit_scene, fit_shapes
from scenarioclip_jax.data.stored import masks
from scenarioclip_jax.data.tokens import train_tokenizer
from tests.data.device import test_views
from tests.data.device.test_views import PLAIN, make_batch, make_views, pixels
from tests.data.fake_scenes import SETTINGS, encode, fake_scene, picture, resized
from tests.data.test_region_styles import published

STYLES = region_styles.STYLES
SIDE = 48  # of photo and view, so that nothing is resampled


@pytest.fixture(scope="module", autouse=True)
def _tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    test_views.TOKENIZER = train_tokenizer(["x"], folder, vocab_size=300)


def disk(x: float, y: float, radius: float, side: int = SIDE) -> np.ndarray:
    across = np.arange(side) + 0.5
    return (across - x) ** 2 + (across[:, None] - y) ** 2 < radius**2


def left_half() -> np.ndarray:
    """Half a disk, whose center of mass isn't that of its box."""
    return disk(34, 30, 10) & (np.arange(SIDE) < 34)


def scene_with_masks(image: bytes = b"", second: bool = True):
    """A scene whose relation has two round participants; with `second` False only the first has a mask."""
    scene = fake_scene(1, SIDE, SIDE, objects=2, relations=1, form="PNG")
    boxes = np.array([[6, 10, 20, 24], [24, 20, 44, 40]], np.float32)
    round_ = masks.encode(disk(13, 17, 7)), masks.encode(left_half()) if second else b""
    relation = scene.relations[0]._replace(boxes=boxes, pair=(0, 1), image=image)
    return scene._replace(object_boxes=boxes, object_masks=list(round_), relations=[relation])


def settings_of(style: str, **others):
    one = resized(SETTINGS, batch_size=1, packing_groups=1, objects=2, relations=1, **others)
    return dataclasses.replace(one, image_size=SIDE, canvas_size=SIDE, region_style=style)


def relation_view(scene, style: str, train: bool = False, **others) -> np.ndarray:
    """The view of a scene's only relation, in 0-255."""
    batch = make_batch([scene], train, settings_of(style, **others))
    how = dataclasses.replace(PLAIN, region_style=style, fit=others.get("fit", "centre_crop"))
    return pixels(make_views(batch, how, train)["relation"][0, 0])


@pytest.mark.parametrize("train", [True, False])
def test_black_styles_show_the_photo_in_masks_or_boxes(train):
    scene = scene_with_masks()
    photo = np.asarray(picture(SIDE, SIDE, 1), float)
    round_ = (disk(13, 17, 7) | left_half())[..., None]
    square = np.zeros((SIDE, SIDE, 1), bool)
    square[10:24, 6:20] = square[20:40, 24:44] = True
    for style, shown in (("masks", round_), ("boxes", square), ("stored", square)):
        found = relation_view(scene, style, train)
        np.testing.assert_allclose(found, np.where(shown, photo, 0), atol=0.6, err_msg=style)
    half = relation_view(scene_with_masks(second=False), "masks", train)
    mixed = disk(13, 17, 7)[..., None] | (square & (np.arange(SIDE) >= 24)[:, None])
    np.testing.assert_allclose(half, np.where(mixed, photo, 0), atol=0.6)


@pytest.mark.parametrize("train", [True, False])
def test_published_regions_follow_the_masks(train):
    photo = np.asarray(picture(SIDE, SIDE, 1), float) / 255
    expected = published(photo, disk(13, 17, 7), left_half()) * 255
    found = relation_view(scene_with_masks(), "published", train)
    cut = np.s_[8:-8, 8:-8]
    np.testing.assert_allclose(found[cut], expected[cut], atol=0.6)
    by_box = relation_view(scene_with_masks(second=False), "published", train)
    assert np.abs(found - by_box).max() > 10  # the corners of its box


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("fit", ["centre_crop", "contain", "squash"])
def test_training_and_evaluation_make_the_same_regions(style, fit):
    scene = fake_scene(3, 64, 48, objects=2, relations=1, form="PNG")
    masks_ = [masks.encode(disk(20, 20, 9, 64)[:48]), masks.encode(disk(40, 24, 12, 64)[:48])]
    scene = scene._replace(
        object_masks=masks_, relations=[scene.relations[0]._replace(pair=(0, 1))]
    )
    train, evaluation = (relation_view(scene, style, t, fit=fit) for t in (True, False))
    assert np.abs(train - evaluation).mean() < 0.3
    if fit == "contain":
        assert np.abs(evaluation[:3]).max() < 1  # black bars


@pytest.mark.parametrize("style", STYLES)
def test_images_of_their_own_are_shown_in_the_stored_style_only(style):
    own = picture(SIDE, SIDE, 77)
    scene = scene_with_masks(image=encode(own))
    shows_own = np.abs(relation_view(scene, style, focus_images=True) - np.asarray(own)).max() < 1
    assert shows_own == (style == "stored")
    if style != "stored":
        damaged = scene_with_masks(image=b"no picture")  # never decoded
        assert fit_scene(damaged, SIDE, "centre_crop", None, style).focus == [None]
        assert make_batch([damaged], True, settings_of(style)).levels["relation"].focus is None


@pytest.mark.parametrize("style", STYLES)
def test_packing_leaves_out_black_patches_only(style):
    scene = scene_with_masks()
    settings = settings_of(style, patch_size=8, patch_row_views=1)
    shapes = fit_shapes(scene, SIDE, "centre_crop", style)
    (shown,) = shown_patches(shapes, "relation", settings)
    view = relation_view(scene, style).reshape(6, 8, 6, 8, 3)
    lit = 1 + np.flatnonzero((np.abs(view) > 0.5).any((1, 3, 4)))
    np.testing.assert_array_equal(shown, [0, *lit])
    assert (len(shown) == 37) == (style in region_styles.WITHOUT_BLACK)


def test_numpy_and_jax_agree():
    draw = np.random.default_rng(0)
    view = draw.random((2, 24, 24, 3), dtype=np.float32)
    window = np.array([[0.1, 0, 0.9, 1], [0, -0.2, 1, 1.2]], np.float32)
    size = np.array([[300, 200], [100, 70]], np.float32)
    centers = draw.uniform(0, 24, (2, 4)).astype(np.float32)
    for style in region_styles.WITHOUT_BLACK:
        host = region_styles.surroundings(np, view, window, size, style)
        with jax.default_matmul_precision("highest"):
            device = region_styles.surroundings(jnp, view, window, size, style)
        np.testing.assert_allclose(host, device, atol=1e-5)
    host, device = (region_styles.dimming(xp, centers, window, size, 24) for xp in (np, jnp))
    np.testing.assert_allclose(host, device, atol=1e-5)


def test_view_settings_refuse_another_style():
    with pytest.raises(ValueError, match=r"views\.region_style='blur': must be one of stored"):
        views.ViewSettings(region_style="blur")
