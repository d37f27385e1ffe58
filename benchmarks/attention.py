"""Attention with its gradient, by every kernel that the platform has, at the shapes of the presets' towers.

    python -m benchmarks.attention [--json FILE] [--topology POD]

Times are medians over rounds in which the kernels take turns. A turn is 20 calls, of which the last is waited
for. With a topology, such as v5e:2x2, the kernels are compiled for a chip of it instead and nothing is run: the
figures are the memory for what lives during a call, beside queries, keys, values and their gradients.
"""

import argparse
import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from scenarioclip_jax.aot import topology
from scenarioclip_jax.aot.environment import prepare_environment
from scenarioclip_jax.costs.memory import program_memory
from scenarioclip_jax.models import attention

# Rows, tokens, heads, whether causal, sequences in a row.
SHAPES = {
    "ViT-B/32, packed": (128, 100, 12, False, 5),
    "ViT-B/16, packed": (160, 394, 12, False, 5),
    "ViT-L/14, packed": (160, 514, 16, False, 5),
    "ViT-B/32, whole views": (600, 50, 12, False, 1),
    "ViT-B/16, whole views": (1000, 197, 12, False, 1),
    "texts, packed": (512, 24, 8, True, 4),
}
WIDTH = 64  # of a head
ROUNDS, CALLS = 5, 20


def sequences(rows: int, tokens: int, count: int) -> jax.Array | None:
    """Numbers of `count` sequences of drawn lengths in each row: [rows, tokens]."""
    if count == 1:
        return None
    draw = np.random.default_rng(0)
    ends = [np.sort(draw.choice(np.arange(1, tokens), count - 1, False)) for _ in range(rows)]
    return jnp.asarray([np.searchsorted(end, np.arange(tokens), side="right") for end in ends])


def gradient_of(kind: str, causal: bool):
    """The jitted gradient of a sum over the attended values, for queries, keys and values."""

    def total(*arrays):
        attended = attention.attend(*arrays, causal=causal, kind=kind)
        return attended.astype(jnp.float32).sum()

    return jax.jit(jax.grad(total, (0, 1, 2)))


def turn(function, arrays) -> float:
    """Seconds a call."""
    started = time.perf_counter()
    for _ in range(CALLS):
        result = function(*arrays)
    jax.block_until_ready(result)
    return (time.perf_counter() - started) / CALLS


def milliseconds(kinds: list[str], shape: tuple[int, ...], causal: bool, count: int) -> dict:
    """A call's time by kernel, here."""
    keys = jax.random.split(jax.random.key(0), 3)
    arrays = [jax.random.normal(key, shape, jnp.bfloat16) for key in keys]
    arrays.append(sequences(*shape[:2], count))
    functions = {kind: gradient_of(kind, causal) for kind in kinds}
    for function in functions.values():  # compiles
        jax.block_until_ready(function(*arrays))
    turns = [{kind: turn(f, arrays) for kind, f in functions.items()} for _ in range(ROUNDS)]
    return {kind: 1e3 * statistics.median(t[kind] for t in turns) for kind in kinds}


def mebibytes(device, kinds: list[str], shape: tuple[int, ...], causal: bool, count: int) -> dict:
    """Memory of a call by kernel, compiled for a device that need not be here."""
    on = jax.sharding.SingleDeviceSharding(device)
    arrays = [jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=on)] * 3
    numbers = jax.ShapeDtypeStruct(shape[:2], jnp.int32, sharding=on) if count > 1 else None
    programs = {kind: gradient_of(kind, causal).lower(*arrays, numbers).compile() for kind in kinds}
    return {kind: program_memory(each).temporary / 2**20 for kind, each in programs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument(
        "--topology", help="a pod to compile for instead of running, such as v5e:2x2"
    )
    arguments = parser.parse_args()
    if arguments.topology:
        prepare_environment()
    device = (topology.pod(arguments.topology) if arguments.topology else jax.devices())[0]
    kinds = list(dict.fromkeys(["plain", attention.FUSED.get(device.platform, "plain")]))
    attention.ROWS = dict.fromkeys(attention.ROWS, (1, sys.maxsize))  # for short rows too
    name, unit, measure = "milliseconds", "ms", milliseconds
    if arguments.topology:
        name, unit, measure = "mebibytes", "MiB", partial(mebibytes, device)
    results: dict = {"device": device.device_kind, name: {}}
    for label, (rows, tokens, heads, causal, count) in SHAPES.items():
        found = measure(kinds, (rows, tokens, heads, WIDTH), causal, count)
        results[name][label] = found
        print(label, *(f"{kind} {each:.3f} {unit}" for kind, each in found.items()), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
