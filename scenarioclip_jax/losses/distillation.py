"""Distillation between levels: an EMA teacher's embeddings are targets for the student at another level.

Visual: the teacher's embedding of the whole image is the target for each object and relation embedding of that
scene. Text: the teacher's object and relation text embeddings are targets for the scene's action embedding.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Shaped

from scenarioclip_jax.arrays import Array

SCALINGS = ("published", "plain")
# The levels at which the teacher's embeddings are targets, by tower.
TEACHER_LEVELS = {"vision": ("global",), "text": ("object", "relation")}


def distills_with(path: str) -> bool:
    """Whether the teacher uses a parameter, given by its path."""
    tower, *rest = path.split("/")  # TOWER/PART/BRANCH/…; for the losses' own parameters KIND/LEVEL
    return tower in TEACHER_LEVELS and rest[1] in (*TEACHER_LEVELS[tower], "shared")


class Members(NamedTuple):
    """Which scene each slot of a level belongs to. G packing groups, N slots and S scenes per group."""

    scene: Int[Array, "G N"]  # index along S
    mask: Bool[Array, "G N"]


def kl(
    student: Float[Array, "... D"],
    teacher: Float[Array, "... D"],
    *,
    scaling: str,
    temperature: float | Float[Array, ""],
    student_temperature: float | Float[Array, ""] | None = None,
) -> Float[Array, "..."]:
    """KL(teacher ‖ student) of softmaxes over the embedding's D dimensions, one value per row.

    `published` is the reference's arithmetic: teacher probabilities are clamped to [1e-8, 1], and the sum over
    dimensions is divided by D (a batch mean over the wrong axis) and multiplied by the square of the student's
    temperature. At temperature 0.07 and D = 512 this is 1e-5 of the divergence, so it trains nothing. `plain`
    omits both factors and gives the divergence itself.

    Args:
      student, teacher: Embeddings, not normalized. No gradient flows to the teacher.
      temperature: Temperature of the teacher, and of the student unless `student_temperature` is given.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"scaling is {scaling!r}; it must be one of {', '.join(SCALINGS)}")
    if student_temperature is None:
        student_temperature = temperature
    teacher = jax.lax.stop_gradient(teacher).astype(jnp.float32)
    target = jnp.clip(jax.nn.softmax(teacher / temperature), 1e-8, 1.0)
    log_student = jax.nn.log_softmax(student.astype(jnp.float32) / student_temperature)
    divergence = jnp.sum(target * (jnp.log(target) - log_student), axis=-1)
    if scaling == "published":
        return divergence / student.shape[-1] * student_temperature**2
    return divergence


def of_scene(per_scene: Shaped[Array, "G S *D"], slots: Members) -> Shaped[Array, "G N *D"]:
    """The value of each slot's own scene. This gathers within a group, so groups never communicate."""
    return jax.vmap(lambda rows, index: rows[index])(per_scene, slots.scene)


def mean_over_scenes(values: Float[Array, "G N"], slots: Members, scenes: int) -> Float[Array, ""]:
    """The mean over each scene's slots, then over the scenes that have any; 0 if none has.

    The reference divides by zero for a scene without objects; here such a scene isn't counted.
    """
    segment_sum = jax.vmap(lambda x, index: jax.ops.segment_sum(x, index, num_segments=scenes))
    mask = slots.mask.astype(values.dtype)
    count = segment_sum(mask, slots.scene)
    total = segment_sum(jnp.where(slots.mask, values, 0.0), slots.scene)
    present = count > 0
    return jnp.sum(total / jnp.maximum(count, 1)) / jnp.maximum(present.sum(), 1)


def distillation_loss(
    student_image: Mapping[str, Float[Array, "G _ D"]],
    student_text: Mapping[str, Float[Array, "G _ D"]],
    teacher_image: Mapping[str, Float[Array, "G _ D"]],
    teacher_text: Mapping[str, Float[Array, "G _ D"]],
    slots: Mapping[str, Members],
    **kl_arguments,
) -> Float[Array, ""]:
    """The sum of the four terms.

    Args:
      student_image, student_text, teacher_image, teacher_text: Embeddings by level; of `global`, N = S.
      slots: The slots of each level. A scene whose slot of the level `global` is masked has no text; its
        textual terms are 0.
      **kl_arguments: Arguments of `kl`.
    """
    scenes = student_image["global"].shape[1]
    total = jnp.float32(0.0)
    told = slots["global"].mask
    for level, where in slots.items():
        if level == "global":
            continue
        target = of_scene(teacher_image["global"], where)
        visual = kl(student_image[level], target, **kl_arguments)
        summary = of_scene(student_text["global"], where)
        textual = kl(summary, teacher_text[level], **kl_arguments)
        textual = jnp.where(of_scene(told, where), textual, 0.0)
        total += mean_over_scenes(visual + textual, where, scenes)
    return total
