"""The kernels of attention agree, and each is used where it works."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scenarioclip_jax.models import attention
from scenarioclip_jax.models.attention import ROWS, AttentionError, attend, kind_on

LEAST_TOKENS = ROWS["cudnn"][0]
ON_GPU = jax.default_backend() == "gpu"


@pytest.fixture
def fused(monkeypatch):
    """Calls of the fused kernel; where there is no GPU, XLA's computes them by the same arguments."""
    calls, real = [], jax.nn.dot_product_attention

    def kernel(query, key, value, *, implementation, **arguments):
        if implementation == "cudnn":
            calls.append(query.shape)
            assert query.shape[1] % 2 == 0  # its backward pass has no odd lengths
            implementation = "cudnn" if ON_GPU else "xla"
        return real(query, key, value, implementation=implementation, **arguments)

    monkeypatch.setattr(attention.jax.nn, "dot_product_attention", kernel)
    return calls


def inputs(tokens: int, *, sequences: bool, dtype=jnp.bfloat16):
    keys = jax.random.split(jax.random.key(0), 4)
    arrays = [jax.random.normal(key, (2, tokens, 2, 64), dtype) for key in keys[:3]]
    numbers = jnp.sort(jax.random.randint(keys[3], (2, tokens), -1, 4), axis=1)
    return arrays, numbers if sequences else None


@functools.partial(jax.jit, static_argnames=("kind", "causal"))
def value_and_gradients(arrays, sequence, *, kind: str, causal: bool):
    def total(*arrays):
        attended = attend(*arrays, sequence, causal=causal, kind=kind).astype(jnp.float32)
        if sequence is not None:  # tokens of no sequence are meaningless
            attended = attended * (sequence >= 0)[..., None, None]
        return (attended**2).sum(), attended

    gradients, attended = jax.grad(total, (0, 1, 2), has_aux=True)(*arrays)
    return attended, *gradients


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("tokens", [LEAST_TOKENS, LEAST_TOKENS + 5])
def test_the_fused_kernel_computes_what_the_plain_one_does(fused, tokens, sequences, causal):
    arrays, sequence = inputs(tokens, sequences=sequences)
    plain = value_and_gradients(arrays, sequence, kind="plain", causal=causal)
    assert fused == []
    others = value_and_gradients(arrays, sequence, kind="cudnn", causal=causal)
    assert fused == [(2, tokens + tokens % 2, 2, 64)]
    for ours, theirs in zip(others, plain, strict=True):
        ours, theirs = np.asarray(ours, np.float32), np.asarray(theirs, np.float32)
        np.testing.assert_allclose(ours, theirs, atol=0.02 * np.abs(theirs).max())


def test_a_token_sees_only_its_own_sequence(fused):
    """What other sequences of the row hold changes nothing; without their numbers it would."""
    (query, key, value), _ = inputs(LEAST_TOKENS, sequences=False)
    half = LEAST_TOKENS // 2
    sequence = jnp.broadcast_to(jnp.arange(LEAST_TOKENS) // half, query.shape[:2])
    other = value.at[:, half:].add(1)
    for kind in ("plain", "cudnn"):
        see = functools.partial(attend, query, key, causal=False, kind=kind)
        before, after = see(value, sequence), see(other, sequence)
        np.testing.assert_array_equal(before[:, :half], after[:, :half])
        assert not np.array_equal(see(value, None)[:, :half], see(other, None)[:, :half])


@pytest.mark.parametrize(
    ("tokens", "dtype"), [(LEAST_TOKENS - 1, jnp.bfloat16), (LEAST_TOKENS, jnp.float32)]
)
def test_short_rows_and_float32_stay_with_the_plain_kernel(fused, tokens, dtype):
    arrays, sequence = inputs(tokens, sequences=True, dtype=dtype)
    attend(*arrays, sequence, causal=False, kind="cudnn")
    assert fused == []


def test_the_platform_chooses_unless_a_setting_does():
    assert [kind_on(platform) for platform in ("cpu", "gpu", "cuda", "tpu")] == [
        *("plain", "cudnn", "cudnn", "plain")
    ]
    assert kind_on("gpu", "plain") == kind_on("tpu", "plain") == "plain"
    assert (kind_on("gpu", "cudnn"), kind_on("tpu", "pallas")) == ("cudnn", "pallas")
    assert kind_on("tpu", "auto", "float32") == kind_on("gpu", "auto", "float32") == "plain"


@pytest.mark.parametrize(
    ("platform", "setting", "dtype", "message"),
    [
        ("cpu", "pallas", "bfloat16", "'pallas' needs bfloat16 on .* tpu, .* bfloat16 on cpu; use"),
        ("gpu", "pallas", "bfloat16", "platform tpu, .* on gpu; use auto, plain, cudnn"),
        ("tpu", "cudnn", "bfloat16", "platform cuda or gpu, .* on tpu; use auto, plain, pallas"),
        ("tpu", "pallas", "float32", "this is float32 on tpu; use auto, plain$"),
    ],
)
def test_a_kernel_that_cannot_run_is_refused(platform, setting, dtype, message):
    with pytest.raises(AttentionError, match=message):
        kind_on(platform, setting, dtype)
