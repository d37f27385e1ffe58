"""Searches for the largest batch that fits, in few compilations, since each takes minutes."""

import math
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from scenarioclip_jax.aot.plan import Pod, plan, state_bytes
from scenarioclip_jax.console import say
from scenarioclip_jax.costs.chips import GIB

MOST_TRIALS = 8
CLOSE = 1 / 16  # the search ends when the bounds are this close, as a share of the lower one


def search(
    needs: Callable[[int], float],
    limit: float,
    *,
    unit: int,
    start: int,
    base: float = 0.0,
    trials: int = MOST_TRIALS,
) -> tuple[int, int | None]:
    """Finds the largest multiple of `unit` known to fit, and the smallest known not to fit.

    The next trial is where memory, as a straight line through the nearest trials, reaches the limit. But it is
    at most eight times the previous one, and not so close to one of the two bounds that little is learned.

    Args:
      needs: Function that returns the memory for a size; must grow with the size.
      limit: Available memory.
      unit: Only multiples of this are tried.
      start: The first size to try.
      base: Memory for size 0, as far as known.
      trials: Most calls of `needs`.

    Returns:
      The two sizes; the first is 0 if nothing tried fits, the second is None if everything does.
    """
    below, above = (0, base), None
    n = start
    for _ in range(trials):
        need = needs(n)
        if need <= limit:
            slope = (need - below[1]) / (n - below[0])
            below = (n, need)
        else:
            above = (n, need)
            slope = (need - below[1]) / (n - below[0])
        if above and above[0] - below[0] <= max(unit, CLOSE * below[0]):
            break
        guess = below[0] + (limit - below[1]) / slope * 0.98
        if above:
            margin = (above[0] - below[0]) / 8
            guess = min(max(guess, below[0] + margin), above[0] - margin)
            n = min(max(round(guess / unit), below[0] // unit + 1), above[0] // unit - 1) * unit
        else:
            # The step is at least as large as the distance that ends the search.
            step = max(1, math.floor(CLOSE * n / unit))
            n = max(math.floor(min(guess, 8 * n) / unit), n // unit + step) * unit
    return below[0], above[0] if above else None


def largest_batch(
    config: ConfigDict,
    where: Pod,
    *,
    confirm: bool = True,
    focus_images: bool = False,
    trials: int = MOST_TRIALS,
) -> dict[str, Any]:
    """Returns the report for the largest batch that fits.

    The search compiles with the least effort. Its result is then compiled once more, as a real run would be.

    Args:
      confirm: Whether to compile the result once more.
      trials: Most compilations of the search.
    """
    reports: dict[int, dict] = {}

    def needs(scenes: int) -> float:
        report = plan(config, where, scenes=scenes, quick=True, focus_images=focus_images)
        reports[scenes] = report
        verdict = "fits" if report["fits"] else "does not fit"
        took = f"{report['needed'] / GIB:.2f} GiB, compiled in {report['compile_seconds']:.0f} s"
        say(f"{scenes} scenes a chip: {verdict}, {took}")
        return report["needed"]

    unit = 8 * config.loss.accumulate
    fits, too_large = search(
        needs,
        where.limit,
        unit=unit,
        start=8 * unit,
        base=state_bytes(config, where, 8 * unit),
        trials=trials,
    )
    report = reports[fits or min(reports)]
    if confirm and fits:
        report = plan(config, where, scenes=fits, focus_images=focus_images)
    tried = {n: {"fits": r["fits"], "needed": r["needed"]} for n, r in sorted(reports.items())}
    return report | {
        "largest": {"fits": fits, "too_large": too_large, "unit": unit, "tried": tried}
    }
