"""Means, intervals and ranks of several systems on a metric."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from scenarioclip_jax.evaluation.score.result import Metric

LEVEL = 0.975  # upper end of a 95% interval


class Estimate(NamedTuple):
    """A number with its 95% interval.

    Attributes:
      value: The number.
      low, high: Ends of the interval; None if there is none.
      over: What the interval is over: `seeds`, `photos` (or records), or nothing.
    """

    value: float
    low: float | None = None
    high: float | None = None
    over: str = ""


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of two or more runs with Student's t interval; of one run, its value without an interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean)
    half = float(stats.t.ppf(LEVEL, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return Estimate(mean, mean - half, mean + half, "seeds")


def paired_by_seed(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """The mean difference of runs that belong together in order, with Student's t interval."""
    return over_seeds([a - b for a, b in zip(ours, theirs, strict=True)])


def unpaired(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """The difference of the means of runs that don't belong together, with Welch's interval (Welch 1947)."""
    value = float(np.mean(ours) - np.mean(theirs))
    parts = [float(np.var(each, ddof=1)) / len(each) for each in (ours, theirs)]
    if not sum(parts):
        return Estimate(value, value, value, "seeds")
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, (ours, theirs), strict=True)
    )
    half = float(stats.t.ppf(LEVEL, freedom) * sum(parts) ** 0.5)
    return Estimate(value, value - half, value + half, "seeds")


def paired_by_photo(ours: Metric, theirs: Metric, seed: int, draws: int) -> Estimate:
    """The difference on the same samples, with the 95% percentile interval of a paired bootstrap over clusters.

    Both are resampled alike, so that what makes a photo hard for both doesn't widen the interval.

    Args:
      ours, theirs: The metric of both; equal in clusters, groups and statistic (`read.pairable`).
      seed: Seed of the resamples.
      draws: Their number.
    """
    found = ours.resamples(seed, draws) - theirs.resamples(seed, draws)
    low, high = np.quantile(found, (1 - LEVEL, LEVEL))
    return Estimate(ours.value - theirs.value, float(low), float(high), "photos")


def ranks(values: Sequence[float | None], *, smaller_is_better: bool = False) -> list[float | None]:
    """Ranks from 1, the best; equal values share the mean of their ranks. None stays None."""
    known = [value for value in values if value is not None]
    signed = [value if smaller_is_better else -value for value in known]
    of_known = iter(stats.rankdata(signed).tolist()) if known else iter(())
    return [None if value is None else next(of_known) for value in values]
