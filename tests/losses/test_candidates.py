"""Losses over a picture's own candidates: known answers, and every term by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scenarioclip_jax.losses.candidates import (
    TERMS,
    Candidates,
    Further,
    candidates_loss,
    cosine_logits,
    of_slots,
    relation_losses,
)

SCALE = jnp.log(jnp.float32(5.0))


def case(groups=2, relations=8, further=20, dim=6, seed=0):
    """Random relations of two or three scenes, with masks, further texts and pairs."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(groups, relations, dim)).astype("f")
    text = rng.normal(size=(groups, relations + further, dim)).astype("f")
    scene = np.sort(rng.integers(0, 2, (groups, relations))).astype("i")
    pair = rng.integers(0, 3, (groups, relations)).astype("i")
    mask = rng.random((groups, relations)) < 0.8
    slot = rng.integers(0, relations, (groups, further)).astype("i")
    kind = rng.integers(0, 3, (groups, further))  # empty, true, false
    kind = np.where(np.take_along_axis(mask, slot, axis=1), kind, 0)
    return image, text, scene, pair, mask, Further(slot, kind == 1, kind == 2, slot)


def by_hand(rows, columns, true, false, scale=5.0):
    """The definition, in loops."""
    losses = []
    unit = lambda x: np.float64(x) / np.linalg.norm(np.float64(x), axis=-1, keepdims=True)  # noqa: E731
    for g in range(len(rows)):
        logits = scale * unit(rows[g]) @ unit(columns[g]).T
        for n, row in enumerate(logits):
            positives, negatives = row[true[g, n]], row[false[g, n]]
            if len(positives) and len(negatives):
                each = [np.log1p(np.exp(negatives - s).sum()) for s in positives]
                losses.append(np.mean(each))
    return float(np.mean(losses)) if losses else 0.0


def test_known_answers():
    one = jnp.ones((1, 1, 4))
    alike = Candidates(jnp.array([[[1, 0, 0, 0]]], bool), jnp.array([[[0, 1, 1, 1]]], bool))
    loss = candidates_loss(cosine_logits(one, jnp.ones((1, 4, 4)), SCALE), alike)
    assert float(loss) == pytest.approx(np.log(4), rel=1e-6)  # four texts that look the same
    # Scale 5, the true text at cosine 1 and the false one at -1.
    columns = jnp.stack([jnp.ones(4), -jnp.ones(4)])[None]
    apart = Candidates(jnp.array([[[1, 0]]], bool), jnp.array([[[0, 1]]], bool))
    loss = candidates_loss(cosine_logits(one, columns, SCALE), apart)
    assert float(loss) == pytest.approx(np.log1p(np.exp(-10)), rel=1e-4)


