"""`TrainState`: everything that an optimizer step reads or changes, and its value at the start of a run."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from scenarioclip_jax.models.params import Params


class TrainState(NamedTuple):
    """Trainable and frozen parameters are separate from the start: a frozen one has no gradient, no
    optimizer state and no EMA copy. All mappings are from parameter path to array."""

    step: jax.Array  # int32 []: batches trained on
    skipped: jax.Array  # int32 []: batches skipped for a NaN or infinite loss or gradient
    ema_steps: jax.Array  # int32 []: updates of the EMA, including those before this run
    trainable: Params
    frozen: Params
    ema: Params  # averages of the trainable ones, or of those the teacher uses; empty if there is no EMA
    opt_state: optax.OptState

    def student(self) -> Params:
        return self.frozen | self.trainable

    def teacher(self) -> Params:
        """All parameters of the teacher; those without an average are the student's."""
        return self.frozen | self.trainable | self.ema

    def weights(self) -> dict[str, Params]:
        """The models that the state holds: `student`, and `ema` if all trainable parameters are averaged."""
        whole = bool(self.ema) and self.ema.keys() == self.trainable.keys()
        return {"student": self.student()} | ({"ema": self.teacher()} if whole else {})


def new_state(
    params: Params,
    trains: dict[str, bool],
    optimizer: optax.GradientTransformation,
    *,
    averaged: Callable[[str], bool],
    ema: Params | None = None,
    ema_steps: int | jax.Array = 0,
) -> TrainState:
    """Returns the state of step 0.

    Args:
      params: All parameters.
      trains: Maps each parameter's path to whether it is trained.
      averaged: Tells by path whether a trainable parameter is averaged; the average starts as a copy.
      ema: The teacher's trainable parameters, if they are known and differ from the student's.
      ema_steps: Updates that such a teacher already had; its warm-up continues from there.
    """
    trainable = {path: value for path, value in params.items() if trains[path]}
    frozen = {path: value for path, value in params.items() if not trains[path]}
    kept = [path for path in trainable if averaged(path)]
    if ema and kept:
        teacher = {path: ema[path] for path in kept}
    else:
        ema_steps = 0
        # The teacher needs arrays of its own, because the student's are donated to the train step.
        teacher = {path: jnp.copy(trainable[path]) for path in kept}
    zero = jnp.int32(0)
    return TrainState(
        zero, zero, jnp.int32(ema_steps), trainable, frozen, teacher, optimizer.init(trainable)
    )
