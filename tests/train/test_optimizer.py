"""Schedule, decay and rate lists, EMA."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scenarioclip_jax.train.optimizer import ema_decay, ema_update, make_optimizer, warmup_cosine

PARAMS = {"a/kernel": jnp.array([2.0]), "a/bias": jnp.array([2.0]), "b/kernel": jnp.array([2.0])}


def optimizer(**changes):
    arguments = dict(
        schedule=optax.constant_schedule(0.1),
        weight_decay=[(".*/kernel", 0.5), (".*", 0.0)],
        learning_rate_scale=[("b/.*", 0.1), (".*", 1.0)],
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        clip_norm=1.0,
    )
    return make_optimizer(list(PARAMS), **(arguments | changes))


def test_schedule():
    schedule = warmup_cosine(learning_rate=1.0, steps=100, warmup_fraction=0.1, warmup_start=1e-3)
    assert float(schedule(0)) == pytest.approx(1e-3, rel=1e-4)
    assert float(schedule(10)) == pytest.approx(1.0)
    assert float(schedule(55)) == pytest.approx(0.5)
    assert float(schedule(100)) == pytest.approx(0.0, abs=1e-7)
    assert (
        float(warmup_cosine(learning_rate=1.0, steps=1, warmup_fraction=0.1, warmup_start=1e-3)(0))
        > 0
    )


def test_decay_and_rate_follow_the_lists():
    tx = optimizer()
    zero = {path: jnp.zeros(1) for path in PARAMS}
    updates, _ = tx.update(zero, tx.init(PARAMS), PARAMS)
    # No gradient: only decay moves a parameter, by rate x scale x decay x value.
    np.testing.assert_allclose(updates["a/kernel"], -0.1 * 0.5 * 2.0, rtol=1e-6)
    np.testing.assert_allclose(updates["a/bias"], 0.0)
    np.testing.assert_allclose(updates["b/kernel"], -0.01 * 0.5 * 2.0, rtol=1e-6)


@pytest.mark.parametrize("noise", [0.03, 0.3, 1.0])
def test_a_first_moment_of_half_the_size_steers_the_same_way(noise):
    size, steps = 2000, 100
    params = {"a/bias": jnp.zeros(size)}
    gradients = jnp.asarray(0.3 + noise * np.random.default_rng(0).normal(size=(steps, size)))
    moved = {}
    for dtype in ("float32", "bfloat16"):
        tx = optimizer(mu_dtype=dtype, clip_norm=1e9)

        def step(carry, gradient, tx=tx):
            params, state = carry
            updates, state = tx.update({"a/bias": gradient}, state, params)
            return (optax.apply_updates(params, updates), state), None

        (found, state), _ = jax.lax.scan(step, (params, tx.init(params)), gradients)
        assert state[1].mu["a/bias"].dtype == dtype
        assert state[1].nu["a/bias"].dtype == found["a/bias"].dtype == jnp.float32
        moved[dtype] = float(found["a/bias"].mean())
    # With optax's own mu_dtype, whose arithmetic is in bfloat16 too, it is 1.5% less.
    assert moved["bfloat16"] == pytest.approx(moved["float32"], rel=0.003)


def test_a_moment_of_another_type_is_refused():
    with pytest.raises(ValueError, match=r"mu_dtype 'int8' is not one of float32, bfloat16"):
        optimizer(mu_dtype="int8")


def test_a_parameter_without_a_rule_is_an_error():
    with pytest.raises(ValueError, match="rules for weight decay: no rule matches a/bias"):
        optimizer(weight_decay=[(".*/kernel", 0.5)])


def test_ema_warms_up_linearly_and_then_keeps_its_decay():
    decays = [float(ema_decay(jnp.int32(s), decay=0.9, warmup_steps=10)) for s in (0, 5, 10, 99)]
    np.testing.assert_allclose(decays, [0.0, 0.45, 0.9, 0.9], rtol=1e-6)


def test_ema_update():
    ema, params = {"x": jnp.array([1.0])}, {"x": jnp.array([3.0])}
    assert float(ema_update(ema, params, jnp.float32(0.75))["x"][0]) == 1.5
    same = {"x": jnp.array([0.1])}
    assert float(ema_update(same, same, jnp.float32(0.9995))["x"][0]) == float(same["x"][0])
