"""Divergences between a model's own levels, which `scenario_clip_2` has in place of a teacher.

It is known from an earlier, unpublished version of the reference, of which a description alone is at hand: one
pair of towers, and for each of the three pairs of levels in each modality a divergence, both ways round. What
that leaves open is settled here as distillation is: softmaxes over the dimensions, no gradient to the target,
and means over a scene's slots, then over scenes.
"""

from collections.abc import Mapping
from itertools import permutations
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.losses.distillation import SCALINGS, Members


class _Scenes(NamedTuple):
    """What a divergence needs to know of a level, as means over each scene's slots."""

    target: Float[Array, "G S D"]  # probabilities
    log_target: Float[Array, "G S"]  # sum over D of target * log target
    log_student: Float[Array, "G S D"]
    present: Bool[Array, "G S"]


def divergence_between_levels(
    image: Mapping[str, Float[Array, "G _ D"]],
    text: Mapping[str, Float[Array, "G _ D"]],
    slots: Mapping[str, Members],
    *,
    scaling: str,
    temperature: float,
    student_temperature: float | None = None,
) -> Float[Array, ""]:
    """The sum over modalities and ordered pairs of levels (a, b) of the mean of KL(a ‖ b).

    A scene's mean is over all pairs of its slots at the two levels; scenes that lack one of the levels aren't
    counted. It takes no pairs: with targets p and students q, the mean of sum(p (log p - log q)) over pairs is
    mean(sum(p log p)) - sum(mean(p) mean(log q)).

    Args:
      image, text: Embeddings by level, not normalized; of `global`, N = S.
      slots: The slots of each level. A scene whose slot of the level `global` is masked has no text.
      scaling, temperature, student_temperature: As for `losses.distillation.kl`.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"scaling is {scaling!r}; it must be one of {', '.join(SCALINGS)}")
    cool = temperature if student_temperature is None else student_temperature
    scenes = image["global"].shape[1]
    everywhere = slots["global"]._replace(mask=jnp.ones_like(slots["global"].mask))
    total = jnp.float32(0.0)
    for embeddings, of_global in ((image, everywhere), (text, slots["global"])):
        where = {**slots, "global": of_global}
        levels = {
            level: _of_scenes(x, where[level], scenes, temperature, cool)
            for level, x in embeddings.items()
        }
        for a, b in permutations(levels.values(), 2):
            crossed = jnp.sum(a.target * b.log_student, axis=-1)
            both = a.present & b.present
            divergence = jnp.where(both, a.log_target - crossed, 0.0)
            total += divergence.sum() / jnp.maximum(both.sum(), 1)
    if scaling == "published":
        return total / image["global"].shape[-1] * cool**2
    return total


def _of_scenes(
    x: Float[Array, "G N D"], slots: Members, scenes: int, temperature: float, cool: float
) -> _Scenes:
    mask = slots.mask.astype(jnp.float32)
    count = _sums(mask, slots, scenes)

    def mean(values: Array) -> Array:
        kept = values * mask.reshape(*mask.shape, *[1] * (values.ndim - 2))
        shape = *count.shape, *[1] * (values.ndim - 2)
        return _sums(kept, slots, scenes) / jnp.maximum(count, 1).reshape(shape)

    x = x.astype(jnp.float32)
    target = jnp.clip(jax.nn.softmax(jax.lax.stop_gradient(x) / temperature), 1e-8, 1.0)
    log_target = jnp.sum(target * jnp.log(target), axis=-1)
    log_student = jax.nn.log_softmax(x / cool)
    return _Scenes(mean(target), mean(log_target), mean(log_student), count > 0)


def _sums(values: Array, slots: Members, scenes: int) -> Array:
    """Sums over each scene's slots, within a group."""
    add = jax.vmap(lambda x, index: jax.ops.segment_sum(x, index, num_segments=scenes))
    return add(values, slots.scene)
