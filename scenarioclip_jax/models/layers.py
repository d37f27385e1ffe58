"""The pre-norm transformer block of CLIP, and stacks of it with parameters stacked along depth."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.models.attention import attend
from scenarioclip_jax.parallel.mesh import keep_batch_split

ACTIVATIONS: dict[str, Callable] = {
    # Sigmoid approximation of GELU that OpenAI's CLIP weights were trained with (Hendrycks & Gimpel 2016).
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_pytorch_tanh": partial(jax.nn.gelu, approximate=True),  # SigLIP's, by Hugging Face's name
}

# What the backward pass keeps from a block's forward pass; everything else is recomputed.
REMAT_POLICIES = {
    "none": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Block(nnx.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    Initial scales follow CLIP (Radford et al. 2021, section 2.4 and released code): `width ** -0.5` for layers
    that read the residual stream, divided by `sqrt(2 * depth)` for layers that write to it.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        activation: str,
        eps: float,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
        attention: str = "plain",
    ):
        normal = nnx.initializers.normal
        writes = width**-0.5 * (2 * depth) ** -0.5
        norm = partial(nnx.LayerNorm, width, epsilon=eps, dtype=dtype, rngs=rngs)
        self.norm1 = norm()
        # One product for queries, keys and values; [width, 3, heads, head_dim] lets `tensor` split the heads.
        self.qkv = nnx.LinearGeneral(
            width,
            (3, heads, width // heads),
            kernel_init=normal(width**-0.5),
            dtype=dtype,
            rngs=rngs,
        )
        self.out = nnx.LinearGeneral(
            (heads, width // heads),
            width,
            axis=(-2, -1),
            kernel_init=normal(writes),
            dtype=dtype,
            rngs=rngs,
        )
        self.norm2 = norm()
        self.fc1 = nnx.Linear(
            width, mlp_dim, kernel_init=normal((2 * width) ** -0.5), dtype=dtype, rngs=rngs
        )
        self.fc2 = nnx.Linear(mlp_dim, width, kernel_init=normal(writes), dtype=dtype, rngs=rngs)
        self.activation, self.attention = activation, attention

    def __call__(
        self,
        x: Float[Array, "N T W"],
        sequence: Int[Array, "N T"] | None = None,
        *,
        causal: bool = False,
    ) -> Float[Array, "N T W"]:
        """Runs the block; a token sees those of its row with the same number in `sequence`, or all if None."""
        qkv = self.qkv(self.norm1(x))  # [N, T, 3, heads, head_dim]
        query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        attended = attend(query, key, value, sequence, causal=causal, kind=self.attention)
        x = x + self.out(attended)
        return x + self.fc2(ACTIVATIONS[self.activation](self.fc1(self.norm2(x))))


class Stack(nnx.Module):
    """A stack of `length` blocks, run by a scan; their parameters share a leading depth axis.

    Args:
      length: Number of blocks in this stack.
      depth: Number of blocks in the whole tower, which sets the initial scales.
      remat: Key of `REMAT_POLICIES`.
      unroll: Number of blocks per iteration of the scan. `length` or more leaves no loop, which is slower to
        compile and often faster to run on CPU.
      block: Arguments of `Block`.
    """

    def __init__(
        self, length: int, *, depth: int, remat: str, unroll: int, rngs: nnx.Rngs, **block
    ):
        self.length, self.remat, self.unroll = length, remat, unroll
        if length:

            @nnx.split_rngs(splits=length)
            @nnx.vmap(in_axes=(0,), out_axes=0)
            def make(rngs):
                return Block(depth=depth, rngs=rngs, **block)

            self.blocks = make(rngs)

    def __call__(
        self,
        x: Float[Array, "N T W"],
        sequence: Int[Array, "N T"] | None = None,
        *,
        causal: bool = False,
    ) -> Float[Array, "N T W"]:
        """Runs the blocks; see `Block` for `sequence`."""
        if not self.length:
            return x
        graph, params = nnx.split(self.blocks)

        def run(x, layer):
            x = keep_batch_split(x)
            return nnx.merge(graph, layer)(x, sequence, causal=causal)

        if self.remat != "none":
            run = jax.checkpoint(run, policy=REMAT_POLICIES[self.remat], prevent_cse=False)
        unroll = max(1, min(self.unroll, self.length))
        x, _ = jax.lax.scan(lambda x, layer: (run(x, layer), None), x, params, unroll=unroll)
        return x
