"""AdamW with (regex, value) lists, linear warm-up then cosine, and the schedule of the EMA teacher."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from scenarioclip_jax import rules
from scenarioclip_jax.models.params import Params
from scenarioclip_jax.train.lora import factor_paths, lora

MU_DTYPES = ("float32", "bfloat16")


def warmup_cosine(
    *, learning_rate: float, steps: int, warmup_fraction: float, warmup_start: float
) -> optax.Schedule:
    """Linear from `warmup_start * learning_rate` to `learning_rate`, then half a cosine to 0 at `steps`.

    Args:
      learning_rate: The highest rate, reached at the end of the warm-up.
      steps: Optimizer steps of the whole run.
      warmup_fraction: Share of the steps that warm up, at least one step.
      warmup_start: The rate at step 0 as a share of `learning_rate`.
    """
    warmup = max(1, round(steps * warmup_fraction))
    return optax.join_schedules(
        [
            optax.linear_schedule(warmup_start * learning_rate, learning_rate, warmup),
            optax.cosine_decay_schedule(learning_rate, max(1, steps - warmup)),
        ],
        [warmup],
    )


def _scale_updates(factors: Mapping[str, np.ndarray]) -> optax.GradientTransformation:
    """Scales updates; a factor is one number, or one for each entry of the first axis."""

    def scaled(updates: Any, _: Any) -> Params:
        return {path: u * _along_first(factors[path], u.ndim) for path, u in updates.items()}

    return optax.stateless(scaled)


def _along_first(factor: np.ndarray, ndim: int) -> np.ndarray | float:
    return factor.reshape(-1, *[1] * (ndim - 1)) if factor.size > 1 else float(factor.item())


def _decay_weights(rates: dict[str, float]) -> optax.GradientTransformation:
    def decayed(updates: Any, params: Any) -> Params:
        return {
            path: u + rates[path] * params[path] if rates[path] else u
            for path, u in updates.items()
        }

    return optax.stateless(decayed)


def _adam(mu_dtype: str, **arguments) -> optax.GradientTransformation:
    """`optax.scale_by_adam` that stores the first moment in another type but still computes in float32.

    Optax's own `mu_dtype` also computes in that type; bfloat16 rounds 0.9 to 0.898, which makes updates 1.5%
    too small.
    """
    adam = optax.scale_by_adam(**arguments)

    # Trees are Any: Optax's own types allow every tree, not just a state of Adam and mappings from paths.
    def kept_as(state: Any, dtype: str) -> optax.ScaleByAdamState:
        return state._replace(mu={path: x.astype(dtype) for path, x in state.mu.items()})

    def init(params: Any) -> optax.ScaleByAdamState:
        return kept_as(adam.init(params), mu_dtype)

    def update(updates, state, params=None):
        updates, state = adam.update(updates, kept_as(state, "float32"), params)
        return updates, kept_as(state, mu_dtype)

    return optax.GradientTransformation(init, update)


def make_optimizer(
    paths: Sequence[str],
    *,
    schedule: optax.Schedule,
    weight_decay: rules.Rules[float],
    learning_rate_scale: rules.Rules[float],
    layers: Mapping[str, np.ndarray] = MappingProxyType({}),
    lora_rank: rules.Rules[int] = ((".*", 0),),
    lora_scale: float = 2.0,
    lora_rate: float = 1.0,
    seed: int = 0,
    b1: float,
    b2: float,
    eps: float,
    clip_norm: float,
    mu_dtype: str = "float32",
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019) as PyTorch computes it: the decay is multiplied by the learning rate.

    Args:
      paths: Paths of the trainable parameters.
      schedule: The learning rate as a function of the steps taken.
      weight_decay: (regex, decay) pairs.
      learning_rate_scale: (regex, factor on the learning rate) pairs.
      layers: Further factors by path, see `train.layer_decay`; 1 where none is given.
      lora_rank: (regex, rank) pairs: parameters that change by a matrix of this rank only, see `train.lora`; 0
        for those that are trained as they are.
      lora_scale: Factor s on these matrices.
      lora_rate: Factor on the learning rate of the two matrices that each is the product of, which don't decay.
      seed: Seed of the first of the two.
      clip_norm: Limit on the global norm of the gradient.
      mu_dtype: Type in which the first moment is stored: float32 as published, or bfloat16, which takes half
        the memory.

    Raises:
      ValueError: `mu_dtype` is neither of these, or a rank isn't a whole number, at least 0.
    """
    if mu_dtype not in MU_DTYPES:
        raise ValueError(f"mu_dtype {mu_dtype!r} is not one of {', '.join(MU_DTYPES)}")
    decay = rules.match(weight_decay, paths, name="weight decay")
    scale = rules.match(learning_rate_scale, paths, name="learning-rate scale")
    ranks = rules.match(lora_rank, paths, name="lora_rank")
    if odd := [rank for rank in ranks.values() if type(rank) is not int or rank < 0]:
        raise ValueError(f"rules for lora_rank: {odd[0]!r} is not a whole number, at least 0")
    ones = np.ones(1)
    factors = {path: np.asarray(scale[path] * layers.get(path, ones), np.float32) for path in paths}
    if any(ranks.values()):
        of = factor_paths(ranks)
        decay = {path: 0.0 if ranks[own] else decay[own] for path, own in of.items()}
        factors = {
            path: factors[own] * (lora_rate if ranks[own] else 1) for path, own in of.items()
        }
    inner = optax.chain(
        optax.clip_by_global_norm(clip_norm),
        _adam(mu_dtype, b1=b1, b2=b2, eps=eps),
        _decay_weights(decay),
        _scale_updates(factors),
        optax.scale_by_learning_rate(schedule),
    )
    return lora(inner, ranks, scale=lora_scale, seed=seed) if any(ranks.values()) else inner


def ema_decay(step: jax.Array, *, decay: float, warmup_steps: int) -> jax.Array:
    """The teacher's decay at update `step`, counted from 0: rises linearly to `decay`.

    The shape of the published warm-up is not known. With a linear ramp the teacher starts as the student itself
    and its memory grows as the student settles, so random weights are never distilled for long.
    """
    return decay * jnp.minimum(1.0, step / max(1, warmup_steps))


def ema_update(ema: Params, params: Params, decay: jax.Array) -> Params:
    """One step of the exponential moving average over the trainable parameters."""
    # Exact when both are equal, unlike decay * ema + (1 - decay) * params.
    return {path: value + (1 - decay) * (params[path] - value) for path, value in ema.items()}
