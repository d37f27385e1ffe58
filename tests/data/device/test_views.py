import colorsys
import dataclasses
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageFilter

from scenarioclip_jax.data import photo
from scenarioclip_jax.data.device import views
from scenarioclip_jax.data.device.color import color_jitter, gaussian_blur
from scenarioclip_jax.data.device.views import ViewSettings
from scenarioclip_jax.data.normalization import CLIP_MEAN, CLIP_STD
from scenarioclip_jax.data.packing.choose import Item, Part
from scenarioclip_jax.data.packing.fill import BatchBuilder
from scenarioclip_jax.data.settings import FITS
from scenarioclip_jax.data.stored import masks
from scenarioclip_jax.data.stored.scene import Scene
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.data.view import photo_view
from tests.data.fake_scenes import SETTINGS, encode, fake_scene, picture, resized

GOLDEN = Path(__file__).parents[2] / "golden"
BLACK = -np.array(CLIP_MEAN) / np.array(CLIP_STD)
PLAIN = ViewSettings(jitter_probability=0, blur_probability=0)
ALWAYS = ViewSettings(jitter_probability=1, blur_probability=1)
GROUP = resized(SETTINGS, batch_size=4, packing_groups=2, objects=3, relations=2, focus_images=True)


def make_batch(scenes, train, settings=GROUP, seeds=(1, 2, 3, 4, 5, 6, 7, 8)):
    """Scenes in the slots of `settings.packing_groups` groups, everything packed."""
    canvas = settings.canvas_size if train else settings.image_size
    builder = BatchBuilder(settings.packing_groups, canvas, settings)
    items = [
        Item(
            scene,
            photo.fit_scene(
                scene,
                settings.image_size,
                settings.fit,
                settings.canvas_size if train else None,
                settings.region_style,
            ),
            seed,
            scene.action,
        )
        for scene, seed in zip(scenes, seeds, strict=False)
    ]
    parts = [
        Part(
            item,
            {
                "object": range(len(item.scene.object_names)),
                "relation": range(len(item.scene.relations)),
            },
            counted=True,
        )
        for item in items
    ]
    for group in range(settings.packing_groups):
        builder.add(group, parts[group * settings.scenes : (group + 1) * settings.scenes])
    return builder.finish(TOKENIZER)[0]


@pytest.fixture(scope="module", autouse=True)
def _tokenizer(tmp_path_factory):
    global TOKENIZER
    TOKENIZER = train_tokenizer(["x"], tmp_path_factory.mktemp("tokenizer"), vocab_size=300)


@partial(jax.jit, static_argnames=("settings", "train"))
def make_views(batch, settings, train):
    return views.views(batch, settings, train=train)


def pixels(view):
    """Normalized back to 0-255, not rounded."""
    return (np.asarray(view, np.float64) * CLIP_STD + CLIP_MEAN) * 255


def four_scenes():
    scenes = [fake_scene(i, objects=3, relations=2) for i in range(4)]
    scenes[1].relations[0] = scenes[1].relations[0]._replace(image=encode(picture(48, 36, 77)))
    mask = np.arange(36)[:, None] * np.ones(48) < 18
    scenes[2].relations[0] = scenes[2].relations[0]._replace(mask=masks.encode(mask))
    return scenes


def golden_scene():
    golden = dict(np.load(GOLDEN / "transforms.npz"))
    scene = Scene(
        id="golden",
        photo=(GOLDEN / "scene.png").read_bytes(),
        width=320,
        height=240,
        action="",
        captions=[],
        object_names=["0", "1", "2"],
        object_boxes=golden["boxes"].astype(np.float32),
        relations=[],
    )
    settings = resized(SETTINGS, batch_size=1, packing_groups=1, objects=3)
    return scene, golden, dataclasses.replace(settings, image_size=224, canvas_size=240)


