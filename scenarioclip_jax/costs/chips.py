"""Chips to plan programs for: their compute, memory and bandwidth as their makers state them.

TPUs: Google's "TPU architecture" pages (cloud.google.com/tpu/docs/v4, v5e, v5p, v6e, tpu7x). The bandwidth of
a link is for one direction, as measured in "How to Scale Your Model" (jax-ml.github.io/scaling-book/tpus,
table of chip specifications), which is a little below the wire's; that of TPU7x is v5p's, since Google states
the same for both. GPUs: NVIDIA's data sheets for A100, H100 and H200, dense tensor-core figures without
sparsity.
"""

import dataclasses
import re

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """What JAX calls a device: one accelerator, but half of a TPU7x.

    Attributes:
      name: Common name.
      kind: Regex for `jax.Device.device_kind`.
      peak: Peak rate of bfloat16 matrix products, in FLOP/s.
      hbm: Memory, in bytes.
      hbm_bandwidth: Memory bandwidth, in bytes/s.
      links: Number of links to neighbors in the torus; 0 for chips that aren't connected that way.
      link_bandwidth: Bandwidth of one link in one direction, in bytes/s.
    """

    name: str
    kind: str
    peak: float
    hbm: int
    hbm_bandwidth: float
    links: int = 0
    link_bandwidth: float = 0.0


# The first entry whose `kind` matches counts: "TPU v5" alone is a v5p, "H100" alone an SXM module.
CHIPS = (
    Chip("v4", r"TPU v4", 275e12, 32 * GIB, 1228e9, 6, 45e9),
    Chip("v5e", r"TPU v5 ?(lite|e).*", 197e12, 16 * GIB, 819e9, 4, 45e9),
    Chip("v5p", r"TPU v5p?", 459e12, 95 * GIB, 2765e9, 6, 90e9),
    # A chip has two devices, with half of its compute, memory and links each.
    Chip("TPU7x", r"TPU7x", 2307e12 / 2, 96 * GIB, 7380e9 / 2, 3, 90e9),
    Chip("v6e", r"TPU v6 ?(lite|e).*", 918e12, 32 * GIB, 1640e9, 4, 90e9),
    Chip("A100 40 GB", r"NVIDIA A100.*40GB.*", 312e12, 40 * GIB, 1555e9),
    Chip("A100 80 GB", r"NVIDIA A100.*", 312e12, 80 * GIB, 2039e9),
    Chip("H100 PCIe", r"NVIDIA H100 PCIe.*", 756e12, 80 * GIB, 2000e9),
    Chip("H100 NVL", r"NVIDIA H100 NVL.*", 835e12, 94 * GIB, 3900e9),
    Chip("H100 SXM", r"NVIDIA H100.*", 989e12, 80 * GIB, 3350e9),
    Chip("H200", r"NVIDIA H200.*", 989e12, 141 * 10**9, 4800e9),
)


def chip_of(device_kind: str) -> Chip | None:
    """The chip that JAX calls `device_kind`; None if it isn't in the table, such as a CPU."""
    return next((chip for chip in CHIPS if re.fullmatch(chip.kind, device_kind)), None)


def peak_flops(device_kind: str) -> float | None:
    """Peak bfloat16 FLOP/s of a device, the denominator of MFU; None if unknown."""
    chip = chip_of(device_kind)
    return chip.peak if chip else None
