"""Embedding a batch so that its gradient can be pulled back later: at once, or part by part.

A contrastive loss needs the embeddings of the whole batch, so gradients can't be averaged over smaller
batches. But the loss doesn't need the encoders' activations, and all the encoders need from the loss is its
derivative with respect to their embeddings (GradCache; Gao et al. 2021). So a batch goes through the encoders
in parts that keep only their embeddings; then each part goes through them again, this time with activations,
and its derivative is pulled back. The gradient is that of the whole batch; the price is a second forward pass.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.models.params import Params

Embed = Callable[[Params, Batch], tuple[Any, Any]]
PullBack = Callable[[Any], Params]


def embed_batch(
    embed: Embed, params: Params, batch: Batch, parts: int
) -> tuple[Any, Any, PullBack]:
    """Embeds a batch in `parts` parts.

    Args:
      embed: Function (params, batch) -> (differentiated values, other values), both pytrees of [G, ...]. It is
        called twice for each part and must return the same values both times.
      params: Parameters to differentiate with respect to.
      parts: Number of parts; must divide the number of groups that each device holds.

    Returns:
      Both results for the whole batch, and a function that maps the loss's derivative with respect to the
      first one to its derivative with respect to `params`.
    """
    if parts == 1:
        embeddings, pull_back, others = jax.vjp(lambda p: embed(p, batch), params, has_aux=True)
        return embeddings, others, lambda derivative: pull_back(derivative)[0]

    # Part k takes groups k, k + parts, …: some from each device, so no data moves between devices.
    def cut(x):
        return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)

    def join(x):
        return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])

    pieces = jax.tree.map(cut, batch)
    _, results = jax.lax.scan(lambda _, piece: (None, embed(params, piece)), None, pieces)
    embeddings, others = jax.tree.map(join, results)

    def pull_back(derivative):
        def add(gradient, part):
            piece, derivative = part
            _, back, _ = jax.vjp(lambda p: embed(p, piece), params, has_aux=True)
            return jax.tree.map(jnp.add, gradient, back(derivative)[0]), None

        zero = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(add, zero, (pieces, jax.tree.map(cut, derivative)))[0]

    return embeddings, others, pull_back
