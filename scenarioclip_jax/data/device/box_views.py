"""Where objects and relations lie in the view of the whole photo, for models that pool regions from it."""

import jax.numpy as jnp
from jaxtyping import Float

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.data.batch import Batch, Boxes, Slots
from scenarioclip_jax.data.device.regions import take_scenes
from scenarioclip_jax.data.device.views import Draws, ViewSettings, center_window, view_size


def in_center(batch: Batch, level: str) -> Boxes:
    """Boxes in the photo's center view, as evaluation shows it."""
    slots = batch.levels[level]
    return Boxes(slots.scene, _boxes(slots) / view_size(batch))


def in_crop(batch: Batch, level: str, draws: Draws, settings: ViewSettings) -> Boxes:
    """Boxes in the photo's random resized crop, as training shows it; parts of them may be outside."""
    slots = batch.levels[level]
    shown = center_window(batch.photo_size, view_size(batch), settings.fit)
    shown, crop = (take_scenes(x, slots.scene)[..., None, :] for x in (shown, draws.window))
    low, high = _corners(in_center(batch, level).box)

    def moved(corner: Float[Array, "G V E 2"]) -> Float[Array, "G V E 2"]:
        of_photo = shown[..., :2] + corner * (shown[..., 2:] - shown[..., :2])
        return (of_photo - crop[..., :2]) / (crop[..., 2:] - crop[..., :2])

    return Boxes(slots.scene, jnp.concatenate([moved(low), moved(high)], axis=-1))


def _boxes(slots: Slots) -> Float[Array, "G V E 4"]:
    """The boxes of a level's slots in pixels of the center view: one of an object, two of a relation."""
    if slots.ends is not None:
        return slots.ends
    assert slots.box is not None  # objects always have it
    return slots.box[..., None, :]


def _corners(box: Float[Array, "*V 4"]) -> tuple[Float[Array, "*V 2"], Float[Array, "*V 2"]]:
    return box[..., :2], box[..., 2:]
