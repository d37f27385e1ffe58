"""Chips that programs are planned for: what they compute, hold and move, as their makers state it.

TPUs: Google's "TPU architecture" pages (cloud.google.com/tpu/docs/v4, v5e, v5p, v6e). A link's bandwidth is
that of one direction as "How to Scale Your Model" measures it (jax-ml.github.io/scaling-book/tpus, table of
chip specifications), a little below the wire's. GPUs: NVIDIA's data sheets of A100, H100 and H200, dense
tensor-core figures without sparsity.
"""

import dataclasses
import re

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator; a JAX device is one such chip except where a docstring says otherwise.

    Attributes:
      name: as people write it.
      kind: regex of `jax.Device.device_kind`.
      peak: bfloat16 matrix products, FLOP/s.
      hbm: memory, bytes.
      hbm_bandwidth: bytes/s.
      links: to neighbors in its torus; 0 where chips aren't connected that way.
      link_bandwidth: of one link in one direction, bytes/s.
    """

    name: str
    kind: str
    peak: float
    hbm: int
    hbm_bandwidth: float
    links: int = 0
    link_bandwidth: float = 0.0


# The first whose `kind` matches counts: "TPU v5" alone is a v5p, "H100" alone an SXM module.
CHIPS = (
    Chip("v4", r"TPU v4", 275e12, 32 * GIB, 1228e9, 6, 45e9),
    Chip("v5e", r"TPU v5 ?(lite|e).*", 197e12, 16 * GIB, 819e9, 4, 45e9),
    Chip("v5p", r"TPU v5p?", 459e12, 95 * GIB, 2765e9, 6, 90e9),
    Chip("v6e", r"TPU v6 ?(lite|e).*", 918e12, 32 * GIB, 1640e9, 4, 90e9),
    Chip("A100 40 GB", r"NVIDIA A100.*40GB.*", 312e12, 40 * GIB, 1555e9),
    Chip("A100 80 GB", r"NVIDIA A100.*", 312e12, 80 * GIB, 2039e9),
    Chip("H100 PCIe", r"NVIDIA H100 PCIe.*", 756e12, 80 * GIB, 2000e9),
    Chip("H100 NVL", r"NVIDIA H100 NVL.*", 835e12, 94 * GIB, 3900e9),
    Chip("H100 SXM", r"NVIDIA H100.*", 989e12, 80 * GIB, 3350e9),
    Chip("H200", r"NVIDIA H200.*", 989e12, 141 * 10**9, 4800e9),
)


def chip_of(device_kind: str) -> Chip | None:
    """The chip that JAX calls `device_kind`; None for one that isn't in the table, such as a CPU."""
    return next((chip for chip in CHIPS if re.fullmatch(chip.kind, device_kind)), None)


def peak_flops(device_kind: str) -> float | None:
    """Peak bfloat16 FLOP/s of a device, the denominator of MFU; None where it isn't known."""
    chip = chip_of(device_kind)
    return chip.peak if chip else None
