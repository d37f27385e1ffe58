"""The training objective: contrastive losses of the levels, distillation, and the terms of a recipe."""

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


def objective(
    student: Embeddings,
    teacher: Embeddings | None,
    logit_scale: Mapping[str, jax.Array],
    levels: Mapping[str, Level],
    *,
    distill_weight: float,
    distill: Mapping,
    multi_positive: bool = False,
    terms: Mapping[str, float] = MappingProxyType({}),
    logit_bias: Mapping[str, jax.Array] = MappingProxyType({}),
    sharding: NamedSharding | None = None,
    dtype: DTypeLike = jnp.float32,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes the total loss and its parts.

    Args:
      student, teacher: Embeddings by level, [G, N, D]; `teacher` is None for architectures without one. Behind
        the slots' own N texts may come F further ones.
      logit_scale: The learnable log of each level's scale.
      levels: Masks, owners and texts by level, including `global`, where a scene owns itself.
      distill_weight: Weight of the distillation sum; the contrastive sum has weight 1.
      distill: Arguments of `losses.distillation.kl`.
      multi_positive: Whether equal texts are positives of each other; as published they are negatives.
      terms: Weights of the further terms, by the names in `TERMS`.
      logit_bias: Bias of each level for the sigmoid loss; empty for the softmax loss.
      sharding: Sharding of the groups over a mesh; None if one device holds them all.
      dtype: Type of the factors in the contrastive losses' products.
    """

    def contrastive(
        level: str,
        image: Float[Array, "G N D"],
        text: Float[Array, "G N D"],
        mask: Bool[Array, "G N"],
        text_id: Int[Array, "G N"] | None = None,
    ) -> Array:
        pairs = image.reshape(-1, image.shape[-1]), text.reshape(-1, image.shape[-1])
        which = mask.reshape(-1), None if text_id is None else text_id.reshape(-1)
        how = {"sharding": sharding, "dtype": dtype}
        if logit_bias:
            return sigmoid_loss(*pairs, logit_scale[level], logit_bias[level], *which, **how)
        return softmax_loss(*pairs, logit_scale[level], *which, **how)

    metrics = {}
    own = {level: student.text[level][:, : x.shape[1]] for level, x in student.image.items()}
    for level, image in student.image.items():
        about = levels[level]
        alike = about.text if multi_positive else None
        loss = contrastive(level, image, own[level], about.slots.mask, alike)
        metrics[f"loss/{level}"] = loss
    metrics["loss/contrastive"] = jnp.asarray(sum(metrics.values()))
    total = metrics["loss/contrastive"]
    if teacher is not None:
        taught = {level: x[:, : own[level].shape[1]] for level, x in teacher.text.items()}
        slots = {level: about.slots for level, about in levels.items()}
        metrics["loss/distillation"] = distillation_loss(
            student.image, own, teacher.image, taught, slots, **distill
        )
        total = total + distill_weight * metrics["loss/distillation"]

    weights = {name: terms.get(name, 0.0) for name in TERMS}
    added = {}
    if any(weights[name] for name in candidates.TERMS):
        about = levels["relation"]
        assert about.pair is not None  # relations always have it
        added |= candidates.relation_losses(
            student.image["relation"],
            student.text["relation"],
            logit_scale["relation"],
            about.slots.scene,
            about.slots.mask,
            about.pair,
            about.further,
            weights,
        )
    if weights["captions"]:
        about = levels["global"]
        assert about.further is not None  # as the config is checked
        caption, text, has = candidates.of_slots(
            student.text["global"], about.further, own["global"]
        )
        added["captions"] = contrastive(
            "global",
            student.image["global"],
            caption,
            has & about.slots.mask,
            text if multi_positive else None,
        )
    if weights["parts"]:
        for level in ("object", "relation"):
            about = levels[level]
            added["parts"] = added.get("parts", 0.0) + parts_loss(
                own[level],
                student.image["global"],
                logit_scale[level],
                about.text,
                about.slots.mask,
                about.slots.scene,
                sharding=sharding,
                dtype=dtype,
            )
    for name, loss in added.items():
        metrics[f"loss/{name}"] = loss
        total = total + weights[name] * loss
    return total, metrics | {"loss/total": total}