def test_evaluation_views_meet_the_golden_transforms():
    scene, golden, settings = golden_scene()
    result = make_views(make_batch([scene], False, settings), PLAIN, False)
    assert np.abs(pixels(result["global"][0, 0]) - golden["global"]).mean() < 0.01
    for i in range(3):
        assert np.abs(pixels(result["object"][0, i]) - golden[f"object_{i}"]).mean() < 0.1
    normalized = np.asarray(result["global"][0, 0], np.float64)
    np.testing.assert_allclose(normalized.mean((0, 1)), golden["global_normalised_mean"], atol=1e-4)
    np.testing.assert_allclose(normalized.std((0, 1)), golden["global_normalised_std"], atol=1e-4)


def test_training_center_views_are_the_evaluation_views():
    scene, _, settings = golden_scene()
    train = make_views(make_batch([scene], True, settings), PLAIN, True)
    evaluation = make_views(make_batch([scene], False, settings), PLAIN, False)
    assert np.abs(pixels(train["object"]) - pixels(evaluation["object"])).mean() < 0.2


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (50, 50), (97, 31), (427, 640)])
def test_center_window_agrees_with_the_host(width, height, fit):
    host = photo_view(width, height, 64, fit)
    window = views.center_window(np.array([width, height]), 64, fit)
    low, high = -np.array(host.offset), 64 - np.array(host.offset)
    resized = np.array([width, height]) * host.scale
    np.testing.assert_allclose(window, [*(low / resized), *(high / resized)], atol=1e-6)


def test_squashed_training_views_are_the_evaluation_views():
    scene, _, settings = golden_scene()
    settings = dataclasses.replace(settings, fit="squash")
    plain = dataclasses.replace(PLAIN, fit="squash")
    train = make_views(make_batch([scene], True, settings), plain, True)
    evaluation = make_views(make_batch([scene], False, settings), plain, False)
    assert np.abs(pixels(train["object"]) - pixels(evaluation["object"])).mean() < 0.5


def test_contain_has_black_bars_and_the_whole_photo():
    settings = dataclasses.replace(GROUP, fit="contain")
    scenes = [fake_scene(i, width=80, height=20) for i in range(4)]
    for train in (True, False):
        batch = make_batch(scenes, train, settings)
        result = make_views(batch, dataclasses.replace(PLAIN, fit="contain"), train)
        shown = np.abs(np.asarray(result["relation"][0, 0]) - BLACK).max(-1) > 1e-5
        assert shown.any()
        assert not shown[:12].any()
        assert not shown[20:].any()


@pytest.mark.parametrize("train", [True, False])
def test_black_outside_boxes_and_regions(train):
    """Exactly black, also after jitter that lowers the contrast (as seeds 5 and 10 draw it)."""
    batch = make_batch(four_scenes(), train, seeds=(5, 10, 5, 1))
    result = make_views(batch, ALWAYS, train)
    grid = np.arange(32)
    for g, o in np.ndindex(batch.levels["object"].mask.shape):
        x0, y0, x1, y1 = batch.levels["object"].box[g, o]
        columns, rows = (grid + 1 > x0) & (grid < x1), (grid + 1 > y0) & (grid < y1)
        outside = ~(rows[:, None] & columns)
        picture = np.asarray(result["object"][g, o])
        np.testing.assert_allclose(
            picture[outside], np.broadcast_to(BLACK, picture[outside].shape), rtol=1e-6
        )
        assert (picture[~outside] > BLACK + 1e-3).any()
    regions = np.unpackbits(batch.levels["relation"].region, axis=-1).astype(bool)
    for g, r in np.ndindex(batch.levels["relation"].mask.shape):
        picture = np.asarray(result["relation"][g, r])
        outside = ~regions[g, r]
        np.testing.assert_allclose(
            picture[outside], np.broadcast_to(BLACK, picture[outside].shape), rtol=1e-6
        )
        assert (picture[~outside] > BLACK + 1e-3).any()


