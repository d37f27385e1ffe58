"""Weights between those before and after fine-tuning (WiSE-FT, Wortsman et al. 2022).

They often keep more of what the first ones knew than the last ones do, and lose little of the task.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from scenarioclip_jax.models.params import Params


class Share(NamedTuple):
    """The scores of weights in between.

    Attributes:
      share: Share of the fine-tuned weights; the rest are those that fine-tuning began with.
      validation, test: Scores by level (and by data set of a mixture); empty without such a split.
    """

    share: float
    validation: dict[str, float]
    test: dict[str, float]


def between(base: Params, tuned: Params, share: float) -> Params:
    """(1 - share) * base + share * tuned; equal parameters stay as they are, to the last bit."""
    if share in (0, 1):
        return {**tuned, **base} if share == 0 else dict(tuned)
    return {
        path: value if path not in base else base[path] + share * (value - base[path])
        for path, value in tuned.items()
    }


def placed(params: Mapping[str, Any], like: Mapping[str, Any]) -> Params:
    """Parameters from the host, on the devices as the arrays, or shapes with shardings, of `like` are."""
    return {
        path: jax.device_put(np.asarray(value, np.float32), like[path].sharding)
        for path, value in params.items()
    }


def compare(
    base: Params,
    tuned: Params,
    shares: Sequence[float],
    score: Callable[[Params, str], dict[str, float]],
) -> list[Share]:
    """Scores weights in between.

    Args:
      base: Parameters that fine-tuning began with, of those that it trained; on the same devices.
      tuned: All parameters that it ended with.
      shares: Shares of the fine-tuned weights, from 0 to 1.
      score: Scores of some weights on a split, "validation" or "test".
    """
    found = []
    for share in sorted(set(shares)):
        params = between(base, tuned, share)
        found.append(Share(float(share), score(params, "validation"), score(params, "test")))
    return found


def best_share(found: Sequence[Share]) -> float | None:
    """The share with the highest mean score in validation, of equal ones the smallest; None without scores."""
    scored = [(np.mean(list(each.validation.values())), each) for each in found if each.validation]
    return max(scored, key=lambda pair: (pair[0], -pair[1].share))[1].share if scored else None
