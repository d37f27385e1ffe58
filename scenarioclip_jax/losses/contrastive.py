"""Contrastive losses of one level: softmax (CLIP) and sigmoid (SigLIP).

Empty slots are masked. Optionally, equal texts are positives of each other. Both losses sum over all pairs of
the global batch but hold only a chunk of them in memory, see `losses.pairwise`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Bool, DTypeLike, Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.losses.pairwise import CHUNK, PairBlock, PairLoss, PairOptions, pairwise_sum

KINDS = ("softmax", "sigmoid")
MAX_SCALE = 100.0  # CLIP's limit on exp(logit_scale)
LOWEST = -1e30  # a logit that is as good as absent, and still finite in differences


def normalize(x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """L2-normalizes along the last axis."""
    # The rsqrt of the clamped square has a finite gradient for the all-zero rows of empty slots.
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-24))


def softmax_loss(
    image: Float[Array, "N D"],
    text: Float[Array, "N D"],
    logit_scale: Float[Array, ""],
    mask: Bool[Array, " N"],
    text_id: Int[Array, " N"] | None = None,
    *,
    sharding: NamedSharding | None = None,
    chunk: int = CHUNK,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, ""]:
    """Symmetric cross-entropy over all pairs of a level in the global batch (Radford et al. 2021).

    Args:
      image, text: Embeddings, not normalized; row n of both is a pair.
      logit_scale: Logarithm of the factor on the cosines, which is at most `MAX_SCALE`.
      mask: False for empty slots, which are neither rows nor negatives.
      text_id: Ids of the texts (0 or more). Rows with the same id are positives, and the target is uniform over
        them (Khosla et al. 2020, eq. 2, across modalities). If None, equal texts are negatives of each other,
        as published.
      sharding: Sharding of the rows over a mesh; None if one device holds them all.
      chunk: Number of texts that a device compares its images with at once; this takes memory for an array
        `[N / devices, chunk]`.
      dtype: Type of the factors in products of embeddings; sums and everything else are float32.

    Returns:
      The mean of the image-to-text and text-to-image losses over the rows that `mask` keeps; 0 if none.
    """
    zero, options = jnp.float32(0.0), PairOptions(sharding, chunk, dtype)
    return _mean(SOFTMAX, options, image, text, logit_scale, zero, mask, text_id)


def sigmoid_loss(
    image: Float[Array, "N D"],
    text: Float[Array, "N D"],
    logit_scale: Float[Array, ""],
    logit_bias: Float[Array, ""],
    mask: Bool[Array, " N"],
    text_id: Int[Array, " N"] | None = None,
    *,
    sharding: NamedSharding | None = None,
    chunk: int = CHUNK,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, ""]:
    """Binary classification of every pair (SigLIP; Zhai et al. 2023, eq. 1 and algorithm 1).

    Args:
      logit_bias: Bias added to the logits. The other arguments are those of `softmax_loss`.

    Returns:
      The sum over all pairs of valid rows, divided by the number of valid rows; 0 if there are none.
    """
    options = PairOptions(sharding, chunk, dtype)
    return _mean(SIGMOID, options, image, text, logit_scale, logit_bias, mask, text_id)


def _mean(loss: PairLoss, options: PairOptions, image, text, logit_scale, bias, mask, text_id):
    image = normalize(image.astype(jnp.float32))
    text = normalize(text.astype(jnp.float32))
    scale = jnp.minimum(jnp.exp(logit_scale), MAX_SCALE)
    label = jnp.where(mask, jnp.arange(len(mask)) if text_id is None else text_id, -1)
    total: Array = pairwise_sum(loss, options, image, text, label, label, scale, bias)
    return total / jnp.maximum(mask.sum(), 1)


# Softmax. With logits s_ij and positives P_i of i, whose number is the same for row i and column i,
#     sum = 1/2 sum_i lse_j s_ij + 1/2 sum_j lse_i s_ij - sum_i mean_(j in P_i) s_ij.


class SoftmaxRows(NamedTuple):
    """What each row collects; a column collects only its `log_sum`."""

    log_sum: Float[Array, " n"]  # log of the sum of exp(logits) so far
    positive: Float[Array, " n"]  # sum of the positives' logits
    count: Float[Array, " n"]  # number of positives


def _softmax_start(rows: int, columns: int):
    zeros = jnp.zeros(rows)
    return SoftmaxRows(zeros + LOWEST, zeros, zeros), jnp.full(columns, LOWEST)


def _softmax_add(rows: SoftmaxRows, block: PairBlock):
    logits = jnp.where(block.valid, block.logits, LOWEST)
    rows = SoftmaxRows(
        jnp.logaddexp(rows.log_sum, jax.nn.logsumexp(logits, axis=1)),
        rows.positive + jnp.where(block.positive, logits, 0.0).sum(axis=1),
        rows.count + block.positive.sum(axis=1),
    )
    return rows, jax.nn.logsumexp(logits, axis=0)


def _softmax_value(rows: SoftmaxRows, columns: Float[Array, " n"]) -> Float[Array, " n"]:
    return (rows.log_sum + columns) / 2 - rows.positive / jnp.maximum(rows.count, 1)


def _softmax_gradient(rows: SoftmaxRows, columns: Float[Array, " c"], block: PairBlock):
    by_row = jnp.exp(block.logits - rows.log_sum[:, None])
    by_column = jnp.exp(block.logits - columns)
    target = block.positive / jnp.maximum(rows.count, 1)[:, None]
    return jnp.where(block.valid, (by_row + by_column) / 2 - target, 0.0)


SOFTMAX = PairLoss(_softmax_start, _softmax_add, jnp.logaddexp, _softmax_value, _softmax_gradient)


# Softmax of each row over the columns alone: sum_i lse_j s_ij - mean_(j in P_i) s_ij, for rows with a positive.


def _row_add(rows: SoftmaxRows, block: PairBlock):
    return _softmax_add(rows, block)[0], ()


def _row_value(rows: SoftmaxRows, columns) -> Float[Array, " n"]:
    of_positive = rows.positive / jnp.maximum(rows.count, 1)
    return jnp.where(rows.count > 0, rows.log_sum - of_positive, 0.0)


def _row_gradient(rows: SoftmaxRows, columns, block: PairBlock):
    target = block.positive / jnp.maximum(rows.count, 1)[:, None]
    by_row = jnp.exp(block.logits - rows.log_sum[:, None])
    return jnp.where(block.valid & (rows.count > 0)[:, None], by_row - target, 0.0)


ROW_SOFTMAX = PairLoss(
    lambda rows, columns: (_softmax_start(rows, columns)[0], ()),
    _row_add,
    lambda some, others: (),
    _row_value,
    _row_gradient,
)


# Sigmoid. With z_ij = 1 for positives and -1 for other pairs, sum = sum_ij log(1 + exp(-z_ij s_ij)).
# Rows collect their sum; columns collect nothing.


def _sigmoid_add(rows: Float[Array, " n"], block: PairBlock):
    wrong = jnp.where(block.positive, -block.logits, block.logits)
    return rows + jnp.where(block.valid, jax.nn.softplus(wrong), 0.0).sum(axis=1), ()


def _sigmoid_gradient(rows, columns, block: PairBlock):
    return jnp.where(block.valid, jax.nn.sigmoid(block.logits) - block.positive, 0.0)


SIGMOID = PairLoss(
    lambda rows, columns: (jnp.zeros(rows), ()),
    _sigmoid_add,
    lambda some, others: (),
    lambda rows, columns: rows,
    _sigmoid_gradient,
)
