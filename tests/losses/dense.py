"""Both contrastive losses as their formulas read, with all pairs in one array: what `losses` must equal."""

import jax
import jax.numpy as jnp

from scenarioclip_jax.losses.contrastive import MAX_SCALE


def logits_and_targets(image, text, logit_scale, bias, mask, text_id):
    """Logits [N, N]; 1 where a pair is positive; which pairs count."""
    unit = [
        x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (image, text)
    ]
    logits = jnp.minimum(jnp.exp(logit_scale), MAX_SCALE) * unit[0] @ unit[1].T + bias
    text_id = jnp.arange(len(mask)) if text_id is None else text_id
    valid = mask[:, None] & mask[None, :]
    return logits, (text_id[:, None] == text_id[None, :]) & valid, valid


def softmax_loss(image, text, logit_scale, mask, text_id=None):
    logits, positive, valid = logits_and_targets(image, text, logit_scale, 0.0, mask, text_id)
    logits = jnp.where(valid, logits, -1e30)
    target = positive / jnp.maximum(positive.sum(axis=1, keepdims=True), 1)
    rows = -(target * jax.nn.log_softmax(logits, axis=1)).sum(axis=1)
    columns = -(target * jax.nn.log_softmax(logits, axis=0)).sum(axis=0)
    return (rows + columns).sum() / 2 / jnp.maximum(mask.sum(), 1)


def sigmoid_loss(image, text, logit_scale, logit_bias, mask, text_id=None):
    logits, positive, valid = logits_and_targets(
        image, text, logit_scale, logit_bias, mask, text_id
    )
    each = -jax.nn.log_sigmoid(jnp.where(positive, logits, -logits))
    return jnp.where(valid, each, 0.0).sum() / jnp.maximum(mask.sum(), 1)