def test_views_belong_to_their_scene_and_focus_pictures_are_used():
    batch = make_batch(four_scenes(), False)
    result = make_views(batch, PLAIN, False)
    for g, o in np.ndindex(batch.levels["object"].mask.shape):
        x0, y0, x1, y1 = batch.levels["object"].box[g, o].astype(int)
        inside = np.s_[y0 + 1 : y1, x0 + 1 : x1]
        own = batch.canvas[g, batch.levels["object"].scene[g, o]][inside]
        np.testing.assert_allclose(pixels(result["object"][g, o])[inside], own, atol=0.01)
    relations = batch.levels["relation"]
    assert relations.has_focus[0, 2]
    np.testing.assert_allclose(pixels(result["relation"][0, 2]), relations.focus[0, 2], atol=0.01)
    train = make_views(make_batch(four_scenes(), True), PLAIN, True)
    # Resampled twice from few pixels; a wrong picture differs by tens of gray levels.
    assert np.abs(pixels(train["relation"]) - pixels(result["relation"])).mean() < 2


def test_random_views_are_a_function_of_the_scenes_seed():
    scenes = [fake_scene(0)] * 4
    one = make_views(make_batch(scenes, True, seeds=(1, 2, 1, 3)), ALWAYS, True)
    again = make_views(make_batch(scenes, True, seeds=(1, 2, 1, 3)), ALWAYS, True)
    jax.tree.map(np.testing.assert_array_equal, one, again)
    flat = [np.asarray(level).reshape(4, -1, 32, 32, 3) for level in one.values()]
    for level in flat:
        np.testing.assert_array_equal(level[0], level[2])
        assert np.abs(level[0] - level[1]).max() > 0.01
        assert np.abs(level[0] - level[3]).max() > 0.01
    evaluation = make_views(make_batch(scenes, False), ALWAYS, False)
    np.testing.assert_array_equal(evaluation["global"][0, 0], evaluation["global"][1, 1])


def test_views_do_not_depend_on_the_grouping():
    scenes = four_scenes()
    groups = make_views(make_batch(scenes, True), ALWAYS, True)
    single = make_views(
        make_batch(scenes, True, dataclasses.replace(GROUP, packing_groups=1)), ALWAYS, True
    )
    for a, b in zip(groups.values(), single.values(), strict=True):
        np.testing.assert_allclose(a.reshape(b.shape), b, atol=1e-5)


def test_probabilities_and_ranges_of_the_draws():
    settings = ViewSettings()
    seeds = jnp.arange(4000, dtype=jnp.uint32)
    draws = jax.jit(jax.vmap(lambda seed: views.draw(seed, jnp.array([600, 400]), settings)))(seeds)
    assert abs(draws.jittered.mean() - 0.2) < 0.03
    assert abs((draws.blur[:, 4] < 1).mean() - 0.1) < 0.03
    np.testing.assert_allclose(draws.blur.sum(-1), 1, rtol=1e-5)
    assert np.abs(draws.jitter.mean(0)).max() < 0.05
    x0, y0, x1, y1 = np.asarray(draws.window).T
    assert (np.asarray(draws.window) >= -1e-6).all()
    assert (np.asarray(draws.window) <= 1 + 1e-6).all()
    area, aspect = (x1 - x0) * (y1 - y0), 1.5 * (x1 - x0) / (y1 - y0)
    assert 0.79 < area.min() < 0.82
    assert area.max() < 1
    assert aspect.max() < 4 / 3 + 1e-3
    assert 1.5 * 0.8 - 1e-3 < aspect.min() < 1.25
    assert x0.std() > 0.02


def test_crop_of_a_panorama_falls_back_to_the_middle():
    """No window of 80% of a 4:1 photo has an allowed aspect: full height, 4/3 of it wide."""
    window = views.random_window(jax.random.key(0), jnp.float32(4.0), ViewSettings())
    np.testing.assert_allclose(window, [1 / 3, 0, 2 / 3, 1], atol=1e-6)
    window = views.random_window(jax.random.key(0), jnp.float32(0.25), ViewSettings())
    np.testing.assert_allclose(window, [0, 1 / 3, 1, 2 / 3], atol=1e-6)


