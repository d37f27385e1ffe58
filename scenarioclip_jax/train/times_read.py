"""How often a run on a mixture reads each data set: in the log, in the metrics and in the report."""

import dataclasses

from scenarioclip_jax.data.source import Mixture
from scenarioclip_jax.train.data import RunData


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What was read of a data set.

    Attributes:
      scenes: Scenes in its training split.
      weight: Its share of the mixture, as configured.
      drawn: Scenes that were read, counted each time.
      share: Its share of all scenes that were read.
      passes: Passes over its training split.
    """

    scenes: int
    weight: float
    drawn: int
    share: float
    passes: float


def drawn(data: RunData, steps: int) -> dict[str, Drawn]:
    """What the first `steps` steps read of each data set of a mixture, by name; empty for a single data set.

    This is a function of the seed and the number of steps, so it is exact, also after a resume. With
    `data.balance`, scenes move between the 32 steps that are dealt together: the numbers are then those of the
    positions of these steps, and exact whenever all 32 are over.
    """
    if not isinstance(data.train, Mixture):
        return {}
    epochs, positions = data.train.epochs, steps * data.settings.batch_size
    counts = epochs.drawn(data.settings.seed, positions)
    return {
        name: Drawn(scenes, weight / sum(epochs.weights), count, count / positions, count / scenes)
        for name, scenes, weight, count in zip(
            data.train.names, epochs.counts, epochs.weights, counts, strict=True
        )
    }


def told(parts: dict[str, Drawn]) -> str:
    """`coco 50.0% (1,234 scenes, 8.1 passes), ...`."""
    return ", ".join(
        f"{name} {part.share:.1%} ({part.scenes:,} scenes, {part.passes:.2f} passes)"
        for name, part in parts.items()
    )


def as_metrics(parts: dict[str, Drawn]) -> dict[str, float]:
    """The shares and passes so far, by the names of their metrics."""
    return {
        f"data/{name}/{kind}": getattr(part, kind)
        for name, part in parts.items()
        for kind in ("share", "passes")
    }
