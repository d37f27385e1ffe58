"""`TrainState`: everything that an optimizer step changes or reads, and how a run starts with it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from scenarioclip_jax.models.params import Params


class TrainState(NamedTuple):
    """Trainable and frozen parameters are apart from the start: a frozen one has no gradient, no
    optimizer state and no EMA copy. All mappings are from parameter path to array."""

    step: jax.Array  # int32 []: batches trained on
    skipped: jax.Array  # int32 []: of them left out, because their loss or gradient was no number
    ema_steps: jax.Array  # int32 []: updates of the EMA, those before this run included
    trainable: Params
    frozen: Params
    ema: Params  # of the trainable ones; empty where no EMA is kept
    opt_state: optax.OptState

    def student(self) -> Params:
        return self.frozen | self.trainable

    def teacher(self) -> Params:
        return self.frozen | self.ema


def new_state(
    params: Params,
    trains: dict[str, bool],
    optimizer: optax.GradientTransformation,
    *,
    keep_ema: bool,
    ema: Params | None = None,
    ema_steps: int | jax.Array = 0,
) -> TrainState:
    """The state of step 0.

    Args:
      params: all parameters.
      trains: by path, whether the parameter is trained.
      keep_ema: whether there is a teacher; it starts as a copy of the student.
      ema: the teacher's trainable parameters, if they are known and not a copy.
      ema_steps: updates that such a teacher already had; its warm-up goes on from there.
    """
    trainable = {path: value for path, value in params.items() if trains[path]}
    frozen = {path: value for path, value in params.items() if not trains[path]}
    if not keep_ema:
        teacher = {}
    elif ema:
        teacher = {path: ema[path] for path in trainable}
    else:
        ema_steps = 0
        # Arrays of its own: the student's are donated to the train step.
        teacher = {path: jnp.copy(value) for path, value in trainable.items()}
    zero = jnp.int32(0)
    return TrainState(
        zero, zero, jnp.int32(ema_steps), trainable, frozen, teacher, optimizer.init(trainable)
    )
