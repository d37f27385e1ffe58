"""LoRA as an optimizer does what A and B inside of the model would do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scenarioclip_jax.train.lora import A, B, lora
from scenarioclip_jax.train.optimizer import make_optimizer

KERNEL, OUT = "text/trunk/all/stack/blocks/qkv/kernel", "text/trunk/all/stack/blocks/out/kernel"
HEAD, BIAS = "text/head/all/projection/kernel", "text/head/all/projection/bias"
SHAPES = {KERNEL: (2, 6, 3, 2, 3), OUT: (2, 2, 3, 6), HEAD: (6, 4), BIAS: (4,)}
RANKS = {KERNEL: 2, OUT: 1, HEAD: 3}
SCALE = 1.5


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    return {
        path: jnp.asarray(0.3 * rng.standard_normal(shape), "float32")
        for path, shape in SHAPES.items()
    }


def loss(params):
    """Any function of all the parameters in which they meet."""
    x = jnp.arange(6.0) / 6
    for block in range(2):
        heads = jnp.einsum("i,ithd->thd", x, params[KERNEL][block])
        x = jnp.tanh(
            x + jnp.einsum("hd,hdo->o", heads[0] + heads[1] * heads[2], params[OUT][block])
        )
    return ((x @ params[HEAD] + params[BIAS] - 1) ** 2).sum()


def composed(base, factors, free):
    """The same parameters with A and B inside."""
    found = dict(free)
    for path in RANKS:
        change = SCALE * factors[path + A] @ factors[path + B]
        found[path] = base[path] + change.reshape(base[path].shape)
    return found


@pytest.mark.slow
def test_it_is_the_same_as_training_the_factors():
    base = drawn()
    inner = optax.adam(0.03)
    tx = lora(inner, RANKS, scale=SCALE)
    params, state = base, tx.init(base)
    factors, free = dict(state.factors), {BIAS: base[BIAS]}
    theirs = inner.init((factors, free))
    step = jax.jit(lambda p, s: tx.update(jax.grad(loss)(p), s, p))
    reference = jax.grad(lambda both: loss(composed(base, *both)))
    for _ in range(20):
        updates, state = step(params, state)
        params = optax.apply_updates(params, updates)
        moved, theirs = inner.update(reference((factors, free)), theirs, (factors, free))
        factors, free = optax.apply_updates((factors, free), moved)
    wanted = composed(base, factors, free)
    for path in SHAPES:
        np.testing.assert_allclose(params[path], wanted[path], atol=2e-5)
    assert float(loss(params)) < 0.5 * float(loss(base))


def test_changes_have_the_rank_and_the_first_step_starts_at_the_weights():
    base = drawn()
    tx = lora(optax.adam(0.05), RANKS, scale=SCALE)
    params, state = base, tx.init(base)
    for path in RANKS:
        assert not np.any(state.factors[path + B])
        assert np.abs(state.factors[path + A]).max() <= 6**-0.5
    for _ in range(5):
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    moved = {path: np.asarray(params[path] - base[path]) for path in SHAPES}
    for block in range(2):
        assert np.linalg.matrix_rank(moved[KERNEL][block].reshape(6, 18), tol=1e-4) == 2
        assert np.linalg.matrix_rank(moved[OUT][block].reshape(6, 6), tol=1e-4) == 1
    assert np.linalg.matrix_rank(moved[HEAD], tol=1e-4) == 3


def optimizer(**changes):
    arguments = dict(weight_decay=[(".*", 0.5)], learning_rate_scale=[(".*", 1.0)], clip_norm=1.0)
    arguments |= dict(schedule=optax.constant_schedule(0.1), b1=0.9, b2=0.999, eps=1e-8)
    arguments |= dict(lora_rank=[(".*kernel", 2), (".*", 0)], lora_rate=3.0)
    return make_optimizer(list(SHAPES), **(arguments | changes))


def test_moments_are_kept_for_the_factors_and_these_do_not_decay():
    tx, params = optimizer(), drawn()
    state = tx.init(params)
    kept = sum(x.size for x in jax.tree.leaves(state))
    assert kept < 3 * sum(np.prod(shape) for shape in SHAPES.values())
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zero, state, params)
    for path in RANKS:
        assert not np.any(updates[path])
    np.testing.assert_allclose(updates[BIAS], -0.1 * 0.5 * params[BIAS], rtol=1e-6)


def test_factors_learn_at_their_own_rate():
    params = drawn()
    gradients = jax.grad(loss)(params)
    moved = []
    for rate in (1.0, 3.0):
        tx = optimizer(lora_rate=rate, clip_norm=1e9)
        state = tx.init(params)
        _, after = tx.update(gradients, state, params)
        moved.append(after.factors[HEAD + B] - state.factors[HEAD + B])
    np.testing.assert_allclose(3 * moved[0], moved[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        ([(".*", 2)], "projection/bias is no matrix"),
        ([(".*kernel", -1), (".*", 0)], "-1 is not a whole number"),
        ([(".*kernel", 0.5), (".*", 0)], "0.5 is not a whole number"),
        ([(".*kernel", 2)], "no rule matches"),
    ],
)
def test_what_has_no_rank_is_named(ranks, said):
    with pytest.raises(ValueError, match=said):
        optimizer(lora_rank=ranks).init(drawn())
