"""`TrainState`: everything that an optimizer step changes or reads, and how a run starts with it."""

from collections.abc import Callable
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
    ema: Params  # of the trainable ones, or of those that the teacher runs; empty where no EMA is kept
    opt_state: optax.OptState

    def student(self) -> Params:
        return self.frozen | self.trainable

    def teacher(self) -> Params:
        """All parameters. Where the average is kept in part, the student's stand for the others."""
        return self.frozen | self.trainable | self.ema

    def weights(self) -> dict[str, Params]:
        """The models that the state holds: `student`, and `ema` where all of its average is kept."""
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
    """The state of step 0.

    Args:
      params: all parameters.
      trains: by path, whether the parameter is trained.
      averaged: of which trainable parameters an average is kept, by path; it starts as a copy.
      ema: the teacher's trainable parameters, if they are known and not a copy.
      ema_steps: updates that such a teacher already had; its warm-up goes on from there.
    """
    trainable = {path: value for path, value in params.items() if trains[path]}
    frozen = {path: value for path, value in params.items() if not trains[path]}
    kept = [path for path in trainable if averaged(path)]
    if ema and kept:
        teacher = {path: ema[path] for path in kept}
    else:
        ema_steps = 0
        # Arrays of its own: the student's are donated to the train step.
        teacher = {path: jnp.copy(trainable[path]) for path in kept}
    zero = jnp.int32(0)
    return TrainState(
        zero, zero, jnp.int32(ema_steps), trainable, frozen, teacher, optimizer.init(trainable)
    )
