"""Attention among the tokens of a sequence, by the kernel that suits the platform.

A row of tokens may hold several sequences (`models.rows`): a token sees the tokens with the same number. All
kernels compute the same; they differ in what they hold in memory.

    plain   any platform. XLA holds the weights of all pairs of tokens, [N, heads, T, T].
    cudnn   NVIDIA GPUs, bfloat16. cuDNN's fused kernel holds a tile of them (Dao et al. 2022). Short rows stay
            with `plain`, which is faster there.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from scenarioclip_jax.arrays import Array

KINDS = ("auto", "plain", "cudnn")
# Tokens of a row from which the fused kernel is used. With its gradient it takes 0.85 of the plain one's time
# for 100 tokens on an H200, 1.2 of it for 50 and 2.8 for texts of 24 (benchmarks/README.md).
LEAST_TOKENS = 96


def kind_on(platform: str, setting: str = "auto") -> str:
    """The kernel to use.

    Args:
      platform: Of the devices that run the program, as in `jax.Device.platform`.
      setting: One of `KINDS`; all but `auto` are taken as they are.
    """
    if setting != "auto":
        return setting
    return "cudnn" if platform in ("gpu", "cuda") else "plain"


def attend(
    query: Float[Array, "N T heads width"],
    key: Float[Array, "N T heads width"],
    value: Float[Array, "N T heads width"],
    sequence: Int[Array, "N T"] | None,
    *,
    causal: bool,
    kind: str,
) -> Float[jax.Array, "N T heads width"]:
    """Scaled dot-product attention (Vaswani et al. 2017).

    Args:
      sequence: A token sees the tokens of its row with the same number; None: it sees all.
      causal: Whether a token sees only itself and what comes before it.
      kind: One of `KINDS` but `auto`.
    """
    if kind == "cudnn" and query.dtype == jnp.bfloat16 and query.shape[1] >= LEAST_TOKENS:
        return _cudnn(query, key, value, sequence, causal=causal)
    return jax.nn.dot_product_attention(
        query, key, value, mask=_mask(sequence), is_causal=causal, implementation="xla"
    )


def _mask(sequence: Int[Array, "N T"] | None):
    """True where a token (third axis) sees another (fourth axis): [N, 1, T, T]."""
    return None if sequence is None else (sequence[:, None, :, None] == sequence[:, None, None, :])


def _cudnn(query, key, value, sequence, *, causal: bool):
    tokens = query.shape[1]
    lengths = None
    if tokens % 2:  # the kernel's backward pass has only even lengths
        query, key, value = (
            jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (query, key, value)
        )
        if sequence is None:
            lengths = jnp.full(query.shape[0], tokens, jnp.int32)
        else:
            sequence = jnp.pad(sequence, ((0, 0), (0, 1)), constant_values=-1)
    attended = jax.nn.dot_product_attention(
        query,
        key,
        value,
        mask=_mask(sequence),
        is_causal=causal,
        query_seq_lengths=lengths,
        key_value_seq_lengths=lengths,
        implementation="cudnn",
    )
    return attended[:, :tokens]
