"""How a run starts."""

import jax.numpy as jnp
import optax

from scenarioclip_jax.train.state import new_state

PARAMS = {"a": jnp.ones(2), "b": jnp.zeros(3)}
TRAINS = {"a": True, "b": False}


def test_a_teacher_that_is_a_copy_is_new_and_one_that_is_given_keeps_its_age():
    start = dict(trains=TRAINS, optimizer=optax.sgd(1.0), averaged=lambda path: True)
    copy = new_state(PARAMS, **start, ema_steps=7)
    assert int(copy.ema_steps) == 0
    assert copy.ema.keys() == {"a"}
    assert copy.ema["a"] is not copy.trainable["a"]
    given = new_state(PARAMS, **start, ema={"a": jnp.full(2, 5.0)}, ema_steps=7)
    assert int(given.ema_steps) == 7
    assert given.ema["a"][0] == 5
