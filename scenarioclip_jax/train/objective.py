"""The training objective: contrastive losses of the levels, distillation, and the terms of a recipe."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Bool, DTypeLike, Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.losses import candidates
from scenarioclip_jax.losses.contrastive import sigmoid_loss, softmax_loss
from scenarioclip_jax.losses.distillation import Members, distillation_loss
from scenarioclip_jax.losses.divergence import divergence_between_levels
from scenarioclip_jax.losses.parts import parts_loss
from scenarioclip_jax.models.scenario_clip import Embeddings

# The terms that a recipe adds, each with its weight in `config.loss.terms`, and the level whose further texts
# (`data.packing.further`) they read, if any.
TERMS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(candidates.TERMS, "relation")
    | {"scene_texts": "", "scene_pictures": "", "captions": "global", "parts": ""}
)


class Level(NamedTuple):
    """What is known of a level's slots and of its texts."""

    slots: Members
    text: Int[Array, "G N"]  # ids of the texts; equal texts have equal ids
    pair: Int[Array, "G N"] | None = None  # relations: equal between the same two names
    further: candidates.Further | None = None


@dataclasses.dataclass(frozen=True)
class Contrast:
    """How images and texts of a level are contrasted over the global batch.

    Attributes:
      logit_scale: The learnable log of each level's scale.
      logit_bias: Bias of each level for the sigmoid loss; empty for the softmax loss.
      multi_positive: Whether equal texts are positives of each other; as published they are negatives.
      sharding: Sharding of the groups over a mesh; None if one device holds them all.
      dtype: Type of the factors in products of embeddings.
    """

    logit_scale: Mapping[str, jax.Array]
    logit_bias: Mapping[str, jax.Array] = dataclasses.field(default_factory=dict)
    multi_positive: bool = False
    sharding: NamedSharding | None = None
    dtype: DTypeLike = jnp.float32

    def __call__(
        self,
        level: str,
        image: Float[Array, "G N D"],
        text: Float[Array, "G N D"],
        mask: Bool[Array, "G N"],
        text_id: Int[Array, "G N"],
    ) -> Array:
        """The loss of a level's pairs that `mask` keeps."""
        pairs = image.reshape(-1, image.shape[-1]), text.reshape(-1, image.shape[-1])
        which = mask.reshape(-1), text_id.reshape(-1) if self.multi_positive else None
        how = {"sharding": self.sharding, "dtype": self.dtype}
        scale = self.logit_scale[level]
        if self.logit_bias:
            return sigmoid_loss(*pairs, scale, self.logit_bias[level], *which, **how)
        return softmax_loss(*pairs, scale, *which, **how)


def objective(
    student: Embeddings,
    teacher: Embeddings | None,
    levels: Mapping[str, Level],
    contrast: Contrast,
    *,
    distill_weight: float,
    distill: Mapping,
    level_weights: Mapping[str, float] = MappingProxyType({}),
    divergence_weight: float = 0.0,
    terms: Mapping[str, float] = MappingProxyType({}),
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes the total loss and its parts.

    Args:
      student, teacher: Embeddings by level, [G, N, D]; `teacher` is None for architectures without one. Behind
        the slots' own N texts may come F further ones.
      levels: Masks, owners and texts by level, including `global`, where a scene owns itself.
      contrast: How images and texts are contrasted.
      distill_weight: Weight of the distillation sum.
      distill: Arguments of `losses.distillation.kl`.
      level_weights: Weights of the levels in the contrastive sum; 1 where none is given.
      divergence_weight: Weight of the divergences between levels, whose arguments are those of `distill`, too.
      terms: Weights of the further terms, by the names in `TERMS`.
    """
    own = {level: student.text[level][:, : x.shape[1]] for level, x in student.image.items()}
    losses = {
        level: jnp.asarray(
            contrast(level, image, own[level], levels[level].slots.mask, levels[level].text)
        )
        for level, image in student.image.items()
    }
    metrics = {f"loss/{level}": loss for level, loss in losses.items()}
    total = sum(level_weights.get(level, 1.0) * loss for level, loss in losses.items())
    total = metrics["loss/contrastive"] = jnp.asarray(total)
    slots = {level: about.slots for level, about in levels.items()}
    if divergence_weight:
        apart = divergence_between_levels(student.image, own, slots, **distill)
        metrics["loss/divergence"] = jnp.asarray(apart)
        total = total + divergence_weight * apart
    if teacher is not None:
        taught = {level: x[:, : own[level].shape[1]] for level, x in teacher.text.items()}
        distilled = distillation_loss(student.image, own, teacher.image, taught, slots, **distill)
        metrics["loss/distillation"] = jnp.asarray(distilled)
        total = total + distill_weight * distilled
    for name, loss in _further_terms(student, own, levels, contrast, terms).items():
        metrics[f"loss/{name}"] = jnp.asarray(loss)
        total = total + terms[name] * loss
    return total, metrics | {"loss/total": total}


def _further_terms(
    student: Embeddings,
    own: Mapping[str, Float[Array, "G _ D"]],
    levels: Mapping[str, Level],
    contrast: Contrast,
    terms: Mapping[str, float],
) -> dict[str, Array]:
    """The terms whose weight isn't 0; `own` are the embeddings of the slots' own texts."""
    weights = {name: terms.get(name, 0.0) for name in TERMS}
    found: dict[str, Array] = {}
    if any(weights[name] for name in candidates.TERMS):
        about = levels["relation"]
        assert about.pair is not None  # relations always have it
        found |= candidates.relation_losses(
            student.image["relation"],
            student.text["relation"],
            contrast.logit_scale["relation"],
            about.slots.scene,
            about.slots.mask,
            about.pair,
            about.further,
            weights,
        )
    if weights["captions"]:
        photos, about = student.image["global"], levels["global"]
        assert about.further is not None  # as the config is checked
        text = student.text["global"]
        caption, ids, told = candidates.of_slots(text, about.further, own["global"])
        found["captions"] = contrast("global", photos, caption, told & about.slots.mask, ids)
    if weights["parts"]:
        photos = student.image["global"]
        how = {"sharding": contrast.sharding, "dtype": contrast.dtype}
        found["parts"] = jnp.float32(0.0)
        for level in ("object", "relation"):
            (scene, mask), text_id = levels[level].slots, levels[level].text
            scale = contrast.logit_scale[level]
            found["parts"] += parts_loss(own[level], photos, scale, text_id, mask, scene, **how)
    return found
