"""The kernel for TPUs: what it computes, interpreted on CPU, and what it compiles to for a TPU."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from scenarioclip_jax.aot import topology
from scenarioclip_jax.costs.memory import program_memory
from scenarioclip_jax.models import attention, attention_tpu
from scenarioclip_jax.models.attention_tpu import TILE, Layout, windows_of
from scenarioclip_jax.parallel.mesh import AXES
from tests.aot.test_aot import needs_libtpu
from tests.parallel.programs import mesh_of

interpreted = functools.partial(attention_tpu.attend, interpret=True)
fused = jax.jit(interpreted, static_argnames="causal")
windows = jax.jit(windows_of, static_argnums=1)


def plain(query, key, value, sequence, *, causal):
    return attention.attend(query, key, value, sequence, causal=causal, kind="plain")


def inputs(rows=1, tokens=TILE, heads=2, width=64, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 3)
    return [jax.random.normal(key, (rows, tokens, heads, width), dtype) for key in keys]


def numbers(rows: int, tokens: int):
    """As rows hold them: several sequences, in no order, with empty tokens in between and at the end."""
    rng = np.random.default_rng(0)
    found = np.empty((rows, tokens), np.int32)
    for row in found:
        ends = np.sort(rng.choice(np.arange(1, tokens), 5, replace=False))
        row[:] = rng.permutation(40)[np.searchsorted(ends, np.arange(tokens), side="right")]
        row[rng.random(tokens) < 0.1] = -1
        row[-tokens // 8 :] = -1
    return jnp.asarray(found)


def value_and_gradients(function, arrays, sequence, *, causal=False):
    """Of the tokens that belong to a sequence; of the others nothing is defined."""
    weight = jax.random.normal(jax.random.key(1), arrays[0].shape)
    if sequence is not None:
        weight *= (sequence >= 0)[..., None, None]

    def total(*arrays):
        attended = function(*arrays, sequence, causal=causal).astype(jnp.float32) * weight
        return attended.sum(), attended

    gradients, attended = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))(*arrays)
    return [np.asarray(x, np.float32) for x in (attended, *gradients)]


def assert_close(ours, theirs, share):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=share * np.abs(other).max(), rtol=0)


@pytest.mark.parametrize(
    ("tokens", "heads", "width", "sequences", "causal", "dtype"),
    [
        (100, 3, 64, True, False, jnp.float32),  # less than a tile; half a chunk of heads
        (300, 2, 64, True, False, jnp.bfloat16),
        (260, 2, 64, True, True, jnp.float32),
        (130, 1, 80, False, True, jnp.bfloat16),  # heads that don't divide a tile
    ],
)
def test_it_computes_what_the_plain_one_does(tokens, heads, width, sequences, causal, dtype):
    arrays = inputs(1, tokens, heads, width, dtype)
    sequence = numbers(1, tokens) if sequences else None
    ours = value_and_gradients(fused, arrays, sequence, causal=causal)
    exact = [x.astype(jnp.float32) for x in arrays]
    theirs = value_and_gradients(plain, exact, sequence, causal=causal)
    assert_close(ours, theirs, 1e-5 if dtype == jnp.float32 else 0.02)


def test_a_token_sees_only_its_own_sequence():
    query, key, value = inputs(tokens=2 * TILE)
    sequence = jnp.asarray(np.arange(2 * TILE) >= 150, jnp.int32)[None]
    other = value.at[:, 150:].add(1)
    see = functools.partial(fused, query, key, causal=False)
    np.testing.assert_array_equal(see(value, sequence)[:, :150], see(other, sequence)[:, :150])
    assert not np.array_equal(see(value, None)[:, :150], see(other, None)[:, :150])


def test_tiles_of_other_sequences_are_not_computed():
    """They hold NaN, which would show in any sum."""
    query, key, value = inputs(tokens=3 * TILE)
    sequence = jnp.asarray(np.arange(3 * TILE) // TILE, jnp.int32)[None]
    bad = value.at[:, 2 * TILE :].set(jnp.nan)
    attended = fused(query, key, bad, sequence, causal=False)
    expected = plain(query, key, value, sequence, causal=False)
    first = slice(2 * TILE)
    np.testing.assert_allclose(attended[:, first], expected[:, first], atol=1e-5)
    assert np.isnan(attended[:, 2 * TILE :]).all()


def test_rows_that_hold_nothing():
    """They are 0, and so are their gradients."""
    sequence = jnp.asarray([[-1] * TILE, [0] * TILE], jnp.int32)
    arrays = inputs(rows=2)

    @jax.jit
    def value_and_gradients(*arrays):
        attended, back = jax.vjp(lambda *x: fused(*x, sequence, causal=False), *arrays)
        return attended, *back(attended)

    for each in value_and_gradients(*arrays):
        assert (each[0] == 0).all()
        assert np.isfinite(each).all()
        assert (each[1] != 0).any()


@pytest.mark.parametrize(
    ("causal", "expected"),
    # First tile and number of tiles. The third holds 5 only, the fourth nothing.
    [(False, [0, 2, 0, 3, 1, 2, 0, 0]), (True, [0, 1, 0, 2, 1, 2, 0, 0])],
)
def test_windows_by_hand(causal, expected):
    sequence = np.full((1, 4 * TILE), -1, np.int32)
    sequence[0, :150], sequence[0, 150 : 2 * TILE + 10] = 9, 5
    layout = Layout(4 * TILE, TILE, TILE, 2, 1.0, causal, True)
    found = windows(jnp.asarray(sequence), layout)
    assert found.ravel().tolist() == expected


def test_windows_of_long_rows_have_few_lengths_and_stay_in_the_row():
    layout = Layout(17 * TILE, TILE, TILE, 2, 1.0, False, True)
    assert layout.lengths == [3, 6, 9, 12, 15, 17]
    sequence = jnp.asarray(np.arange(17 * TILE) // TILE, jnp.int32)[None]
    first, length = np.asarray(windows(sequence, layout)).reshape(-1, 2).T
    assert (length == 3).all()
    assert (first <= np.arange(17)).all()
    assert (first + length > np.arange(17)).all()
    assert (first + length <= 17).all()


@pytest.mark.parametrize(("rows", "heads"), [(4, 2), (4, 3), (3, 2)])
def test_on_a_mesh_each_device_computes_its_part(rows, heads):
    """Rows over four devices and heads over two; what the mesh doesn't divide is whole on each."""
    mesh = mesh_of("2x2x2")
    arrays, sequence = inputs(rows, 40, heads, 64), numbers(rows, 40)
    split = NamedSharding(mesh, PartitionSpec(AXES[:2] if rows == 4 else None))
    arrays = [jax.device_put(x, split) for x in arrays]

    def on_mesh(*args, causal):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return interpreted(*args, causal=causal)

    def scanned(*args, causal):  # as blocks are, and computed again for the backward pass
        policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        query, *others = args
        run = functools.partial(on_mesh, causal=causal)
        run = jax.checkpoint(run, policy=policy, prevent_cse=False)
        return jax.lax.scan(lambda x, _: (run(x, *others), None), query, None, length=2)[0]

    def twice(query, *others, causal):
        return plain(plain(query, *others, causal=causal), *others, causal=causal)

    assert_close(
        value_and_gradients(scanned, arrays, sequence),
        value_and_gradients(twice, jax.device_get(arrays), sequence),
        1e-5,
    )


