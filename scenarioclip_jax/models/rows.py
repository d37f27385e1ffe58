"""Rows of tokens that hold several sequences: which tokens see each other, and where each is read out.

A row may hold several short sequences (`data.batch.Rows`), as in NaViT (Dehghani et al. 2023), or one sequence
with tokens that none should see. Both cases are encoded in `sequence`, [N, T]: a token sees the tokens with the
same number.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.data.batch import Rows
from scenarioclip_jax.data.normalization import CLIP_MEAN, CLIP_STD
from scenarioclip_jax.patches import cut_patches

BLACK = tuple(-mean / std for mean, std in zip(CLIP_MEAN, CLIP_STD, strict=True))
# Half a gray level in a normalized image, in the channel where it is smallest.
DIM = 0.5 / 255 / max(CLIP_STD)


class Stream(NamedTuple):
    """A tower's residual stream, and `sequence`; None if all tokens of a row see each other."""

    x: Float[Array, "N T W"]
    sequence: Int[Array, "N T"] | None


def merge_groups(rows: Rows) -> Rows:
    """`position` and `sequence` as the towers see them, groups flattened: [G * N, T]. `read` stays [G, V]."""
    position, sequence = (x.reshape(-1, x.shape[-1]) for x in (rows.position, rows.sequence))
    return Rows(position, sequence, rows.read)


def read_out(x: Float[Array, "N T W"], rows: Rows) -> Float[Array, "V W"]:
    """The token at which each slot's sequence is read out; V counts the slots of all groups."""
    groups, slots = rows.read.shape
    x = x.reshape(groups, -1, x.shape[-1])
    taken = jax.vmap(lambda tokens, index: tokens[index])(x, rows.read)
    return taken.reshape(groups * slots, -1)


def shows_something(patches: Float[Array, "N T pixels"]) -> Bool[Array, "N T"]:
    """Which patches of normalized images aren't black."""
    colors = patches.astype(jnp.float32).reshape(*patches.shape[:-1], -1, 3)
    return (jnp.abs(colors - jnp.asarray(BLACK)) > DIM).any((-2, -1))


def take_patches(
    pictures: Float[Array, "G V P P 3"], rows: Rows, size: int
) -> Float[Array, "GN T pixels"]:
    """Takes the patches that packed rows hold. Values at class tokens and empty tokens are meaningless."""
    slot, patch = jnp.maximum(rows.sequence, 0), jnp.maximum(rows.position - 1, 0)
    patches = cut_patches(pictures, size)
    taken = jax.vmap(lambda of_group, *at: of_group[at])(patches, slot, patch)
    return taken.reshape(-1, slot.shape[-1], taken[0, 0, 0].size)


def join(streams: Sequence[Stream], groups: int) -> Stream:
    """Joins streams with rows of one length into one batch, group by group."""
    if len(streams) == 1:
        return streams[0]

    def together(*arrays: Array) -> Array:
        grouped = [x.reshape(groups, -1, *x.shape[1:]) for x in arrays]
        joined = jnp.concatenate(grouped, axis=1)
        return joined.reshape(-1, *joined.shape[2:])

    return jax.tree.map(together, *streams)


def separate(stream: Stream, counts: Sequence[int], groups: int) -> list[Stream]:
    """The inverse of `join`; `counts` are the numbers of rows of the streams."""
    if len(counts) == 1:
        return [stream]
    ends = np.cumsum(counts) // groups

    def part(x: Array, low: int, high: int) -> Array:
        x = x.reshape(groups, -1, *x.shape[1:])[:, low:high]
        return x.reshape(-1, *x.shape[2:])

    bounds = zip((0, *ends), ends, strict=False)
    return [jax.tree.map(lambda x, b=b: part(x, *b), stream) for b in bounds]