def test_true_candidates_are_not_negatives_of_each_other():
    image, text, *_ = case()
    true = np.zeros((2, 8, 28), bool)
    true[:, :, :2] = True
    false = np.zeros_like(true)
    false[:, :, 4] = True
    logits = cosine_logits(image, text, SCALE)
    both = candidates_loss(logits, Candidates(true, false))
    one, other = (
        candidates_loss(logits, Candidates(true & (np.arange(28) == i), false)) for i in (0, 1)
    )
    assert float(both) == pytest.approx((float(one) + float(other)) / 2, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_every_term_by_hand(seed):
    image, text, scene, pair, mask, further = case(seed=seed)
    groups, relations, _ = image.shape
    shape = (groups, relations, text.shape[1])
    own, true, false, others = (np.zeros(shape, bool) for _ in range(4))
    for g in range(groups):
        for r in range(relations):
            own[g, r, r] = mask[g, r]
            for q in range(relations):
                others[g, r, q] = (
                    mask[g, r]
                    and mask[g, q]
                    and scene[g, r] == scene[g, q]
                    and pair[g, r] != pair[g, q]
                )
            for f in range(further.slot.shape[1]):
                if further.slot[g, f] == r:
                    true[g, r, relations + f] = further.true[g, f]
                    false[g, r, relations + f] = further.false[g, f]
    own_text, others = text[:, :relations], others[..., :relations]
    diagonal = own[..., :relations]
    expected = {
        "negatives": by_hand(image, text, own, false),
        "paraphrases": by_hand(image, text, true, false),
        "scene_texts": by_hand(image, own_text, diagonal, others),
        "scene_pictures": by_hand(own_text, image, diagonal, others),
        "texts": by_hand(own_text, text, true, false),
    }
    assert set(expected) == set(TERMS)
    assert sum(value > 0 for value in expected.values()) == 5  # the case says something
    found = relation_losses(
        image, text, SCALE, scene, mask, pair, further, dict.fromkeys(TERMS, 1.0)
    )
    assert {k: float(v) for k, v in found.items()} == pytest.approx(expected, rel=1e-4)
    some = relation_losses(
        image, text, SCALE, scene, mask, pair, further, dict.fromkeys(TERMS, 0.0) | {"texts": 2.0}
    )
    assert some.keys() == {"texts"}  # what isn't weighted isn't computed
    assert float(some["texts"]) == float(found["texts"])


def test_terms_of_a_scene_need_no_further_texts():
    image, text, scene, pair, mask, further = case()
    weights = dict.fromkeys(TERMS, 0.0) | {"scene_texts": 1.0, "scene_pictures": 1.0}
    own = text[:, :8]
    found = relation_losses(image, own, SCALE, scene, mask, pair, None, weights)
    expected = relation_losses(image, text, SCALE, scene, mask, pair, further, weights)
    assert found.keys() == {"scene_texts", "scene_pictures"}
    for name, value in found.items():
        assert float(value) == pytest.approx(float(expected[name]), rel=1e-5)


def test_empty_slots_change_neither_loss_nor_gradient():
    image, text, scene, pair, mask, further = case()

    def total(image, text):
        terms = relation_losses(
            image, text, SCALE, scene, mask, pair, further, dict.fromkeys(TERMS, 1.0)
        )
        return sum(terms.values())

    loss, (d_image, d_text) = jax.value_and_grad(total, (0, 1))(image, text)
    used = np.concatenate([mask, further.true | further.false], axis=1)
    noise = np.random.default_rng(1).normal(size=text.shape) * 100
    changed = np.where(used[..., None], text, noise).astype("f")
    pictures = np.where(mask[..., None], image, noise[:, :8]).astype("f")
    assert float(total(pictures, changed)) == pytest.approx(float(loss), rel=1e-6)
    assert not np.any(np.asarray(d_text)[~used])
    assert not np.any(np.asarray(d_image)[~mask])
    assert np.any(np.asarray(d_image)[mask])


def test_nothing_to_compare_is_zero_with_a_finite_gradient():
    nothing = Candidates(jnp.ones((1, 2, 3), bool), jnp.zeros((1, 2, 3), bool))

    def loss_of(image):
        return candidates_loss(cosine_logits(image, jnp.zeros((1, 3, 4)), SCALE), nothing)

    loss, gradient = jax.value_and_grad(loss_of)(jnp.zeros((1, 2, 4)))
    assert float(loss) == 0
    assert not np.any(np.asarray(gradient))


def test_the_further_text_of_each_slot():
    text = jnp.arange(5.0)[None, :, None] * jnp.ones((1, 5, 2))  # two own texts, three further ones
    further = Further(
        slot=np.array([[1, 0, 0]]),
        true=np.array([[True, False, False]]),
        false=np.array([[False, True, False]]),
        text=np.array([[7, 8, 9]]),
    )
    found, ids, has = of_slots(text, further, text[:, :2])
    assert ids[0, 1] == 7
    assert has.tolist() == [[False, True]]
    np.testing.assert_array_equal(found[0, 1], [2.0, 2.0])
