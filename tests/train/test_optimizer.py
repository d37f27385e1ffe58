"""Schedule, decay and rate lists, EMA."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scenarioclip_jax.train.optimizer import ema_decay, ema_update, make_optimizer, warmup_cosine

PARAMS = {"a/kernel": jnp.array([2.0]), "a/bias": jnp.array([2.0]), "b/kernel": jnp.array([2.0])}


def optimizer(**changes):
    arguments = dict(
        learning_rate=optax.constant_schedule(0.1),
        weight_decay=[(".*/kernel", 0.5), (".*", 0.0)],
        rate_scale=[("b/.*", 0.1), (".*", 1.0)],
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        clip_norm=1.0,
    )
    return make_optimizer(list(PARAMS), **(arguments | changes))


def test_schedule():
    schedule = warmup_cosine(peak=1.0, steps=100, warmup_fraction=0.1, start_factor=1e-3)
    assert float(schedule(0)) == pytest.approx(1e-3, rel=1e-4)
    assert float(schedule(10)) == pytest.approx(1.0)
    assert float(schedule(55)) == pytest.approx(0.5)
    assert float(schedule(100)) == pytest.approx(0.0, abs=1e-7)
    assert float(warmup_cosine(peak=1.0, steps=1, warmup_fraction=0.1, start_factor=1e-3)(0)) > 0


def test_decay_and_rate_follow_the_lists():
    tx = optimizer()
    zero = {path: jnp.zeros(1) for path in PARAMS}
    updates, _ = tx.update(zero, tx.init(PARAMS), PARAMS)
    # No gradient: only decay moves a parameter, by rate x scale x decay x value.
    np.testing.assert_allclose(updates["a/kernel"], -0.1 * 0.5 * 2.0, rtol=1e-6)
    np.testing.assert_allclose(updates["a/bias"], 0.0)
    np.testing.assert_allclose(updates["b/kernel"], -0.01 * 0.5 * 2.0, rtol=1e-6)


def test_a_first_moment_of_half_the_size_steers_nearly_the_same():
    gradient = {path: jnp.full(1, 0.3 + i) for i, path in enumerate(PARAMS)}
    found = {}
    for dtype in ("float32", "bfloat16"):
        tx = optimizer(mu_dtype=dtype)
        state, params = tx.init(PARAMS), PARAMS
        for _ in range(5):
            updates, state = tx.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        assert {x.dtype.name for x in state[1].mu.values()} == {dtype}
        assert {x.dtype.name for x in state[1].nu.values()} == {"float32"}
        found[dtype] = params
    for path, value in found["float32"].items():
        assert found["bfloat16"][path].dtype == jnp.float32
        np.testing.assert_allclose(found["bfloat16"][path] - 2, value - 2, rtol=0.01)
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
