"""Training views of objects and relations as packed rows hold them: only their visible patches are made.

The patches are those of `views.object_views` and `views.relation_views`. A whole view has 49 to 256 patches, of
which a few show something. Of a view as a whole only the mean is needed that contrast is changed around. It is
written as a sum over the view, which a compiler can add up without holding views; that for TPUs does.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.device.color import color_jitter, contrast_mean
from scenarioclip_jax.data.device.regions import Regions, take_scenes
from scenarioclip_jax.data.device.views import (
    Draws,
    ViewSettings,
    box_coverage,
    factors_of,
    normalize_pixels,
    regions,
)
from scenarioclip_jax.patches import cut_patches


def packed_patches(
    batch: Batch,
    level: str,
    center: Float[Array, "G S P P 3"],
    draws: Draws,
    settings: ViewSettings,
    size: int,
) -> Float[Array, "G N T pixels"]:
    """The normalized patches of a level's packed rows. Those of class tokens and empty tokens are meaningless.

    Args:
      level: `object` or `relation`.
      center: The scenes' center views, in 0-1.
      draws: The scenes' random numbers.
      size: Side of a patch, pixels.
    """
    slots = batch.levels[level]
    rows = slots.patch_rows
    assert rows is not None  # otherwise views aren't packed
    if level == "object":
        shown = _objects(batch, center)
    else:
        shown = regions(batch, center, settings, train=True)
    factors = factors_of(draws, slots.scene, settings.jitter[level])
    whole = take_scenes(shown.images, shown.image) * shown.visible[..., None]
    mean = contrast_mean(whole, factors)

    slot, patch = jnp.maximum(rows.sequence, 0), jnp.maximum(rows.position - 1, 0)
    visible = _take(cut_patches(shown.visible[..., None], size), slot, patch)
    pictures = _take(cut_patches(shown.images, size), _take(shown.image, slot), patch)
    jittered = color_jitter(pictures * visible, _take(factors, slot), _take(mean, slot))
    patches = normalize_pixels(jittered * (visible > 0), settings.dtype)
    return patches.reshape(*slot.shape, -1)


def _take(values: Array, *index: Int[Array, "G N T"]) -> Array:
    """`values[g][index]` of every group: [G, a, b, ...] to [G, N, T, ...]."""
    return jax.vmap(lambda of_group, *at: of_group[at])(values, *index)


def _objects(batch: Batch, center: Float[Array, "G S P P 3"]) -> Regions:
    objects = batch.levels["object"]
    assert objects.box is not None  # the level always has it
    return Regions(center, objects.scene, box_coverage(objects.box, center.shape[2]))
