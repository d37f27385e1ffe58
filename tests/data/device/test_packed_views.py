"""Patches that are made for packed rows are those of the whole views."""

import dataclasses

import jax
import numpy as np
import pytest

from scenarioclip_jax.data.batch import Rows
from scenarioclip_jax.data.device import views
from scenarioclip_jax.data.device.packed_views import packed_patches
from scenarioclip_jax.data.region_styles import STYLES
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.patches import cut_patches
from tests.data.device import test_views
from tests.data.fake_scenes import fake_scene, resized

ALWAYS = views.ViewSettings(jitter_probability=1, blur_probability=1)


@pytest.fixture(scope="module", autouse=True)
def _tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    test_views.TOKENIZER = train_tokenizer(["x"], folder, vocab_size=300)


def with_rows(batch, size: int):
    """The batch with rows that hold every patch of every view, in a drawn order, and some empty tokens."""
    draw, side = np.random.default_rng(0), views.view_size(batch)
    levels = dict(batch.levels)
    for level in ("object", "relation"):
        groups, slots = levels[level].scene.shape
        count = (side // size) ** 2
        sequence, position = (
            x.reshape(-1) for x in np.meshgrid(np.arange(slots), np.arange(count + 1))
        )
        order = np.stack([draw.permutation(len(sequence)) for _ in range(groups)])
        sequence, position = sequence[order].astype(np.int32), position[order].astype(np.int32)
        sequence[:, ::7] = -1
        rows = Rows(position[:, None], sequence[:, None], np.zeros((groups, slots), np.int32))
        levels[level] = levels[level]._replace(patch_rows=rows)
    return batch._replace(levels=levels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("focus", "style"), [(True, "stored"), *((False, style) for style in STYLES)]
)
@pytest.mark.parametrize("settings", [ALWAYS, test_views.PLAIN], ids=["jitter", "plain"])
def test_patches_are_those_of_the_whole_views(settings, focus, style):
    """Also of boxes that cover pixels in part, and of regions that are images of their own."""
    size = 8
    settings = dataclasses.replace(settings, region_style=style)
    group = resized(test_views.GROUP, focus_images=focus, region_style=style)
    scenes = test_views.four_scenes()
    if not focus:
        scenes[1] = fake_scene(1, objects=3, relations=2)
    batch = with_rows(test_views.make_batch(scenes, True, group), size)

    @jax.jit
    def both(batch):
        center, draws = views.scene_views(batch, settings), views.draw_scenes(batch, settings)
        patches = {
            level: packed_patches(batch, level, center, draws, settings, size)
            for level in ("object", "relation")
        }
        return views.views(batch, settings, train=True), patches

    whole, packed = jax.device_get(both(batch))
    assert (batch.levels["relation"].focus is not None) == focus
    for level, patches in packed.items():
        rows = batch.levels[level].patch_rows
        of_views = cut_patches(whole[level], size)
        at = np.nonzero((rows.sequence >= 0) & (rows.position > 0))
        expected = of_views[at[0], rows.sequence[at], rows.position[at] - 1]
        np.testing.assert_allclose(patches[at], expected.reshape(len(at[0]), -1), atol=3e-6)
        filled = batch.levels[level].mask
        assert np.ptp(of_views[filled]) > 1  # something shows