@pytest.mark.parametrize(
    ("tokens", "dtype", "used"),
    [
        (128, jnp.bfloat16, True),
        (127, jnp.bfloat16, False),
        (128, jnp.float32, False),
        (2049, jnp.bfloat16, False),
    ],
)
def test_rows_that_it_is_used_for(tokens, dtype, used):
    array = jax.ShapeDtypeStruct((1, tokens, 1, 8), dtype)
    see = functools.partial(attention.attend, causal=True, kind="pallas")
    program = jax.make_jaxpr(lambda *x: see(*x, None))(array, array, array)
    assert ("pallas_call" in str(program)) == used


@pytest.mark.slow
@needs_libtpu
def test_compiled_for_a_tpu_it_holds_no_square():
    rows, tokens, heads = 64, 300, 12  # more than a chip holds in fast memory
    split = jax.sharding.SingleDeviceSharding(topology.pod("v5e:2x2")[0])
    array = jax.ShapeDtypeStruct((rows, tokens, heads, 64), jnp.bfloat16, sharding=split)
    sequence = jax.ShapeDtypeStruct((rows, tokens), jnp.int32, sharding=split)

    def compiled(kind):
        def total(*arrays):
            return attention.attend(*arrays, causal=False, kind=kind).astype(jnp.float32).sum()

        arguments = array, array, array, sequence
        return jax.jit(jax.grad(total, (0, 1, 2))).lower(*arguments).compile()

    square = re.compile(rf"\[{rows},{heads},(1,)?{tokens},{tokens}\]")
    theirs, ours = compiled("plain"), compiled("pallas")
    assert square.search(theirs.as_text())
    assert not square.search(ours.as_text())
    assert "attention_backward" in ours.as_text()
    assert program_memory(ours).temporary < program_memory(theirs).temporary / 2
