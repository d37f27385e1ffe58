"""A whole photo knows its parts: each name and triplet finds the photos of the batch that show it.

So one embedding of a photo can be searched by what is in it, without a box.
"""

import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Bool, DTypeLike, Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.losses.contrastive import MAX_SCALE, ROW_SOFTMAX, normalize
from scenarioclip_jax.losses.pairwise import CHUNK, PairOptions, pairwise_sum

ROOM = 4  # times as many parts as scenes have on average are known of one scene


def parts_loss(
    text: Float[Array, "G N D"],
    image: Float[Array, "G S D"],
    logit_scale: Float[Array, ""],
    text_id: Int[Array, "G N"],
    mask: Bool[Array, "G N"],
    scene: Int[Array, "G N"],
    *,
    sharding: NamedSharding | None = None,
    chunk: int = CHUNK,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, ""]:
    """Cross-entropy of each part's text over the photos of the global batch that have any part.

    All photos that show something with that text are positives, and the target is uniform over them (Khosla et
    al. 2020, eq. 2, from text to image).

    Args:
      text: Embeddings of the parts' own texts, not normalized.
      image: Embeddings of the whole photos.
      logit_scale: Logarithm of the factor on the cosines, which is at most `MAX_SCALE`.
      text_id: Ids of the texts.
      mask: False for empty slots.
      scene: The photo of each part, along S.
      sharding, chunk, dtype: As in `contrastive.softmax_loss`.

    Returns:
      The mean over the parts; 0 if there are none.
    """
    label = jnp.where(mask, text_id, -1)
    shown = parts_of(label, scene, image.shape[1])
    rows, columns = (
        normalize(x.reshape(-1, x.shape[-1]).astype(jnp.float32)) for x in (text, image)
    )
    scale = jnp.minimum(jnp.exp(logit_scale), MAX_SCALE)
    total: Array = pairwise_sum(
        ROW_SOFTMAX,
        PairOptions(sharding, chunk, dtype),
        rows,
        columns,
        label.reshape(-1),
        shown.reshape(-1, shown.shape[-1]),
        scale,
        jnp.float32(0.0),
    )
    return total / jnp.maximum(mask.sum(), 1)


def parts_of(
    label: Int[Array, "G N"], scene: Int[Array, "G N"], scenes: int
) -> Int[Array, "G S K"]:
    """The labels of each scene's parts, filled up with -1.

    Of a scene with more than `ROOM` times the average of its slots the rest is left out: then a photo may count
    as one that doesn't show them.
    """
    room = -(-ROOM * label.shape[1] // scenes)
    own = (scene[..., None] == jnp.arange(scenes)) & (label >= 0)[..., None]  # [G, N, S]
    place = jnp.cumsum(own, axis=1) - 1  # each part's index within its scene
    place = jnp.where(own.any(-1), jnp.take_along_axis(place, scene[..., None], 2)[..., 0], room)
    groups = jnp.arange(len(label))[:, None]
    empty = jnp.full((len(label), scenes, room), -1, label.dtype)
    return empty.at[groups, scene, place].set(label, mode="drop")
