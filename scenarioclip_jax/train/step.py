"""The train step: a pure function from (state, batch) to (state, metrics), jitted once by the loop."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding
from jax.typing import ArrayLike

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.data.batch import TRUE, Batch, Slots
from scenarioclip_jax.data.device.box_views import in_crop
from scenarioclip_jax.data.device.packed_views import packed_patches
from scenarioclip_jax.data.device.views import ViewSettings, draw_scenes, scene_views, views
from scenarioclip_jax.losses.candidates import Further
from scenarioclip_jax.losses.contrastive import MAX_SCALE
from scenarioclip_jax.losses.distillation import TEACHER_LEVELS, Members
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.params import Params
from scenarioclip_jax.models.rows import merge_groups, take_patches
from scenarioclip_jax.models.scenario_clip import Embeddings, Features, Inputs, ScenarioCLIP
from scenarioclip_jax.train.accumulate import embed_batch
from scenarioclip_jax.train.objective import Contrast, Level, objective
from scenarioclip_jax.train.optimizer import ema_decay, ema_update
from scenarioclip_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """What the step computes.

    Attributes:
      levels: The levels that are trained.
      distill_weight: Weight of the distillation loss; with 0 no teacher is run.
      distill: Arguments of `losses.distillation.kl`.
      divergence_weight: Weight of the divergences between levels.
      level_weights: Weights of the levels' contrastive losses.
      terms: Weights of the recipe's terms, see `train.objective.TERMS`.
      multi_positive: Whether equal texts in a batch are positives rather than negatives.
      ema: Arguments of `train.optimizer.ema_decay`.
      patch_size: Patch size of the vision tower, in pixels.
      frozen_stem: Whether all stem parameters are frozen, so that student and teacher share the stem's output.
      accumulate: Number of parts in which the batch goes through the towers, see `train.accumulate`.
      skip_nonfinite: Whether a step whose loss or gradient is NaN or infinite is only counted, not applied.
      sharding: Sharding of the batch.
      loss_dtype: Type of the factors in the contrastive losses' products.
    """

    levels: tuple[str, ...]
    distill_weight: float
    distill: Mapping
    divergence_weight: float
    level_weights: Mapping[str, float]
    terms: Mapping[str, float]
    multi_positive: bool
    ema: Mapping
    patch_size: int
    frozen_stem: bool
    accumulate: int
    skip_nonfinite: bool
    sharding: NamedSharding
    loss_dtype: str


def level_inputs(
    batch: Batch, settings: ViewSettings, levels, *, patch_size: int, pooled: bool = False
) -> Inputs:
    """The towers' inputs in training by level, with groups flattened: [G * N, ...].

    Args:
      patch_size: Patch size of the vision tower, in pixels.
      pooled: Whether objects and relations are boxes in the photo's view rather than views of their own.
    """
    # A jitted step computes only what is used of these, so not the whole views of packed objects and relations.
    shown = views(batch, settings, train=True)
    center, draws = scene_views(batch, settings), draw_scenes(batch, settings)
    images, ids, image_rows, text_rows, boxes = {}, {}, {}, {}, {}
    for level in levels:
        slots, image = batch.levels[level], shown[level]
        ids[level] = slots.tokens.reshape(-1, slots.tokens.shape[-1])
        if slots.text_rows is not None:
            text_rows[level] = merge_groups(slots.text_rows)
        if pooled and level != "global":
            boxes[level] = in_crop(batch, level, draws, settings)
            continue
        if slots.patch_rows is None:
            images[level] = image.reshape(-1, *image.shape[2:])
            continue
        image_rows[level] = merge_groups(slots.patch_rows)
        if level == "global":  # all of its patches show something
            images[level] = take_patches(image, slots.patch_rows, patch_size)
        else:
            patches = packed_patches(batch, level, center, draws, settings, patch_size)
            images[level] = patches.reshape(-1, *patches.shape[2:])
    return Inputs(images, ids, image_rows, text_rows, boxes)


def packing_metrics(batch: Batch, levels) -> dict[str, jax.Array]:
    """Shares of slots that are filled, and of objects and relations without a slot or hardly visible."""
    metrics = {"packing/texts_truncated": batch.truncated.sum()}
    for level in levels:
        slots = batch.levels[level]
        if level != "global":
            metrics[f"packing/{level}_fill"] = slots.mask.mean(dtype=jnp.float32)
            lost = (slots.count.sum() - slots.mask.sum()) / jnp.maximum(slots.count.sum(), 1)
            metrics[f"packing/{level}_left_out"] = lost.astype(jnp.float32)
            metrics[f"packing/{level}_hidden"] = slots.hidden.sum()
        if (further := slots.further) is not None:
            metrics[f"packing/{level}_further_fill"] = further.mask.mean(dtype=jnp.float32)
            lost = 1 - further.mask.sum() / jnp.maximum(further.count.sum(), 1)
            metrics[f"packing/{level}_further_left_out"] = lost.astype(jnp.float32)
        for name, rows in (("token", slots.text_rows), ("patch", slots.patch_rows)):
            if rows is not None:
                filled = (rows.sequence >= 0).mean(dtype=jnp.float32)
                metrics[f"packing/{level}_{name}_fill"] = filled
    if batch.scenes.text_rows is not None:  # a scene is left out if there is no room for its text
        wanted = batch.scenes.count.sum()
        left_out = (wanted - batch.scenes.mask.sum()) / jnp.maximum(wanted, 1)
        metrics["packing/global_left_out"] = left_out.astype(jnp.float32)
    return metrics


def _about(slots: Slots) -> Level:
    """What the objective has to know of a level."""
    further = None
    if (given := slots.further) is not None:
        true = given.kind == TRUE
        further = Further(given.slot, given.mask & true, given.mask & ~true, given.text)
    return Level(Members(slots.scene, slots.mask), slots.text, slots.pair, further)


def _by_level(params: Params, kind: str) -> Params:
    return {path.split("/")[1]: value for path, value in params.items() if path.startswith(kind)}


def embed(
    graph: nnx.GraphDef[ScenarioCLIP],
    view_settings: ViewSettings,
    settings: StepSettings,
    state: TrainState,
    trainable: Params,
    batch: Batch,
) -> tuple[Embeddings, Embeddings | None]:
    """Embeds with the student and, if it distills, with the teacher at the levels that are targets.

    All embeddings are [G, N, D] by level.

    Args:
      trainable: The student's trainable parameters, apart from `state` so that they can be differentiated by.
    """

    def grouped(embeddings: Embeddings) -> Embeddings:
        return jax.tree.map(lambda x: x.reshape(len(batch.seed), -1, x.shape[-1]), embeddings)

    # Set here rather than by the caller, because accumulation traces this a second time, in `pull_back`.
    with jax.sharding.use_abstract_mesh(settings.sharding.mesh.abstract_mesh):
        size = settings.patch_size
        groups = len(batch.seed)
        # Autodiff skips whatever depends only on frozen parameters: with a frozen stem the backward pass ends
        # at the first trainable block.
        student = parameters.merge(graph, state.frozen | trainable)
        inputs = level_inputs(
            batch, view_settings, settings.levels, patch_size=size, pooled=student.pools
        )
        features = student.stems(inputs, groups=groups)
        embeddings = grouped(student.trunks(features, inputs, groups=groups))
        if not settings.distill_weight:
            return embeddings, None
        teacher = parameters.merge(graph, state.teacher())
        images, texts = (partial(_only, levels=TEACHER_LEVELS[kind]) for kind in TEACHER_LEVELS)
        inputs = inputs._replace(images=images(inputs.images), ids=texts(inputs.ids))
        if settings.frozen_stem:
            features = Features(images(features.images), texts(features.texts))
        else:
            features = teacher.stems(inputs, groups=groups)
        taught = teacher.trunks(features, inputs, groups=groups)
        return embeddings, jax.lax.stop_gradient(grouped(taught))


def _only(of_levels: Mapping, levels: Collection[str]) -> dict:
    return {level: value for level, value in of_levels.items() if level in levels}


def shown_scale(path: str, value: jax.Array) -> jax.Array:
    """A loss parameter's effective value: scales are learned as logarithms and capped."""
    return jnp.minimum(jnp.exp(value), MAX_SCALE) if path.startswith("logit_scale") else value


