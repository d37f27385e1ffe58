"""CLIP's and SigLIP's towers, each in two parts: a stem that may be frozen and shared, and a trunk.

stem:  embeddings, then the first `stem_blocks` blocks
trunk: the other blocks, the final norm and pooling, then the head of ScenarioCLIP
       (linear with bias, then layer norm; CLIP's own projection is not used)

CLIP reads a class token out, and the end of a text whose tokens see what is before them. SigLIP has no class
token, no norm before its blocks, and texts whose tokens all see each other (Zhai et al. 2023).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.data.batch import Rows
from scenarioclip_jax.models.attention_pool import AttentionPool
from scenarioclip_jax.models.layers import Stack
from scenarioclip_jax.models.rows import Stream, read_out, shows_something
from scenarioclip_jax.parallel.mesh import gather_parameter
from scenarioclip_jax.patches import cut_patches

# What a tower makes its vector of, for CLIP and for SigLIP.
POOLINGS = {"vision": ("class_token", "attention"), "text": ("end_of_text", "last")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TowerConfig:
    """What both towers have in common. Sizes are those in Hugging Face's `config.json` of a CLIP model."""

    width: int
    depth: int
    heads: int
    mlp_dim: int
    stem_blocks: int  # blocks that belong to the stem, counted from the input
    activation: str = "quick_gelu"
    eps: float = 1e-5

    def __post_init__(self):
        for name in ("width", "depth", "heads", "mlp_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is not 1 or more")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if not 0 <= self.stem_blocks <= self.depth:
            raise ValueError(
                f"stem_blocks {self.stem_blocks} is not between 0 and depth {self.depth}"
            )

    def stack(self, length: int, **kwargs) -> Stack:
        return Stack(
            length,
            depth=self.depth,
            width=self.width,
            heads=self.heads,
            mlp_dim=self.mlp_dim,
            activation=self.activation,
            eps=self.eps,
            **kwargs,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionConfig(TowerConfig):
    image_size: int  # pixels, both sides
    patch_size: (
        int  # pixels, both sides; with attention's pooling what is over at two borders isn't seen
    )
    pooling: str = "class_token"  # or attention, over all patches

    def __post_init__(self):
        super().__post_init__()
        _check_pooling(self.pooling, "vision")
        if self.patch_size < 1:
            raise ValueError(f"patch_size {self.patch_size} is not 1 or more")
        if self.image_size < self.patch_size or (
            self.has_class_token and self.image_size % self.patch_size
        ):
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )

    @property
    def grid(self) -> int:
        return self.image_size // self.patch_size

    @property
    def has_class_token(self) -> bool:
        return self.pooling == "class_token"

    @property
    def tokens(self) -> int:
        """Tokens of a view."""
        return self.grid**2 + self.has_class_token


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig(TowerConfig):
    vocab_size: int
    max_length: int  # positions, tokens
    eos_id: int  # pooling takes the first token with this id
    pooling: str = "end_of_text"  # or last: the last of max_length tokens, which all see each other

    def __post_init__(self):
        super().__post_init__()
        _check_pooling(self.pooling, "text")

    @property
    def causal(self) -> bool:
        return self.pooling == "end_of_text"


def fields_of(config: VisionConfig | TextConfig) -> dict[str, Any]:
    """A tower's fields with their defaults, but for CLIP's pooling, which models of before didn't name."""
    fields = dataclasses.asdict(config)
    if fields["pooling"] in (kinds[0] for kinds in POOLINGS.values()):
        del fields["pooling"]
    return fields


def _check_pooling(pooling: str, tower: str) -> None:
    if pooling not in POOLINGS[tower]:
        raise ValueError(f"pooling {pooling!r} is not one of {', '.join(POOLINGS[tower])}")


class VisionStem(nnx.Module):
    """Patches and class token, positions, `pre_norm`, and the first blocks.

    Without a class token there is no `pre_norm`, either.
    """

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs, **run):
        self.patch_size = config.patch_size
        scale = config.width**-0.5
        init = nnx.initializers.normal
        fan_in = 3 * config.patch_size**2
        shape = (config.patch_size, config.patch_size, 3, config.width)
        self.patch = nnx.Param(init(fan_in**-0.5)(rngs.params(), shape))
        self.has_class_token = config.has_class_token
        if self.has_class_token:
            self.cls = nnx.Param(init(scale)(rngs.params(), (config.width,)))
        self.position = nnx.Param(init(scale)(rngs.params(), (config.tokens, config.width)))
        if self.has_class_token:
            self.pre_norm = nnx.LayerNorm(config.width, epsilon=config.eps, dtype=dtype, rngs=rngs)
        self.stack = config.stack(config.stem_blocks, dtype=dtype, rngs=rngs, **run)
        self.dtype = dtype

    def embed(
        self,
        images: Float[Array, "N P P 3"] | Float[Array, "N T pixels"],
        rows: Rows | None = None,
        *,
        visible_only: bool = False,
    ) -> Stream:
        """Makes the blocks' input: class token and patches with their positions, after `pre_norm`.

        Args:
          images: Normalized images; or, with `rows`, the patches at their places (`rows.take_patches`).
          rows: Layout of packed patches; None for whole images.
          visible_only: Whether black patches are hidden from all tokens.
        """
        patches = images
        if not self.has_class_token:  # its patches needn't fill the image
            side = images.shape[1] // self.patch_size * self.patch_size
            images = images[:, :side, :side]
        if rows is None:
            cut = cut_patches(images, self.patch_size)
            patches = cut.reshape(*cut.shape[:2], -1)
        # A convolution whose stride is its size is one matrix product over flattened patches.
        kernel = self.patch[...].reshape(-1, self.patch.shape[-1]).astype(self.dtype)
        x = patches.astype(self.dtype) @ kernel
        if not self.has_class_token:
            return Stream(x + self.position[...].astype(self.dtype), None)
        cls = self.cls[...].astype(self.dtype)
        shown = shows_something(patches) if visible_only else None
        if rows is None:
            first = jnp.broadcast_to(cls, (len(x), 1, len(cls)))
            x, position = jnp.concatenate([first, x], axis=1), jnp.arange(1 + x.shape[1])
            sequence = None
            if shown is not None:
                sequence = jnp.where(jnp.pad(shown, ((0, 0), (1, 0)), constant_values=True), 0, -1)
        else:
            is_first = rows.position == 0
            x, position = jnp.where(is_first[..., None], cls, x), rows.position
            sequence = rows.sequence
            if shown is not None:
                sequence = jnp.where(is_first | shown, sequence, -1)
        return Stream(self.pre_norm(x + self.position[...].astype(self.dtype)[position]), sequence)

    def blocks(self, stream: Stream) -> Stream:
        return stream._replace(x=self.stack(stream.x, stream.sequence))