@pytest.mark.slow
def test_full_crop_is_a_plain_resize():
    image = picture(90, 60, 5)
    canvas = np.asarray(image.resize((72, 72), Image.Resampling.BICUBIC))
    expected = np.asarray(image.resize((48, 48), Image.Resampling.BICUBIC), float)
    whole = jnp.array([0.0, 0, 1, 1])
    full = views.crop_and_resize(jnp.asarray(canvas / 255), whole, jnp.array([72, 72]), 48)
    assert np.abs(np.asarray(full) * 255 - expected).mean() < 0.5


@pytest.mark.parametrize("extent", [(60, 60), (60, 45), (40, 60), (33, 21)])
def test_crop_and_resize_is_pillows_bicubic(extent):
    """Of the photo, wherever on the canvas it ends."""
    width, height = extent
    image = picture(width, height, 6)
    canvas = photo.lay_out(image, extent, 60)
    for shares in ((0.1, 0.3, 0.9, 0.9), (0.05, 0.1, 0.35, 0.3), (0, 0, 1, 1), (0.6, 0.7, 1, 1)):
        box = np.array(shares) * (extent * 2)
        expected = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC, box=box), float)
        window = jnp.array(shares, float)
        result = views.crop_and_resize(jnp.asarray(canvas / 255.0), window, jnp.array(extent), 32)
        difference = np.abs(np.asarray(result) * 255 - expected)
        # At the photo's own edge Pillow weighs what there is, here the last pixel counts for what is beyond.
        assert difference[:-1, :-1].max() < 1.5
        assert difference.max() < 4


def test_beyond_the_photo_is_black():
    """On the side where the canvas goes on, too."""
    canvas = jnp.full((60, 60, 3), 0.5)
    window, extent = jnp.array([-0.5, -0.5, 1.5, 1.5]), jnp.array([40, 20])
    result = np.array(views.crop_and_resize(canvas, window, extent, 32))
    np.testing.assert_allclose(result[8:24, 8:24], 0.5, atol=1e-6)
    result[8:24, 8:24] = 0
    assert not result.any()


def jittered(picture, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0):
    return np.asarray(
        color_jitter(jnp.asarray(picture), jnp.array([brightness, contrast, saturation, hue]))
    )


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_color_jitter_compiled_as_a_part_of_a_batch(groups):
    """Other sizes are compiled otherwise: which channel is largest must not depend on how it is rounded."""
    rng = np.random.default_rng(0)
    pictures = rng.random((8, 2, 8, 8, 3), np.float32)
    factors = np.concatenate(
        [rng.uniform(0.8, 1.2, (8, 2, 3)), rng.uniform(-0.05, 0.05, (8, 2, 1))], axis=-1
    ).astype(np.float32)
    apply = jax.jit(color_jitter)
    found = [
        np.asarray(apply(pictures[i : i + groups], factors[i : i + groups]))
        for i in range(0, 8, groups)
    ]
    by_itself = np.stack(
        [
            [jittered(p, *f) for p, f in zip(row, of_row, strict=True)]
            for row, of_row in zip(pictures, factors, strict=True)
        ]
    )
    np.testing.assert_allclose(np.concatenate(found), by_itself, atol=1e-5)


def test_color_jitter_formulae():
    rgb = np.random.default_rng(0).random((5, 7, 3)).astype(np.float32)
    gray = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(jittered(rgb), rgb, atol=1e-5)
    np.testing.assert_allclose(jittered(rgb, brightness=1.4), np.clip(rgb * 1.4, 0, 1), atol=1e-5)
    expected = np.clip(0.7 * rgb + 0.3 * gray.mean(), 0, 1)
    np.testing.assert_allclose(jittered(rgb, contrast=0.7), expected, atol=1e-5)
    expected = np.clip(1.3 * rgb - 0.3 * gray[..., None], 0, 1)
    np.testing.assert_allclose(jittered(rgb, saturation=1.3), expected, atol=1e-5)
    for shift in (0.05, -0.2, 0.5):
        hsv = [colorsys.rgb_to_hsv(*map(float, p)) for p in rgb.reshape(-1, 3)]
        expected = [colorsys.hsv_to_rgb((h + shift) % 1, s, v) for h, s, v in hsv]
        np.testing.assert_allclose(jittered(rgb, hue=shift).reshape(-1, 3), expected, atol=1e-5)
    np.testing.assert_array_equal(jittered(np.zeros((4, 4, 3), np.float32), 1.2, 0.8, 1.2, 0.1), 0)


