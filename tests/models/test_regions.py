"""Pooling over boxes: what is under a box counts, by its share, and pairs have no order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from scenarioclip_jax.data.batch import Boxes
from scenarioclip_jax.models.regions import (
    BoxHead,
    PairHead,
    RegionPool,
    Regions,
    coverage,
    cut_box,
    geometry,
)

GRID, WIDTH = 4, 8


def tokens(scenes=3, seed=0):
    shape = (2, scenes, GRID * GRID, WIDTH)
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def random_boxes(slots=5, ends=2, scenes=3, seed=1):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (2, slots, ends, 2))
    box = np.concatenate([low, low + rng.uniform(0.1, 0.4, low.shape)], axis=-1)
    return Boxes(rng.integers(0, scenes, (2, slots)), box.astype(np.float32))


def pool(heads=2):
    return RegionPool(WIDTH, heads, dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0))


def objects(module, x, boxes):
    return module(x, {"object": boxes})["object"]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 1, 1), np.ones((4, 4))),
        ((0.25, 0.5, 0.75, 0.75), np.pad(np.ones((1, 2)), ((2, 1), (1, 1)))),
        ((0, 0, 0.125, 0.125), np.pad(np.full((1, 1), 0.25), ((0, 3), (0, 3)))),
    ],
)
def test_shares_of_patches(box, expected):
    np.testing.assert_allclose(
        coverage(jnp.array(box, jnp.float32), GRID).reshape(4, 4), expected, atol=1e-6
    )


def test_shares_add_up_to_the_area():
    box = random_boxes().box
    area = (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) * GRID**2
    np.testing.assert_allclose(coverage(box, GRID).sum(-1), area, rtol=1e-4)


@pytest.mark.parametrize(
    ("box", "patch"), [((-0.5, -0.5, -0.1, -0.1), 0), ((1.2, 0.3, 1.4, 0.4), 7), ((1, 1, 1, 1), 15)]
)
def test_a_box_outside_the_view_counts_as_the_patch_next_to_it(box, patch):
    shares = np.asarray(coverage(jnp.array(box, jnp.float32), GRID))
    assert shares.argmax() == patch
    assert 0 < shares.sum() <= 1
    assert (shares > 0).sum() <= 2


def test_pooling_by_hand():
    module, x, boxes = pool(), tokens(), random_boxes()
    found = module(x, boxes)
    score = 10 * np.tanh(np.asarray(module.score(x)) / 10)
    value = np.asarray(module.value(x)).reshape(2, 3, 16, 2, 4)
    for g, n, e in np.ndindex(2, 5, 2):
        scene = boxes.scene[g, n]
        weight = np.exp(score[g, scene]) * np.asarray(coverage(boxes.box[g, n, e], GRID))[:, None]
        expected = (weight[..., None] * value[g, scene]).sum(0) / weight.sum(0)[:, None]
        np.testing.assert_allclose(found[g, n, e], expected.ravel(), rtol=1e-4, atol=1e-5)


def test_nothing_but_the_box_counts():
    module, x = pool(), tokens()
    boxes = Boxes(np.ones((2, 1), int), np.array([[[[0, 0, 0.5, 0.5]]]] * 2, np.float32))
    inside = np.asarray(coverage(boxes.box[0, 0, 0], GRID)) > 0
    outside = np.where(inside[:, None], x[:, 1], x[:, 1] + 5)
    changed = x.at[:, 1].set(outside).at[:, 0].add(3.0).at[:, 2].add(3.0)
    np.testing.assert_allclose(module(changed, boxes), module(x, boxes), rtol=1e-5, atol=1e-6)
    moved = x.at[:, 1].set(np.where(inside[:, None], x[:, 1] + 1, x[:, 1]))
    assert np.abs(module(moved, boxes) - module(x, boxes)).max() > 0.01


def test_parts_of_a_box():
    found = cut_box(jnp.array([[0.2, 0.0, 0.6, 0.3]]), 2)
    expected = [
        [0.2, 0, 0.4, 0.15],
        [0.4, 0, 0.6, 0.15],
        [0.2, 0.15, 0.4, 0.3],
        [0.4, 0.15, 0.6, 0.3],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_where_something_is_in_a_box_counts_with_parts(parts):
    """A box over a whole picture, of which a column and its opposite change places."""
    module = Regions(WIDTH, 2, parts, dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0))
    x = tokens(scenes=1)
    grid = x.reshape(2, 1, GRID, GRID, WIDTH)
    mirrored = grid[:, :, :, ::-1].reshape(x.shape)
    whole = Boxes(np.zeros((2, 1), int), np.tile(np.array([0, 0, 1, 1], np.float32), (2, 1, 1, 1)))
    changed = np.abs(objects(module, mirrored, whole) - objects(module, x, whole)).max()
    if parts == 1:
        assert changed < 1e-5
    else:
        assert changed > 0.01


def test_parts_are_mixed_by_hand():
    head = BoxHead(WIDTH, 2, dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0))
    boxes = random_boxes(ends=1)
    pooled = pool()(tokens(), boxes._replace(box=head.pooled(boxes.box)))
    assert pooled.shape[2] == 5
    one = pooled[:, :, 0] + pooled[:, :, 1:].reshape(2, 5, -1) @ head.mix.kernel[...]
    expected = one + head.reduce(jax.nn.gelu(head.expand(one), approximate=False))
    np.testing.assert_allclose(head(pooled), expected, rtol=1e-4, atol=1e-5)


def test_pairs_have_no_order():
    """To the last bit: which end is the subject is known from the annotation only."""
    pair = PairHead(WIDTH, WIDTH, dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0))
    module, x, boxes = pool(), tokens(), random_boxes()
    swapped = Boxes(boxes.scene, boxes.box[:, :, ::-1])
    one, other = module(x, boxes), module(x, swapped)
    nothing = one[..., :0]
    found = pair(one, nothing, boxes.box)
    np.testing.assert_array_equal(found, pair(other, nothing, swapped.box))
    # But two things that change places are something else.
    assert np.abs(pair(one, nothing, swapped.box) - found).max() > 1e-3


@pytest.mark.parametrize("parts", [1, 2])
def test_a_relation_may_read_its_ends_as_objects(parts):
    """By hand, from the module's own pieces; without order to the last bit, too."""
    run = {"dtype": jnp.dtype("float32"), "rngs": nnx.Rngs(0)}
    module = Regions(WIDTH, 2, parts, ends_as_objects=True, **run)
    x, boxes = tokens(), random_boxes()
    found = module(x, {"relation": boxes})["relation"]
    each = [Boxes(boxes.scene, boxes.box[:, :, end : end + 1]) for end in (0, 1)]
    ends = jnp.stack([objects(module, x, one) for one in each], axis=2)
    pooled = module.pool["relation"](x, boxes)
    expected = module.boxes["relation"](pooled, ends, boxes.box)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    swapped = Boxes(boxes.scene, boxes.box[:, :, ::-1])
    np.testing.assert_array_equal(found, module(x, {"relation": swapped})["relation"])
    # Beside objects, relations are the same, and so are the objects.
    others = random_boxes(slots=7, ends=1, seed=4)
    both = module(x, {"object": others, "relation": boxes})
    np.testing.assert_allclose(both["relation"], found, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(both["object"], objects(module, x, others), rtol=1e-5, atol=1e-5)
    # What an object's head makes of an end counts.
    head = module.boxes["object"].reduce
    head.bias[...] = head.bias[...] + 1.0
    assert np.abs(module(x, {"relation": boxes})["relation"] - found).max() > 1e-3


def test_how_boxes_lie_counts_from_the_first_step():
    """Its few numbers start with weights as if they were read alone."""
    width = 256
    pair = PairHead(width, width, dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0))
    kernel = np.asarray(pair.expand.kernel[...])
    assert kernel.shape == (2 * width + 8, 4 * width)
    assert np.std(kernel[:-8]) == pytest.approx((2 * width) ** -0.5, rel=0.05)
    assert np.std(kernel[-8:]) == pytest.approx(8**-0.5, rel=0.05)


def test_how_one_box_lies_to_another():
    left, right = jnp.array([0.0, 0.4, 0.2, 0.6]), jnp.array([0.6, 0.4, 1.0, 0.6])
    dx, dy, cos, sin, size, own, part, of_other = np.asarray(geometry(left, right))
    assert (dx, dy) == pytest.approx((-0.7, 0.0))
    assert cos == pytest.approx(-1, abs=1e-2)
    assert sin == 0
    assert size == pytest.approx(np.log(0.5) / 2, rel=1e-5)
    assert own == pytest.approx(0.2, rel=1e-5)
    assert part == of_other == 0
    inner, outer = jnp.array([0.2, 0.2, 0.4, 0.4]), jnp.array([0.0, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(geometry(inner, outer)[-2:], [1.0, 0.04], rtol=1e-5)
