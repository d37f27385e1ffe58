"""A lower bound on the time of a step: the slowest of compute, memory and links, each at peak rate.

See Williams et al. 2009. The compiler's own estimate is useless: it counts loops once and can be negative.
"""

from collections.abc import Sequence
from typing import NamedTuple

from scenarioclip_jax.costs.chips import Chip
from scenarioclip_jax.costs.collectives import Collective, sent
from scenarioclip_jax.costs.flops import Flops
from scenarioclip_jax.costs.memory import ProgramMemory

# Precision.HIGHEST for float32 takes six bfloat16 products (three parts per factor, without the small terms).
EXACT_PASSES = 6
# The MFU that contrastive training reaches: the band of open_clip's and NeMo's own figures.
MFU_REACHED = (0.11, 0.39)

ASSUMPTIONS = (
    "matrix products run at the bfloat16 peak: on TPUs those of float32 do too, in one pass, unless more "
    "precision is asked for; those of the pictures' resampling ask for it and take 6 passes, and so do the "
    "losses' unless their factors are bfloat16",
    "memory: arguments are read and results written once; what a part of the batch leaves for its backward "
    "pass is written and read once",
    "links: gathers and reductions use all links of a chip in both directions, the ring of the losses one "
    "link in one direction, and neighbors in the ring are neighbors in the pod",
    "all three overlap perfectly, and everything else (norms, softmax, views, the host, the optimizer's "
    "arithmetic) takes no time: a real step takes longer",
)


class Roofline(NamedTuple):
    """Seconds that a step would take if nothing else slowed it down."""

    compute: float
    memory: float
    links: float

    @property
    def seconds(self) -> float:
        return max(self)

    @property
    def limit(self) -> str:
        return max(zip(self, self._fields, strict=True))[1]


def seconds_at(mfu: float, chip: Chip, devices: int, flops: Flops) -> float:
    """Seconds of a step that does the model's FLOPs at a share of the peak."""
    return flops.model / devices / chip.peak / mfu


def roofline(
    chip: Chip,
    devices: int,
    flops: Flops,
    memory: ProgramMemory,
    collectives: Sequence[Collective],
    accumulate: int,
    loss_dtype: str,
) -> Roofline:
    """Computes the bound for a train step; see `ASSUMPTIONS`.

    Args:
      flops: FLOPs over all devices.
      memory, collectives: Memory and collectives of one device.
      accumulate: Number of parts in which the batch goes through the towers.
      loss_dtype: Type of the factors in the losses' products.
    """
    passes = {"views": EXACT_PASSES, "loss": EXACT_PASSES if loss_dtype == "float32" else 1}
    products = sum(count.hardware * passes.get(part, 1) for part, count in flops.by_part.items())
    moved = 2 * memory.arguments + 2 * memory.temporary * accumulate
    ring = sum(sent(c, devices) for c in collectives if c.kind == "collective-permute")
    others = sum(sent(c, devices) for c in collectives) - ring
    return Roofline(
        compute=products / devices / chip.peak,
        memory=moved / chip.hbm_bandwidth,
        links=(ring + others / chip.links) / chip.link_bandwidth if chip.links else 0.0,
    )
