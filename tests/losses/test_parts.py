"""Each part's text finds the photos that show it: by hand, on every mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scenarioclip_jax.losses.parts import parts_loss, parts_of
from scenarioclip_jax.parallel.mesh import batch_sharding
from tests.losses.test_pairwise import mesh_of

GROUPS, SCENES, SLOTS, DIM = 8, 2, 5, 6


def case(seed=0):
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(GROUPS, SLOTS, DIM)).astype("f")
    image = rng.normal(size=(GROUPS, SCENES, DIM)).astype("f")
    scene = rng.integers(0, SCENES, (GROUPS, SLOTS)).astype("i")
    label = rng.integers(0, 6, (GROUPS, SLOTS)).astype("i")
    mask = rng.random((GROUPS, SLOTS)) < 0.8
    mask[0] = False  # all that the first of eight devices holds
    return text, image, jnp.float32(1.2), label, mask, scene


def by_hand(text, image, logit_scale, label, mask, scene):
    """The definition, dense."""
    unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    logits = jnp.exp(logit_scale) * jnp.einsum("gnd,hsd->gnhs", unit(text), unit(image))
    shown = np.zeros((GROUPS, SLOTS, GROUPS, SCENES), bool)
    some = np.zeros((GROUPS, SCENES), bool)
    for h, m in np.argwhere(mask):
        shown[..., h, scene[h, m]] |= label == label[h, m]
        some[h, scene[h, m]] = True
    # Photos that show nothing aren't compared with anything.
    logits = jnp.where(some, logits, -1e30).reshape(GROUPS, SLOTS, -1)
    target = shown.reshape(logits.shape) / np.maximum(shown.sum((2, 3)), 1)[..., None]
    each = -(target * jax.nn.log_softmax(logits)).sum(-1)
    return jnp.where(mask, each, 0.0).sum() / mask.sum()


@pytest.mark.parametrize("devices", [(1, 1, 1), (2, 4, 1), (2, 2, 2)])
def test_the_definition_on_every_mesh(devices):
    args, mesh = case(), mesh_of(devices)
    sharding = batch_sharding(mesh)

    def ours(text, image, scale):
        return parts_loss(text, image, scale, *args[3:], sharding=sharding, chunk=3)

    def theirs(text, image, scale):
        return by_hand(text, image, scale, *args[3:])

    found = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(*args[:3])
    expected = jax.value_and_grad(theirs, (0, 1, 2))(*args[:3])
    assert float(expected[0]) > 0.5
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_the_labels_of_each_scene():
    label = jnp.array([[5, -1, 7, 8, 9]])
    scene = jnp.array([[0, 0, 1, 0, 1]])
    found = np.asarray(parts_of(label, scene, 2))
    assert found.shape == (1, 2, 10)  # four times the average of 2.5
    assert [sorted(each[each >= 0].tolist()) for each in found[0]] == [[5, 8], [7, 9]]


def test_a_scene_with_very_many_parts_keeps_the_first():
    label, scene = jnp.arange(20)[None], jnp.zeros((1, 20), int)
    found = np.asarray(parts_of(label, scene, 10))
    assert found.shape == (1, 10, 8)
    assert found[0, 0].tolist() == list(range(8))
    assert (found[0, 1:] == -1).all()


def test_no_part_at_all_is_zero():
    text, image, scale, label, mask, scene = case()
    assert float(parts_loss(text, image, scale, label, mask & False, scene)) == 0
