"""How a vision tower without a class token makes one vector of its patch tokens: by attention of one query."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from scenarioclip_jax.models.layers import ACTIVATIONS


class AttentionPool(nnx.Module):
    """Multi-head attention pooling of SigLIP: y = attention(probe, tokens), then y + mlp(norm(y)).

    The probe is a learned query, the same for all images (Zhai et al. 2022, "Scaling Vision Transformers",
    section 3.2).

    Args:
      width: Width W of the tokens.
      heads: Number of attention's heads; must divide W.
      mlp_dim: Hidden size of the MLP.
      activation: Key of `layers.ACTIVATIONS`.
      eps: Epsilon of the norm.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_dim: int,
        activation: str,
        eps: float,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        run = {"dtype": dtype, "rngs": rngs}
        init = nnx.initializers.normal
        of_width, split = {"kernel_init": init(width**-0.5), **run}, (heads, width // heads)
        self.probe = nnx.Param(init(width**-0.5)(rngs.params(), (width,)))
        self.query = nnx.LinearGeneral(width, split, **of_width)
        self.key_value = nnx.LinearGeneral(width, (2, *split), **of_width)
        self.merge = nnx.LinearGeneral(split, width, axis=(-2, -1), **of_width)
        self.norm = nnx.LayerNorm(width, epsilon=eps, **run)
        self.expand = nnx.Linear(width, mlp_dim, **of_width)
        self.reduce = nnx.Linear(mlp_dim, width, kernel_init=init(mlp_dim**-0.5), **run)
        self.activation = activation

    def __call__(self, tokens: Float[jax.Array, "N T W"]) -> Float[jax.Array, "N W"]:
        key_value = self.key_value(tokens)  # [N, T, 2, heads, head_dim]
        probe = self.query(self.probe[...].astype(tokens.dtype))
        query = jnp.broadcast_to(probe, (len(tokens), 1, *probe.shape))
        attended = jax.nn.dot_product_attention(query, key_value[:, :, 0], key_value[:, :, 1])
        pooled = self.merge(attended)[:, 0]
        hidden = ACTIVATIONS[self.activation](self.expand(self.norm(pooled)))
        return pooled + self.reduce(hidden)
