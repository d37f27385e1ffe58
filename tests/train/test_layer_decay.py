"""Rates that fall from the output of a tower to its input."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scenarioclip_jax.train.layer_decay import layer_factors
from scenarioclip_jax.train.optimizer import make_optimizer

MODEL = {
    "vision": {"depth": 4, "stem_blocks": 1},
    "text": {"depth": 2, "stem_blocks": 0},
}
EXPECTED = {
    "vision/stem/global/patch/kernel": [5],
    "vision/stem/global/pre_norm/scale": [5],
    "vision/stem/global/stack/blocks/fc1/kernel": [4],
    "vision/trunk/object/stack/blocks/fc1/kernel": [3, 2, 1],
    "vision/trunk/object/final_norm/scale": [0],
    "vision/head/object/projection/kernel": [0],
    "text/stem/shared/token": [3],
    "text/trunk/all/stack/blocks/norm1/bias": [2, 1],
    "text/level/object": [0],
    "regions/pool/object/score/bias": [0],
    "logit_scale/object": [0],
}


def test_each_layer_has_the_decay_of_those_behind_it():
    found = layer_factors(EXPECTED, MODEL, 0.5)
    assert {p: list(np.log2(1 / each)) for p, each in found.items()} == EXPECTED
    assert all((each == 1).all() for each in layer_factors(EXPECTED, MODEL, 1.0).values())


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_blocks_learn_at_their_own_rates(scale):
    path = "vision/trunk/object/stack/blocks/fc1/kernel"
    params = {path: jnp.ones((3, 2, 2)), "logit_scale/object": jnp.ones(())}
    optimizer = make_optimizer(
        list(params),
        schedule=optax.constant_schedule(0.01),
        weight_decay=[(".*", 0.0)],
        learning_rate_scale=[(".*", scale)],
        layers=layer_factors(params, MODEL, 0.5),
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        clip_norm=1e9,
    )
    gradient = {p: jnp.ones_like(x) for p, x in params.items()}
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    # Adam's first step is as long as the rate.
    each = -0.01 * scale * np.array([1 / 8, 1 / 4, 1 / 2])
    np.testing.assert_allclose(
        updates[path], np.broadcast_to(each[:, None, None], (3, 2, 2)), rtol=1e-5
    )
    np.testing.assert_allclose(updates["logit_scale/object"], -0.01 * scale, rtol=1e-5)
