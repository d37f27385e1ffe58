"""Train steps of ViT-B/32's blocks on CPU: weights stacked along depth, as here, against arrays of their own.

    python -m benchmarks.stacked_blocks --json FILE [--rows 80,24] [--rounds 7]

A stack of blocks whose loop is unrolled still cuts each block's weights from one array and writes their
gradients into one. Both sides compute the same blocks, gradients and AdamW, in one process and in turn; a turn
is two steps, of which the second is timed, as in train_step.py. Ratios are medians of the rounds' ratios.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.train_step import HUGE_PAGES
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.layers import REMAT_POLICIES, Block, Stack

DEPTH, TOKENS = 12, 50
BLOCK = dict(width=768, heads=12, mlp_dim=3072, activation="quick_gelu", eps=1e-5)
REMAT = "dots"  # the fastest on CPU


def sides() -> dict[str, tuple[Callable, Any]]:
    """The loss and the parameters of each side; both start from the same weights."""
    arguments = BLOCK | {"dtype": jnp.float32}
    stack, stacked = parameters.create(
        lambda: Stack(DEPTH, depth=DEPTH, remat=REMAT, unroll=DEPTH, rngs=nnx.Rngs(0), **arguments)
    )
    block, _ = parameters.abstract(lambda: Block(depth=DEPTH, rngs=nnx.Rngs(0), **arguments))
    own = [
        {path.removeprefix("blocks/"): value[i] for path, value in stacked.items()}
        for i in range(DEPTH)
    ]

    def of_stacked(params, x):
        return jnp.square(parameters.merge(stack, params)(x)).mean()

    @partial(jax.checkpoint, policy=REMAT_POLICIES[REMAT], prevent_cse=False)
    def run(x, layer):
        return parameters.merge(block, layer)(x)

    def of_own(params, x):
        for layer in params:
            x = run(x, layer)
        return jnp.square(x).mean()

    return {"stacked": (of_stacked, stacked), "arrays of their own": (of_own, own)}


def stepper(loss: Callable, params: Any, x: np.ndarray) -> Callable[[], float]:
    """A function that takes a step and returns the loss when it is done."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-4))

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, x):
        value, gradient = jax.value_and_grad(loss)(params, x)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    held = [jax.tree.map(jnp.copy, params), optimizer.init(params)]

    def run() -> float:
        *held[:], value = step(*held, x)
        return float(value)

    return run


def measure(rows: int, rounds: int) -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(rows, TOKENS, BLOCK["width"])).astype(np.float32)
    steps = {name: stepper(loss, params, x) for name, (loss, params) in sides().items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    losses = {}
    for number in range(rounds + 1):
        for name, step in steps.items():
            step()
            start = time.perf_counter()
            losses[name] = step()
            if number:  # the first round compiles
                times[name].append(time.perf_counter() - start)
    first, second = losses.values()
    assert abs(first - second) < 1e-4 * abs(first), losses  # they compute the same
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    return {
        "rows": rows,
        "seconds": {name: round(statistics.median(each), 3) for name, each in times.items()},
        "stacked_over_own": round(statistics.median(ratios), 3),
        "rounds": [round(ratio, 3) for ratio in ratios],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="where to write the figures")
    parser.add_argument("--rows", default="80,24", help="rows of 50 tokens, comma-separated")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if not HUGE_PAGES.items() <= os.environ.items():  # the system reads them when a process starts
        command = [sys.executable, "-m", "benchmarks.stacked_blocks", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | HUGE_PAGES)
    results = {
        "by_rows": [measure(int(rows), arguments.rounds) for rows in arguments.rows.split(",")],
        "jax": jax.__version__,
        "machine": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
    }
    arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
