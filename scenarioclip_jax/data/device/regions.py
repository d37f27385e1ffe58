"""Focused regions on the device. Axis letters are those of `data.batch`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.region_styles import dimming, surroundings


class Regions(NamedTuple):
    """What the slots of a level show: images that are black but for a part. Several may share an image."""

    images: Float[Array, "G K P P 3"]  # in 0-1
    image: Int[Array, "G V"]  # each slot's, along K
    visible: Float[Array, "G V P P"]  # share of each pixel


def set_off(
    batch: Batch,
    center: Float[Array, "G S P P 3"],
    participants: Float[Array, "G R P P"],
    window: Float[Array, "G S 4"],
    style: str,
) -> Regions:
    """Regions whose surroundings are blurred instead of black.

    Args:
      batch: Batch on the device.
      center: The scenes' center views, in 0-1.
      participants: 1 where a view shows the participants.
      window: What the center views show, as shares of the photo.
      style: One of `data.region_styles.WITHOUT_BLACK`.
    """
    relations = batch.levels["relation"]
    around = surroundings(jnp, center, window, batch.photo_size, style)
    photo, around, window, photo_size = (
        take_scenes(x, relations.scene) for x in (center, around, window, batch.photo_size)
    )
    if style == "published":
        assert relations.centers is not None  # the style's batches have them
        dim = dimming(jnp, relations.centers, window, photo_size, center.shape[2])
        photo = photo * dim[..., None]
    images = jnp.where(participants[..., None] > 0, photo, around)
    own = jnp.broadcast_to(jnp.arange(images.shape[1]), relations.scene.shape)
    return Regions(images, own, jnp.ones_like(participants))


def take_scenes(per_scene: Array, scene: Int[Array, "G V"]) -> Array:
    """Takes the values of each slot's scene within its group: [G, S, ...] to [G, V, ...]."""
    return jax.vmap(lambda values, index: values[index])(per_scene, scene)
