"""The contrastive loss of one level, with empty slots masked and, on request, equal texts as positives."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MAX_SCALE = 100.0  # CLIP's limit on exp(logit_scale)


def normalise(x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """L2-normalises along the last axis."""
    # rsqrt of the clamped square: finite gradient for the all-zero rows of empty slots.
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-24))


def contrastive_loss(
    image: Float[Array, "N D"],
    text: Float[Array, "N D"],
    logit_scale: Float[Array, ""],
    mask: Bool[Array, "N"],
    text_id: Int[Array, "N"] | None = None,
) -> Float[Array, ""]:
    """Symmetric cross-entropy over all pairs of a level in the global batch (Radford et al. 2021).

    Args:
      image, text: row n of both is a pair; not normalised.
      logit_scale: its exponential, at most `MAX_SCALE`, multiplies the cosines.
      mask: False for empty slots, which are neither rows nor negatives.
      text_id: if given, every row with the same id is a positive and the target is uniform over them
        (Khosla et al. 2020, eq. 2, across modalities). If not, equal texts are negatives of each other,
        as published.

    Returns:
      The mean of image-to-text and text-to-image loss over the rows that `mask` keeps; 0 if there is none.
    """
    image = normalise(image.astype(jnp.float32))
    text = normalise(text.astype(jnp.float32))
    scale = jnp.minimum(jnp.exp(logit_scale), MAX_SCALE)
    logits = scale * jnp.einsum("nd,md->nm", image, text, precision=jax.lax.Precision.HIGHEST)
    pairs = mask[:, None] & mask[None, :]
    logits = jnp.where(pairs, logits, -jnp.inf)
    if text_id is None:
        positives = jnp.eye(len(mask), dtype=bool) & pairs
    else:
        positives = (text_id[:, None] == text_id[None, :]) & pairs
    count = jnp.maximum(positives.sum(axis=1), 1)  # symmetric: the same for rows and columns
    rows = jnp.maximum(mask.sum(), 1)

    def direction(logits):
        # An empty row would give logsumexp(-inf, …); it is replaced before, so its gradient is 0, not nan.
        total = jax.nn.logsumexp(jnp.where(mask[:, None], logits, 0.0), axis=1)
        target = jnp.where(positives, logits, 0.0).sum(axis=1) / count
        return jnp.where(mask, total - target, 0.0).sum() / rows

    return (direction(logits) + direction(logits.T)) / 2
