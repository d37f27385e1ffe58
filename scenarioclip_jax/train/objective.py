"""The training objective: contrastive losses of the levels, plus distillation where there is a teacher."""

from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import DTypeLike

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.losses.contrastive import sigmoid_loss, softmax_loss
from scenarioclip_jax.losses.distillation import Members, distillation_loss
from scenarioclip_jax.models.scenario_clip import Embeddings


def objective(
    student: Embeddings,
    teacher: Embeddings | None,
    logit_scale: Mapping[str, jax.Array],
    slots: Mapping[str, Members],
    text_id: Mapping[str, Array] | None,
    *,
    distill_weight: float,
    distill: Mapping,
    logit_bias: Mapping[str, jax.Array] = MappingProxyType({}),
    sharding: NamedSharding | None = None,
    dtype: DTypeLike = jnp.float32,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes the total loss and its parts.

    Args:
      student, teacher: Embeddings by level, [G, N, D]; `teacher` is None for architectures without one.
      logit_scale: The learnable log of each level's scale.
      slots: Masks and owners by level, including `global`, where a scene owns itself.
      text_id: Text ids by level, [G, N]; None makes equal texts negatives of each other, as published.
      distill_weight: Weight of the distillation sum; the contrastive sum has weight 1.
      distill: Arguments of `losses.distillation.kl`.
      logit_bias: Bias of each level for the sigmoid loss; empty for the softmax loss.
      sharding: Sharding of the groups over a mesh; None if one device holds them all.
      dtype: Type of the factors in the contrastive losses' products.
    """
    metrics = {}
    for level, image in student.image.items():
        pairs = (
            image.reshape(-1, image.shape[-1]),
            student.text[level].reshape(-1, image.shape[-1]),
        )
        which = (
            slots[level].mask.reshape(-1),
            None if text_id is None else text_id[level].reshape(-1),
        )
        how = {"sharding": sharding, "dtype": dtype}
        if logit_bias:
            loss = sigmoid_loss(*pairs, logit_scale[level], logit_bias[level], *which, **how)
        else:
            loss = softmax_loss(*pairs, logit_scale[level], *which, **how)
        metrics[f"loss/{level}"] = loss
    metrics["loss/contrastive"] = jnp.asarray(sum(metrics.values()))
    total = metrics["loss/contrastive"]
    if teacher is not None:
        metrics["loss/distillation"] = distillation_loss(
            student.image, student.text, teacher.image, teacher.text, slots, **distill
        )
        total = total + distill_weight * metrics["loss/distillation"]
    return total, metrics | {"loss/total": total}