class VisionTrunk(nnx.Module):
    """The later blocks, then `post_norm`, of which the class token is read out, or all tokens are pooled."""

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs, **run):
        self.stack = config.stack(config.depth - config.stem_blocks, dtype=dtype, rngs=rngs, **run)
        self.post_norm = nnx.LayerNorm(config.width, epsilon=config.eps, dtype=dtype, rngs=rngs)
        self.has_class_token = config.has_class_token
        if not self.has_class_token:
            sizes = config.width, config.heads, config.mlp_dim, config.activation, config.eps
            self.pooling = AttentionPool(*sizes, dtype=dtype, rngs=rngs)

    def blocks(self, stream: Stream) -> Stream:
        return stream._replace(x=self.stack(stream.x, stream.sequence))

    def pool(self, stream: Stream, rows: Rows | None = None) -> Float[Array, "V W"]:
        """Reads out the class tokens of what `blocks` returns, or pools all its tokens."""
        if not self.has_class_token:
            return self.pooling(self.tokens(stream))
        return self.post_norm(stream.x[:, 0] if rows is None else read_out(stream.x, rows))

    def tokens(self, stream: Stream) -> Float[jax.Array, "N T W"]:
        """The patch tokens of what `blocks` returns for whole views, without the class token."""
        return self.post_norm(stream.x[:, 1:] if self.has_class_token else stream.x)


class TextStem(nnx.Module):
    """Token and position embeddings and the first blocks, causal in CLIP."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs, **run):
        init = nnx.initializers.normal
        self.token = nnx.Param(init(0.02)(rngs.params(), (config.vocab_size, config.width)))
        self.position = nnx.Param(init(0.01)(rngs.params(), (config.max_length, config.width)))
        self.stack = config.stack(config.stem_blocks, dtype=dtype, rngs=rngs, **run)
        self.dtype, self.causal = dtype, config.causal

    def embed(self, ids: Int[Array, "N L"], rows: Rows | None = None) -> Stream:
        """Makes the blocks' input: tokens with their positions; with `rows`, a row holds several texts."""
        position = jnp.arange(ids.shape[1]) if rows is None else rows.position
        # Gather the table first: with a split table, the tokens of the whole batch would have to move instead.
        x = gather_parameter(self.token[...])[ids] + self.position[...][position]
        return Stream(x.astype(self.dtype), None if rows is None else rows.sequence)

    def blocks(self, stream: Stream) -> Stream:
        return stream._replace(x=self.stack(stream.x, stream.sequence, causal=self.causal))


class TextTrunk(nnx.Module):
    """The later blocks, then through `final_norm` the first end-of-text position, or in SigLIP the last one.

    No padding mask is needed: with a causal mask the pooled position sees only the tokens up to it, and without
    one, as in SigLIP, the tower was trained with the padding in view.
    """

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs, **run):
        self.eos_id, self.causal = config.eos_id, config.causal
        self.stack = config.stack(config.depth - config.stem_blocks, dtype=dtype, rngs=rngs, **run)
        self.final_norm = nnx.LayerNorm(config.width, epsilon=config.eps, dtype=dtype, rngs=rngs)

    def blocks(self, stream: Stream) -> Stream:
        return stream._replace(x=self.stack(stream.x, stream.sequence, causal=self.causal))

    def pool(
        self, stream: Stream, ids: Int[Array, "N L"], rows: Rows | None = None
    ) -> Float[Array, "V W"]:
        """Reads out the texts' ends of what `blocks` returns."""
        if rows is not None:
            return self.final_norm(read_out(stream.x, rows))
        if not self.causal:
            return self.final_norm(stream.x[:, -1])
        first_eos = jnp.argmax(ids == self.eos_id, axis=1)  # 0 if there is none: an empty slot
        pooled = jnp.take_along_axis(stream.x, first_eos[:, None, None], axis=1)[:, 0]
        return self.final_norm(pooled)


class Head(nnx.Module):
    """Linear with bias, then layer norm: from a tower's width to the embedding space."""

    def __init__(self, width: int, embed_dim: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        init = nnx.initializers.normal(width**-0.5)
        self.projection = nnx.Linear(width, embed_dim, kernel_init=init, dtype=dtype, rngs=rngs)
        # torch.nn.LayerNorm's default epsilon, which the reference's heads use.
        self.norm = nnx.LayerNorm(embed_dim, epsilon=1e-5, dtype=jnp.float32, rngs=rngs)

    def __call__(self, x: Float[jax.Array, "N W"]) -> Float[jax.Array, "N D"]:
        return self.norm(self.projection(x))
