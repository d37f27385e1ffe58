"""Attention among the tokens of a sequence, by the kernel that suits the platform.

A row of tokens may hold several sequences (`models.rows`): a token sees the tokens with the same number. All
kernels compute the same; they differ in what they hold in memory.

    plain   any platform. XLA holds the weights of all pairs of tokens, [N, heads, T, T].
    cudnn   NVIDIA GPUs, bfloat16. cuDNN's fused kernel holds a tile of them (Dao et al. 2022). Short rows stay
            with `plain`, which is faster there.
    pallas  TPUs, bfloat16. `models.attention_tpu` holds a tile of them, and doesn't compute tiles in which no
            token sees another. Rows that are shorter than a tile, or too long for fast memory, stay with
            `plain`. It was compiled for TPUs and never run on one, so it has to be asked for.
"""

import sys

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.errors import ReadableError

KINDS = ("auto", "plain", "cudnn", "pallas")
FUSED = {"gpu": "cudnn", "cuda": "cudnn", "tpu": "pallas"}  # by platform
AUTO = ("cudnn",)  # the ones that were measured
# Fewest and most tokens of a row for which the fused kernels are used (benchmarks/README.md).
ROWS = {
    # With its gradient it takes 0.85 of the plain one's time for 100 tokens on an H200, 1.2 of it for 50 and
    # 2.8 for texts of 24.
    "cudnn": (96, sys.maxsize),
    # Nothing was timed. By the compiler's account, a row that doesn't fill a tile of 128 tokens hardly saves
    # memory (2% of the activations of vitb32_fast, whose rows have 100) and computes more products. More tokens
    # weren't compiled.
    "pallas": (128, 2048),
}


class AttentionError(ReadableError, ValueError):
    """A kernel was asked for where it doesn't run. The message says where it does."""


def kind_on(platform: str, setting: str = "auto", dtype: DTypeLike = "bfloat16") -> str:
    """The kernel to use.

    Args:
      platform: Of the devices that run the program, as in `jax.Device.platform`.
      setting: One of `KINDS`.
      dtype: Of the towers' activations.

    Raises:
      AttentionError: The kernel that `setting` names doesn't run there, or not with that type.
    """
    suits = FUSED.get(platform, "plain") if jnp.dtype(dtype) == jnp.bfloat16 else "plain"
    if setting not in ("auto", "plain", suits):
        where = " or ".join(sorted(each for each, kind in FUSED.items() if kind == setting))
        raise AttentionError(
            f"{setting!r} needs bfloat16 on devices of the platform {where}, and this is {jnp.dtype(dtype)} "
            f"on {platform}; use {', '.join(dict.fromkeys(('auto', 'plain', suits)))}"
        )
    if setting == "auto":
        return suits if suits in AUTO else "plain"
    return setting


def fuses(kind: str, tokens: int, dtype: DTypeLike) -> bool:
    """Whether rows of so many tokens are left to the fused kernel of that kind."""
    least, most = ROWS.get(kind, (sys.maxsize, 0))
    return dtype == jnp.bfloat16 and least <= tokens <= most


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
    if fuses(kind, query.shape[1], query.dtype):
        fused = _cudnn if kind == "cudnn" else _pallas
        return fused(query, key, value, sequence, causal=causal)
    return jax.nn.dot_product_attention(
        query, key, value, mask=_mask(sequence), is_causal=causal, implementation="xla"
    )


def _mask(sequence: Int[Array, "N T"] | None):
    """True where a token (third axis) sees another (fourth axis): [N, 1, T, T]."""
    return None if sequence is None else (sequence[:, None, :, None] == sequence[:, None, None, :])


def _pallas(query, key, value, sequence, *, causal: bool):
    from scenarioclip_jax.models import attention_tpu  # Pallas is slow to import

    return attention_tpu.attend(query, key, value, sequence, causal=causal)


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
