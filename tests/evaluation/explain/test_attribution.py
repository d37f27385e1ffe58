"""Relevance and attention: cases by hand, and properties on a tiny model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import scenarioclip_jax
from scenarioclip_jax.evaluation.explain import attribution
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.models.layers import ACTIVATIONS, Block
from tests.evaluation.tiny_model import write_model


@pytest.fixture(scope="module")
def model(small_data, tmp_path_factory):
    return scenarioclip_jax.load(write_model(tmp_path_factory.mktemp("model") / "m", small_data))


@pytest.fixture(scope="module")
def view():
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def test_integrated_gradients_by_hand():
    x, baseline = jnp.array([3.0, 2.0]), jnp.array([1.0, 0.0])
    linear = attribution.integrated_gradients(lambda v: 2 * v[0] - v[1], x, baseline, 1)
    np.testing.assert_allclose(linear, [4, -2], rtol=1e-6)
    # On the way (1 + 2t, 2t) the gradient of the product is (2t, 1 + 2t), whose means are 1 and 2.
    product = attribution.integrated_gradients(lambda v: v[0] * v[1], x, baseline, 5)
    np.testing.assert_allclose(product, [2, 4], rtol=1e-6)


def test_relevance_sums_to_what_the_picture_adds_to_a_black_one(model, view):
    text = normalize(model.encode_text(["a red circle"], "object"))
    black = np.zeros_like(view)
    cosines = model.similarity(model.encode_image([view, black], "object"), text)[:, 0]
    found = attribution.text_relevance(model, view, text[0], "object", steps=200)
    assert found.shape == (32, 32)
    assert found.sum() == pytest.approx(cosines[0] - cosines[1], abs=2e-3)
    assert abs(cosines[0] - cosines[1]) > 0.02  # else the line above would say nothing
    # Where the picture is black there is nothing that could speak for it.
    half = view.copy()
    half[:, 16:] = 0
    found = attribution.text_relevance(model, half, text[0], "object")
    assert np.abs(found[:, :16]).max() > 0
    np.testing.assert_array_equal(found[:, 16:], 0)


def test_a_contrast_leaves_out_what_all_texts_share():
    texts = np.array([[3.0, 0, 4], [0, 1, 0], [0, 0, 2]])
    np.testing.assert_allclose(attribution.contrast(texts, 0), [0.6, -0.5, 0.3])
    with pytest.raises(ValueError, match="at least two"):
        attribution.contrast(texts[:1], 0)


def test_sums_of_patches():
    relevance = np.arange(16.0).reshape(4, 4)
    np.testing.assert_array_equal(attribution.by_patch(relevance, 2), [[10, 18], [42, 50]])


def test_smoothing_keeps_the_sum_and_the_place():
    relevance = np.zeros((48, 48))
    relevance[10, 30], relevance[10, 31] = 5.0, -1.0
    found = attribution.smooth(relevance)
    assert found.sum() == pytest.approx(4)
    assert 0 < found.max() < 1
    assert np.unravel_index(found.argmax(), found.shape) in [(10, 29), (10, 30)]


def test_the_share_in_a_box():
    relevance = np.zeros((8, 8))
    relevance[2, 3], relevance[2, 4], relevance[0, 0] = 3.0, -9.0, 1.0
    # Columns 3 to 5, rows 2 to 3: 3 of the positive 4, and 2 x 1 of 64 pixels.
    assert attribution.share_inside(relevance, np.array([2.6, 2, 5, 3])) == (0.75, 2 / 64)


def test_rollout_by_hand():
    one, two = np.array([[0.0, 1], [1, 0]]), np.array([[0.5, 0.5], [0, 1]])
    # (two + 1) / 2 = [[.75, .25], [0, 1]] after (one + 1) / 2 = [[.5, .5], [.5, .5]]
    np.testing.assert_allclose(attribution.rollout([one, two]), [[0.5, 0.5], [0.5, 0.5]])
    np.testing.assert_allclose(attribution.rollout([two, two]), [[0.5625, 0.4375], [0, 1]])


def test_attention_is_the_blocks_own():
    block = Block(16, 2, 2, 32, "quick_gelu", 1e-5, jnp.float32, nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 5, 16))
    weights = attribution.attention(block, x)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    values = block.qkv(block.norm1(x))[:, :, 2]
    after = x + block.out(jnp.einsum("nhqk,nkhd->nqhd", weights, values))
    hidden = ACTIVATIONS["quick_gelu"](block.fc1(block.norm2(after)))
    after = after + block.fc2(hidden)
    np.testing.assert_allclose(after, block(x), atol=1e-5)


def test_rollout_of_a_model(model, view):
    found = attribution.attention_rollout(model, view, "relation")
    assert found.shape == (2, 2)
    assert found.sum() == pytest.approx(1)
    other = attribution.attention_rollout(model, view[::-1], "relation")
    assert np.abs(found - other).max() > 1e-6  # it depends on the picture
    # Queries of zero attend to all tokens alike.
    kernel = "vision/trunk/relation/stack/blocks/qkv/kernel"
    uniform = model.params | {kernel: model.params[kernel].at[:, :, 0].set(0)}
    model = scenarioclip_jax.inference.Model(model.spec, uniform, model.tokenizer)
    np.testing.assert_allclose(
        attribution.attention_rollout(model, view, "relation"), 0.25, rtol=1e-5
    )


def test_rollout_of_a_packed_model_leaves_out_black_patches(model, view):
    half = view.copy()
    half[:, 16:] = 0
    spec = dataclasses.replace(model.spec, model=model.spec.model | {"patch_packing": True})
    packed = scenarioclip_jax.inference.Model(spec, model.params, model.tokenizer)
    for level, seen in (("global", True), ("relation", False)):
        found = attribution.attention_rollout(packed, half, level)
        assert (found[:, 0] > 0).all()
        assert (found[:, 1] > 0).all() == seen
