"""TPU pods to compile for without a TPU; the compiler comes with `libtpu` and runs on any Linux machine."""

import importlib.util
import re

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from scenarioclip_jax.costs.chips import GIB
from scenarioclip_jax.errors import ReadableError

# Sizes that Google offers, in chips. A device is one chip, but half of a TPU7x.
_TORUS = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16")
KNOWN = {
    "v5e": ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "v5p": _TORUS,
    "v6e": ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "tpu7x": _TORUS,
}
ABSURD = 2**50  # bytes, more than any device holds


class TopologyError(ReadableError, ValueError):
    """A pod can't be compiled for. The message says which can, or what is missing."""


def pod(name: str) -> list[jax.Device]:
    """The devices of a pod such as `v5e:16x16`, to lay a mesh over and to compile for.

    Raises:
      TopologyError: There is no such pod, or libtpu isn't installed.
    """
    family, _, size = name.partition(":")
    if size not in KNOWN.get(family, ()):
        known = "; ".join(f"{f}:{', '.join(sizes)}" for f, sizes in KNOWN.items())
        raise TopologyError(f"--topology={name}: no such pod; there are {known}")
    if importlib.util.find_spec("libtpu") is None:
        raise TopologyError(
            "compiling for TPUs needs libtpu, which needs no TPU: pip install 'scenarioclip_jax[tpu]'"
        )
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=name).devices
    except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
        raise TopologyError(f"--topology={name}: libtpu can't describe it: {error}") from error


def compiler_limit(device: jax.Device) -> int:
    """Bytes of a device's memory that the compiler lets a program use: what the runtime doesn't reserve.

    The compiler reports this only when it refuses a program, so it is given one that no device can hold.

    Raises:
      TopologyError: The refusal doesn't name a limit.
    """
    sharding = jax.sharding.SingleDeviceSharding(device)
    huge = jax.ShapeDtypeStruct((ABSURD // 4,), jnp.float32, sharding=sharding)
    try:
        jax.jit(lambda x: x + 1).lower(huge).compile()
    except jax.errors.JaxRuntimeError as error:
        if refusal := read_refusal(str(error)):
            return refusal[1]
        raise TopologyError(f"the compiler's limit is not known; it said: {error}") from error
    raise TopologyError("the compiler accepts a program of a million gigabytes")


def read_refusal(message: str) -> tuple[int, int] | None:
    """Needed and available bytes from the compiler's refusal of a program; None for other messages."""
    if "RESOURCE_EXHAUSTED" not in message:
        return None
    size = r"([\d.]+)([KMGTP]?)"
    for pattern in (
        rf"Used {size} of {size} hbm",
        rf"temporaries \({size}\) exceeds available HBM \({size}\)",
        rf"{size}i?B? ?(?:exceeds|of) .*?{size}i?B?",
    ):
        if match := re.search(pattern, message):
            return _bytes(*match.groups()[:2]), _bytes(*match.groups()[2:])
    return None


def _bytes(number: str, unit: str) -> int:
    power = {"": -3, "K": -2, "M": -1, "G": 0, "T": 1, "P": 2}[unit]
    return int(float(number) * GIB * 1024.0**power)