def test_gaussian_blur():
    impulse = np.zeros((1, 21, 21, 3), np.float32)
    impulse[0, 10, 10] = 1
    offset = np.arange(-4, 5)
    kernel = np.exp(-0.5 * (offset / 1.2) ** 2)
    kernel /= kernel.sum()
    result = gaussian_blur(jnp.asarray(impulse), jnp.asarray(kernel[None], jnp.float32))
    np.testing.assert_allclose(result[0, 6:15, 6:15, 0], np.outer(kernel, kernel), atol=1e-6)
    image = picture(40, 40, 8)
    kernels = jnp.asarray(np.stack([kernel, offset == 0]), jnp.float32)
    two = jnp.asarray(np.stack([image, image]) / 255.0, jnp.float32)
    blurred = np.asarray(gaussian_blur(two, kernels)) * 255
    np.testing.assert_allclose(blurred[1], np.asarray(image), atol=1e-3)
    reference = np.asarray(image.filter(ImageFilter.GaussianBlur(1.2)), float)
    assert np.abs(blurred[0] - reference)[4:-4, 4:-4].mean() < 1
    constant = np.asarray(gaussian_blur(jnp.ones((1, 9, 9, 3)), kernels[:1]))
    np.testing.assert_allclose(constant, 1, rtol=1e-5)  # the border is reflected, not black


def test_training_canvases_are_refused_in_evaluation():
    with pytest.raises(ValueError, match=r"canvas 40, view 32.*evaluation_batches"):
        make_views(make_batch(four_scenes(), True), PLAIN, False)


def test_empty_slots_give_finite_views_of_the_asked_dtype():
    batch = make_batch([fake_scene(0, objects=0, relations=0)], True)
    result = make_views(batch, dataclasses.replace(ALWAYS, dtype=jnp.bfloat16), True)
    for level in result.values():
        assert level.dtype == jnp.bfloat16
        assert np.isfinite(np.asarray(level, np.float32)).all()


def test_sharded_groups_need_no_communication():
    """Compiled for four devices that hold a group each; in a process of its own, to have four."""
    code = """
import dataclasses, jax, numpy as np
from scenarioclip_jax.data.packing.fill import empty_batch
from scenarioclip_jax.data.device.views import ViewSettings, views
from tests.data.fake_scenes import SETTINGS
batch = empty_batch(4, 40, dataclasses.replace(SETTINGS, focus_images=True))
mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
function = jax.jit(lambda b: views(b, ViewSettings(), train=True), in_shardings=sharding,
                   out_shardings=sharding)
print(function.lower(batch).compile().as_text())
"""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    root = Path(__file__).parents[3]
    run = [sys.executable, "-c", code]
    out = subprocess.run(run, capture_output=True, text=True, check=True, cwd=root, env=environment)
    assert "ENTRY" in out.stdout
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert collective not in out.stdout


@pytest.mark.parametrize("fit", FITS)
def test_the_devices_center_window_is_the_hosts_to_the_pixel(fit):
    """For photos of all sizes, those where a side comes out at a whole number or a half among them."""
    rng = np.random.default_rng(0)
    sizes = [rng.integers(40, 6000, (3000, 2)), rng.integers(200, 700, (3000, 2))]
    sizes += [[(448, 225), (225, 448), (224, 224), (640, 427), (3, 2), (500, 375), (1, 1)]]
    sizes = np.concatenate(sizes).astype(np.int32)
    window = np.asarray(views.center_window(sizes, 224, fit))
    for (width, height), found in zip(sizes.tolist(), window, strict=True):
        host = photo_view(width, height, 224, fit)
        resized = np.array([width, height]) * host.scale
        start = -np.array(host.offset)
        expected = np.concatenate([start, start + 224])
        np.testing.assert_allclose(
            found * np.tile(resized, 2), expected, atol=0.02, err_msg=f"{width} x {height}"
        )
