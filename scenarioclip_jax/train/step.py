"""The train step: a pure function from (state, batch) to (state, metrics), jitted once by the loop."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding

from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.packing import NAMES
from scenarioclip_jax.data.views import ViewSettings, views
from scenarioclip_jax.losses.contrastive import MAX_SCALE
from scenarioclip_jax.losses.distillation import TEACHER_LEVELS, Slots
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.params import Params
from scenarioclip_jax.models.rows import flatten, take_patches
from scenarioclip_jax.models.scenario_clip import LEVELS, Embeddings, Features, Inputs
from scenarioclip_jax.train.accumulate import embed_batch
from scenarioclip_jax.train.objective import objective
from scenarioclip_jax.train.optimizer import ema_decay, ema_update
from scenarioclip_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """What the step computes.

    Attributes:
      levels: that are trained.
      distill_weight: of the distillation loss; 0 runs no teacher.
      distill: arguments of `losses.distillation.kl`.
      multi_positive: equal texts of a batch are positives, not negatives.
      ema: arguments of `train.optimizer.ema_decay`.
      patch_size: of the vision tower, pixels.
      frozen_stem: no parameter of a stem is trained, so student and teacher share its output.
      accumulate: parts that the batch goes through the towers in, see `train.accumulate`.
      skip_nonfinite: a step whose loss or gradient is no number changes nothing and is counted.
      sharding: of the batch.
    """

    levels: tuple[str, ...]
    distill_weight: float
    distill: Mapping
    multi_positive: bool
    ema: Mapping
    patch_size: int
    frozen_stem: bool
    accumulate: int
    skip_nonfinite: bool
    sharding: NamedSharding


def level_inputs(batch: Batch, settings: ViewSettings, levels, *, patch_size: int) -> Inputs:
    """What the towers read in training, groups flattened: [G * N, ...] by level.

    Args:
      patch_size: of the vision tower, pixels.
    """
    pictures = views(batch, settings, train=True)
    images = dict(zip(LEVELS, pictures, strict=True))
    patch_rows = _of_levels(batch, "patch_rows", levels)
    text_rows = _of_levels(batch, "text_rows", levels)

    def flat(x):
        return x.reshape(-1, *x.shape[2:])

    def seen(level: str):
        if level in patch_rows:
            return take_patches(images[level], patch_rows[level], patch_size)
        return flat(images[level])

    return Inputs(
        {level: seen(level) for level in levels},
        {level: flat(ids) for level, ids in _of_levels(batch, "tokens", levels).items()},
        {level: flatten(rows) for level, rows in patch_rows.items()},
        {level: flatten(rows) for level, rows in text_rows.items()},
    )


def _of_levels(batch: Batch, kind: str, levels) -> dict:
    """A kind of field by level, where the batch has it."""
    fields = {level: getattr(batch, f"{NAMES[level]}_{kind}") for level in levels}
    return {level: field for level, field in fields.items() if field is not None}


def level_slots(batch: Batch) -> dict[str, Slots]:
    own = jnp.broadcast_to(jnp.arange(batch.scene_mask.shape[1]), batch.scene_mask.shape)
    return {
        "global": Slots(own, batch.scene_mask),
        "object": Slots(batch.object_scene, batch.object_mask),
        "relation": Slots(batch.relation_scene, batch.relation_mask),
    }


def packing_metrics(batch: Batch, levels) -> dict[str, jax.Array]:
    """Shares of slots that are filled, and of objects and relations that found no slot or hardly show."""
    metrics = {}
    for level, mask, count, hidden in (
        ("object", batch.object_mask, batch.object_count, batch.object_hidden),
        ("relation", batch.relation_mask, batch.relation_count, batch.relation_hidden),
    ):
        if level in levels:
            metrics[f"packing/{level}_fill"] = mask.mean(dtype=jnp.float32)
            lost = (count.sum() - mask.sum()) / jnp.maximum(count.sum(), 1)
            metrics[f"packing/{level}_left_out"] = lost.astype(jnp.float32)
            metrics[f"packing/hidden_{level}s"] = hidden.sum()
    metrics["packing/texts_truncated"] = batch.truncated.sum()
    for kind, name in (("text_rows", "token"), ("patch_rows", "patch")):
        for level, rows in _of_levels(batch, kind, levels).items():
            filled = (rows.sequence >= 0).mean(dtype=jnp.float32)
            metrics[f"packing/{NAMES[level]}_{name}_fill"] = filled
    if batch.scene_text_rows is not None:
        metrics["packing/scene_left_out"] = 1 - batch.scene_mask.mean(dtype=jnp.float32)
    return metrics


def _by_level(params: Params, kind: str) -> Params:
    return {path.split("/")[1]: value for path, value in params.items() if path.startswith(kind)}


def embed(
    graph: nnx.GraphDef,
    view_settings: ViewSettings,
    settings: StepSettings,
    state: TrainState,
    trainable: Params,
    batch: Batch,
) -> tuple[Embeddings, Embeddings | None]:
    """Embeddings of the student and, where it distils, of the teacher at the levels that are a target.

    All are [G, N, D] by level.

    Args:
      trainable: the student's, apart from `state`, to differentiate by.
    """

    def grouped(embeddings: Embeddings) -> Embeddings:
        return jax.tree.map(lambda x: x.reshape(len(batch.seed), -1, x.shape[-1]), embeddings)

    # Set here rather than by the caller: accumulation traces this a second time, in `pull_back`.
    with jax.sharding.use_abstract_mesh(settings.sharding.mesh.abstract_mesh):
        size = settings.patch_size
        inputs = level_inputs(batch, view_settings, settings.levels, patch_size=size)
        groups = len(batch.seed)
        # Autodiff never enters what only frozen parameters feed: with a frozen stem the backward pass ends
        # at the first trainable block.
        student = parameters.merge(graph, state.frozen | trainable)
        features = student.stems(inputs, groups=groups)
        embeddings = grouped(student.trunks(features, inputs))
        if not settings.distill_weight:
            return embeddings, None
        teacher = parameters.merge(graph, state.teacher())
        images, texts = (partial(_only, levels=TEACHER_LEVELS[kind]) for kind in TEACHER_LEVELS)
        inputs = inputs._replace(images=images(inputs.images), ids=texts(inputs.ids))
        if settings.frozen_stem:
            features = Features(images(features.images), texts(features.texts))
        else:
            features = teacher.stems(inputs, groups=groups)
        return embeddings, jax.lax.stop_gradient(grouped(teacher.trunks(features, inputs)))


def _only(of_levels: Mapping, levels: Collection[str]) -> dict:
    return {level: value for level, value in of_levels.items() if level in levels}


def shown_scale(path: str, value: jax.Array) -> jax.Array:
    """A parameter of the loss as it acts: scales are learned as logarithms and capped."""
    return jnp.minimum(jnp.exp(value), MAX_SCALE) if path.startswith("logit_scale") else value


def keep_if_nonfinite(old: TrainState, new: TrainState, value: jax.Array) -> TrainState:
    """`new` if `value` is a number; else `old`, with one step more done and one more skipped."""
    kept = old._replace(step=old.step + 1, skipped=old.skipped + 1)
    return jax.tree.map(partial(jnp.where, jnp.isfinite(value)), new, kept)


def make_train_step(
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    learning_rate: optax.Schedule,
    view_settings: ViewSettings,
    settings: StepSettings,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Closes over everything static; the result is pure and may be jitted with donation of the state."""

    def loss_and_gradient(state: TrainState, batch: Batch) -> tuple[dict[str, jax.Array], Params]:
        slots = {v: s for v, s in level_slots(batch).items() if v in settings.levels}
        text_id = {"global": batch.scene_text, "object": batch.object_text}
        text_id["relation"] = batch.relation_text
        student, teacher, pull_back = embed_batch(
            partial(embed, graph, view_settings, settings, state),
            state.trainable,
            batch,
            settings.accumulate,
        )

        def loss(student: Embeddings, learned: Params):
            return objective(
                student,
                teacher,
                _by_level(learned, "logit_scale"),
                slots,
                text_id if settings.multi_positive else None,
                distill_weight=settings.distill_weight,
                distill=settings.distill,
                logit_bias=_by_level(learned, "logit_bias"),
                sharding=settings.sharding,
            )

        learned = {k: v for k, v in state.student().items() if k.startswith("logit_")}
        (derivative, of_learned), metrics = jax.grad(loss, (0, 1), has_aux=True)(student, learned)
        gradient = pull_back(derivative)
        # The loss's own parameters are no part of the towers, which gave them a gradient of zero.
        gradient |= {path: of_learned[path] for path in learned if path in gradient}
        return metrics | {p: shown_scale(p, value) for p, value in learned.items()}, gradient

    def train_step(state: TrainState, batch: Batch):
        metrics, gradient = loss_and_gradient(state, batch)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.trainable)
        trainable = optax.apply_updates(state.trainable, updates)
        taken = state.step - state.skipped
        decay = ema_decay(state.ema_steps, **settings.ema)
        metrics |= packing_metrics(batch, settings.levels)
        metrics |= {"learning_rate": learning_rate(taken), "ema_decay": decay}
        metrics["gradient_norm"] = optax.global_norm(gradient)
        new = state._replace(
            step=state.step + 1,
            trainable=trainable,
            ema_steps=state.ema_steps + 1,
            ema=ema_update(state.ema, trainable, decay),
            opt_state=opt_state,
        )
        if settings.skip_nonfinite:
            new = keep_if_nonfinite(state, new, metrics["loss/total"] + metrics["gradient_norm"])
            metrics["skipped_steps"] = new.skipped
        return new, metrics

    return train_step
