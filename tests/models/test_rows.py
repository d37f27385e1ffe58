"""Packed rows change what is computed, never what comes out."""

import jax
import numpy as np
import pytest
from flax import nnx

from scenarioclip_jax.data.device.views import ViewSettings, views
from scenarioclip_jax.data.packing.choose import Item, pack_training_group
from scenarioclip_jax.data.packing.fill import BatchBuilder, text_tokens
from scenarioclip_jax.data.photo import fit_scene
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.rows import Stream, join, separate, shows_something
from scenarioclip_jax.models.scenario_clip import LEVELS, ScenarioCLIP
from scenarioclip_jax.train.step import level_inputs
from tests.data.fake_scenes import SETTINGS, fake_scene, resized

PATCH = 8
PLAIN = resized(SETTINGS, batch_size=8, packing_groups=2, objects=3, relations=2)
PACKED = resized(
    PLAIN,
    text_row_tokens=24,
    tokens=(12, 30, 40),
    patch_size=PATCH,
    patch_row_views=2,
    patches=(30, 20),
)
VIEWS = ViewSettings()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = ["action thing one on other 0 1 2 3 4 5 6 7 8 9"]
    return train_tokenizer(texts, tmp_path_factory.mktemp("tokenizer"), vocab_size=300)


def make_batch(settings, tokenizer):
    builder = BatchBuilder(settings.packing_groups, settings.canvas_size, settings)
    for group in range(settings.packing_groups):
        # Two scenes of each four are told the same: their texts are computed once.
        scenes = [fake_scene(10 * group + i // 2, objects=i, relations=i % 3) for i in range(4)]
        items = [
            Item(scene, fit_scene(scene, 32, "centre_crop", 40), 7 + i, scene.action)
            for i, scene in enumerate(scenes)
        ]
        builder.add(group, *pack_training_group(items, settings, tokenizer))
    return builder.finish(tokenizer)[0]


@pytest.fixture(scope="module")
def model(tokenizer):
    sizes = dict(width=16, depth=2, heads=2, mlp_dim=32, stem_blocks=1)
    vision = sizes | dict(image_size=32, patch_size=PATCH)
    text = sizes | dict(vocab_size=300, max_length=10, eos_id=tokenizer.eos_id)
    arguments = dict(arch="scenario_clip_1", vision=vision, text=text, embed_dim=12)
    return parameters.create(
        lambda: ScenarioCLIP(**arguments, share_stem=True, patch_packing=True, rngs=nnx.Rngs(0))
    )


def embed(model, batch):
    graph, params = model

    @jax.jit
    def run(params, batch):
        inputs = level_inputs(batch, VIEWS, LEVELS, patch_size=PATCH)
        return parameters.merge(graph, params)(inputs, groups=len(batch.seed))

    return run(params, batch)


def test_packed_rows_give_what_whole_rows_give(model, tokenizer):
    plain, packed = make_batch(PLAIN, tokenizer), make_batch(PACKED, tokenizer)
    masks = {level: slots.mask for level, slots in plain.levels.items()}
    expected, found = embed(model, plain), embed(model, packed)
    for level, mask in masks.items():
        assert mask.any()
        np.testing.assert_array_equal(mask, packed.levels[level].mask)
        for modality in ("image", "text"):
            ours, theirs = (
                np.asarray(getattr(e, modality)[level])[mask.reshape(-1)] for e in (found, expected)
            )
            np.testing.assert_allclose(ours, theirs, atol=2e-5, err_msg=f"{level} {modality}")


def test_equal_texts_are_computed_once(tokenizer):
    packed = make_batch(PACKED, tokenizer)
    rows, texts = packed.levels["object"].text_rows, packed.levels["object"].text
    for group in range(PACKED.packing_groups):
        mask = packed.levels["object"].mask[group]
        assert len(set(rows.read[group, mask])) == len(set(texts[group, mask])) < mask.sum()
        assert rows.sequence[group].max() + 1 == len(set(texts[group, mask]))


def test_the_text_of_a_slot_can_be_read_back(tokenizer):
    for settings in (PLAIN, PACKED):
        batch = make_batch(settings, tokenizer)
        slot = int(np.flatnonzero(batch.levels["object"].scene[1] == 3)[0])
        ids = text_tokens(batch.levels["object"], 1, slot)
        (expected,), _ = tokenizer.encode_ragged(["thing 11 0"], 10)
        assert ids[: len(expected)].tolist() == expected


def test_black_patches_are_not_seen_and_others_are(model):
    graph, params = model
    rng = np.random.default_rng(0)
    black = np.asarray(views_of_black())
    pixels = np.broadcast_to(black, (1, 32, 32, 3)).copy()
    pixels[:, :8, :16] = rng.normal(size=(1, 8, 16, 3))
    encode = jax.jit(
        lambda pixels, level: parameters.merge(graph, params).encode_image(pixels, level),
        static_argnums=1,
    )
    # Half a gray level is no picture; a gray level in one pixel is.
    dim, lit = pixels.copy(), pixels.copy()
    dim[0, 20, 20] += 0.4 / 255 / 0.27
    lit[0, 20, 20] += 2 / 255 / 0.26
    for level, seen in (("global", True), ("object", False), ("relation", False)):
        plain = np.asarray(encode(pixels, level))
        # A patch more to attend to is a large change; the pixel itself, where all are seen, a small one.
        moved = np.abs(np.asarray(encode(lit, level)) - plain).max()
        assert moved > (1e-5 if seen else 1e-3)
        moved = np.abs(np.asarray(encode(dim, level)) - plain).max()
        assert (moved > 0) == seen


def views_of_black():
    return np.array([-0.48145466 / 0.26862954, -0.4578275 / 0.26130258, -0.40821073 / 0.27577711])


@pytest.mark.slow
def test_masked_views_are_black_outside_their_boxes(tokenizer):
    """What the host takes for visible is what shows, so packing leaves out nothing that isn't black."""
    batch = make_batch(PACKED, tokenizer)
    pictures = views(batch, VIEWS, train=True)
    for name, rows in (
        ("object", batch.levels["object"].patch_rows),
        ("relation", batch.levels["relation"].patch_rows),
    ):
        mask = batch.levels[name].mask
        view = np.asarray(pictures[name])
        for group, slot in np.argwhere(mask):
            patches = view[group, slot].reshape(4, PATCH, 4, PATCH, 3).swapaxes(1, 2)
            lit = np.asarray(shows_something(patches.reshape(1, 16, -1)))[0]
            taken = rows.position[group][rows.sequence[group] == slot]
            assert set(np.flatnonzero(lit) + 1) <= set(taken) - {0}
            assert taken[0] == 0
            assert len(set(taken)) == len(taken)


@pytest.mark.slow
def test_joining_keeps_groups_together():
    rng = np.random.default_rng(0)
    streams = [
        Stream(rng.normal(size=(2 * n, 3, 4)).astype(np.float32), rng.integers(0, 9, (2 * n, 3)))
        for n in (1, 3, 2)
    ]
    joined = join(streams, groups=2)
    np.testing.assert_array_equal(
        joined.x[:6], np.concatenate([s.x[: len(s.x) // 2] for s in streams])
    )
    for found, expected in zip(separate(joined, [2, 6, 4], 2), streams, strict=True):
        jax.tree.map(np.testing.assert_array_equal, found, expected)