def keep_if_nonfinite(old: TrainState, new: TrainState, value: Array) -> TrainState:
    """Returns `new` if `value` is finite; else `old` with `step` and `skipped` one higher."""
    kept = old._replace(step=old.step + 1, skipped=old.skipped + 1)
    return jax.tree.map(partial(jnp.where, jnp.isfinite(value)), new, kept)


def loss_and_gradient(
    graph: nnx.GraphDef[ScenarioCLIP],
    view_settings: ViewSettings,
    settings: StepSettings,
    state: TrainState,
    batch: Batch,
) -> tuple[dict[str, jax.Array], Params]:
    """Returns the metrics, of which `loss/total` is the loss, and its gradient by the trainable parameters."""
    levels = {level: _about(batch.levels[level]) for level in settings.levels}
    student, teacher, pull_back = embed_batch(
        partial(embed, graph, view_settings, settings, state),
        state.trainable,
        batch,
        settings.accumulate,
    )

    def loss(student: Embeddings, learned: Params):
        contrast = Contrast(
            _by_level(learned, "logit_scale"),
            _by_level(learned, "logit_bias"),
            settings.multi_positive,
            settings.sharding,
            settings.loss_dtype,
        )
        return objective(
            student,
            teacher,
            levels,
            contrast,
            distill_weight=settings.distill_weight,
            distill=settings.distill,
            divergence_weight=settings.divergence_weight,
            level_weights=settings.level_weights,
            terms=settings.terms,
        )

    learned = {k: v for k, v in state.student().items() if k.startswith("logit_")}
    (derivative, of_learned), metrics = jax.grad(loss, (0, 1), has_aux=True)(student, learned)
    gradient = pull_back(derivative)
    # The loss's own parameters aren't part of the towers, so the towers' gradient has zeros for them.
    gradient |= {path: of_learned[path] for path in learned if path in gradient}
    return metrics | {p: shown_scale(p, value) for p, value in learned.items()}, gradient


def make_train_step(
    graph: nnx.GraphDef[ScenarioCLIP],
    optimizer: optax.GradientTransformation,
    learning_rate: optax.Schedule,
    view_settings: ViewSettings,
    settings: StepSettings,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, ArrayLike]]]:
    """Returns a pure step function that closes over everything static; its state may be donated when jitted."""

    def train_step(state: TrainState, batch: Batch):
        metrics, gradient = loss_and_gradient(graph, view_settings, settings, state, batch)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.trainable)
        # Optax's own types allow every tree; this one is like its first argument.
        trainable = cast(Params, optax.apply_updates(state.trainable, updates))
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
