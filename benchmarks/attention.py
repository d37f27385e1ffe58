"""Attention with its gradient, by every kernel that the platform has, at the shapes of the presets' towers.

    python -m benchmarks.attention [--json FILE]

Times are medians over rounds in which the kernels take turns. A turn is 20 calls, of which the last is waited
for.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

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


def gradient_of(kind: str, causal: bool, sequence):
    """The compiled gradient of a sum over the attended values."""

    def total(*arrays):
        attended = attention.attend(*arrays, sequence, causal=causal, kind=kind)
        return attended.astype(jnp.float32).sum()

    return jax.jit(jax.grad(total, (0, 1, 2)))


def turn(function, arrays) -> float:
    """Seconds a call."""
    started = time.perf_counter()
    for _ in range(CALLS):
        result = function(*arrays)
    jax.block_until_ready(result)
    return (time.perf_counter() - started) / CALLS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    platform = jax.devices()[0].platform
    kinds = list(dict.fromkeys(["plain", attention.kind_on(platform)]))
    attention.LEAST_TOKENS = 1  # the fused kernel for short rows too
    results: dict = {"device": jax.devices()[0].device_kind, "milliseconds": {}}
    for name, (rows, tokens, heads, causal, count) in SHAPES.items():
        keys = jax.random.split(jax.random.key(0), 3)
        shape = (rows, tokens, heads, WIDTH)
        arrays = [jax.random.normal(key, shape, jnp.bfloat16) for key in keys]
        sequence = sequences(rows, tokens, count)
        functions = {kind: gradient_of(kind, causal, sequence) for kind in kinds}
        for function in functions.values():  # compiles
            jax.block_until_ready(function(*arrays))
        turns = [{kind: turn(f, arrays) for kind, f in functions.items()} for _ in range(ROUNDS)]
        found = {kind: 1e3 * statistics.median(t[kind] for t in turns) for kind in kinds}
        results["milliseconds"][name] = found
        print(name, *(f"{kind} {each:.3f} ms" for kind, each in found.items()), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
