"""The contrastive loss: known answers, masks, multi-positives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scenarioclip_jax.losses.contrastive import MAX_SCALE, sigmoid_loss, softmax_loss


def pairs(n=6, d=8, seed=0):
    image, text = np.random.default_rng(seed).normal(size=(2, n, d)).astype(np.float32)
    return jnp.asarray(image), jnp.asarray(text)


def everywhere(n):
    return jnp.ones(n, bool)


def test_known_answers():
    # Orthogonal pairs, scale 1: each row has one logit of 1 and n - 1 of 0.
    n = 5
    loss = softmax_loss(jnp.eye(n), jnp.eye(n), jnp.float32(0), everywhere(n))
    assert float(loss) == pytest.approx(np.log(np.e + n - 1) - 1, rel=1e-6)
    # All alike: nothing can be told apart.
    same = jnp.ones((n, 3))
    assert float(softmax_loss(same, same, jnp.float32(2), everywhere(n))) == pytest.approx(
        np.log(n), rel=1e-6
    )


def test_only_directions_count():
    image, text = pairs()
    loss = softmax_loss(image, text, jnp.float32(1.5), everywhere(6))
    scaled = softmax_loss(image * 7, text * 0.1, jnp.float32(1.5), everywhere(6))
    np.testing.assert_allclose(scaled, loss, rtol=1e-5)


def test_the_scale_is_limited():
    image, text = pairs()
    limit = softmax_loss(image, text, jnp.log(MAX_SCALE), everywhere(6))
    beyond = softmax_loss(image, text, jnp.float32(50.0), everywhere(6))
    np.testing.assert_allclose(beyond, limit, rtol=1e-6)


def test_empty_slots_change_neither_loss_nor_gradient():
    image, text = pairs()
    loss, grad = jax.value_and_grad(softmax_loss, (0, 1, 2))(
        image, text, jnp.float32(1.0), everywhere(6)
    )
    padded = [jnp.concatenate([x[:3], jnp.full((2, 8), 9.0), x[3:]]) for x in (image, text)]
    mask = jnp.array([1, 1, 1, 0, 0, 1, 1, 1], bool)
    loss2, grad2 = jax.value_and_grad(softmax_loss, (0, 1, 2))(*padded, jnp.float32(1.0), mask)
    np.testing.assert_allclose(loss2, loss, rtol=1e-6)
    for ours, theirs in zip(grad2[:2], grad[:2], strict=True):
        np.testing.assert_allclose(ours[mask], theirs, atol=1e-6)
        assert not np.any(ours[~mask])
    np.testing.assert_allclose(grad2[2], grad[2], rtol=1e-5)


def test_no_pair_at_all_is_zero_with_a_finite_gradient():
    nothing = jnp.zeros((4, 8))
    loss, grad = jax.value_and_grad(softmax_loss)(
        nothing, nothing, jnp.float32(1.0), jnp.zeros(4, bool)
    )
    assert float(loss) == 0
    assert not np.any(np.asarray(grad))


def test_different_texts_are_the_plain_loss():
    image, text = pairs()
    plain = softmax_loss(image, text, jnp.float32(1.0), everywhere(6))
    multi = softmax_loss(image, text, jnp.float32(1.0), everywhere(6), jnp.arange(6))
    np.testing.assert_allclose(multi, plain, rtol=1e-6)


def test_equal_texts_are_positives_by_hand():
    image, text = (np.asarray(x, np.float64) for x in pairs(4))
    text[2] = text[0]
    ids = jnp.array([5, 6, 5, 7])
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text)]
    logits = np.exp(0.7) * unit[0] @ unit[1].T
    target = np.array([[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1]])
    rows = np.log(np.exp(logits).sum(1)) - (target * logits).sum(1)
    columns = np.log(np.exp(logits).sum(0)) - (target * logits).sum(0)
    loss = softmax_loss(jnp.asarray(image), jnp.asarray(text), jnp.float32(0.7), everywhere(4), ids)
    assert float(loss) == pytest.approx((rows.mean() + columns.mean()) / 2, rel=1e-5)


def of_equal_texts(loss, *learned):
    """Value and gradient by pictures and by different texts, of six pictures that share three texts.

    Equal texts are one embedding, as they are in a model: the text tower reads the same tokens.
    """
    image, text = pairs()
    ids = jnp.array([0, 0, 1, 2, 1, 0])

    def value(image, text, positives):
        return loss(image, text[ids], *learned, everywhere(6), positives)

    both = jax.value_and_grad(value, (0, 1))
    return both(image, text[:3], None), both(image, text[:3], ids)


def test_the_softmax_loss_never_pushed_equal_texts_apart():
    """A picture sees its text's copies at one cosine, so they only add a constant; and the rows of the copies
    together ask for what a uniform target asks. Multi-positives change nothing there."""
    plain, multi = of_equal_texts(softmax_loss, jnp.float32(1.5))
    for ours, theirs in zip(jax.tree.leaves(multi), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_sigmoid_loss_takes_equal_texts_for_wrong_ones_unless_told():
    """Two pictures of one text, both perfect: without multi-positives they are pushed away from it."""
    image = text = jnp.array([[1.0, 0.2], [1.0, 0.2]])
    gradient = jax.grad(sigmoid_loss)
    learned = jnp.log(10.0), jnp.float32(0.0)
    away = jnp.array([-0.2, 1.0])  # turns a picture away from the text
    for ids, sign in ((None, -1), (jnp.array([0, 0]), 1)):
        turned = gradient(image + 0.3 * away, text, *learned, everywhere(2), ids) @ away
        assert np.all(np.sign(turned) == sign)  # descent turns it further away, or back
