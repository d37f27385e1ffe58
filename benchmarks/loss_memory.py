"""Memory of the contrastive losses against the number of devices, at a fixed batch a device.

    python -m benchmarks.loss_memory [--json benchmarks/loss_memory.json]

Compiles value and gradient for simulated CPU devices and asks the compiler for a device's peak temporary
memory; nothing is run, so it takes seconds and any machine will do. `dense` is the formula as it reads, left
to the compiler to split: its logits are [rows of a device, global batch], so it grows with every device.
"""

import argparse
import json
import os
from pathlib import Path

MOST_DEVICES = 64
ROWS, EMBED_DIM = 512, 512  # a device's; of an embedding

# Before JAX is imported: it counts its devices once.
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={MOST_DEVICES}"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from scenarioclip_jax.losses import contrastive  # noqa: E402
from scenarioclip_jax.parallel.mesh import batch_sharding, make_mesh, replicated  # noqa: E402
from tests.losses import dense  # noqa: E402


def peak_bytes(kind: str, devices: int, *, as_formula: bool) -> int:
    """Peak temporary memory of a device for the loss and its gradient, bytes."""
    mesh = make_mesh(data=devices, devices=jax.devices()[:devices])
    by_row = batch_sharding(mesh)
    loss = getattr(dense if as_formula else contrastive, f"{kind}_loss")
    options = {} if as_formula else {"sharding": by_row}

    def like(*shape, dtype=jnp.float32):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=by_row if shape else replicated(mesh))

    n = ROWS * devices
    learned = [like()] * (2 if kind == "sigmoid" else 1)
    arguments = (like(n, EMBED_DIM), like(n, EMBED_DIM), *learned, like(n, dtype=bool))
    gradient = jax.value_and_grad(
        lambda *args: loss(*args, **options), tuple(range(2 + len(learned)))
    )
    compiled = jax.jit(gradient).lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    devices = [2**i for i in range(MOST_DEVICES.bit_length())]
    rows = []
    print(f"peak temporary memory of a device, MiB; {ROWS} rows a device, {EMBED_DIM} dimensions\n")
    print("| devices | global batch | softmax | sigmoid | dense softmax |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for count in devices:
        row = {"devices": count, "global_batch": ROWS * count}
        for kind in contrastive.KINDS:
            row[kind] = peak_bytes(kind, count, as_formula=False)
        row["dense softmax"] = peak_bytes("softmax", count, as_formula=True)
        rows.append(row)
        figures = [f"{row[name] / 2**20:.1f}" for name in (*contrastive.KINDS, "dense softmax")]
        print(f"| {count} | {ROWS * count} | {' | '.join(figures)} |", flush=True)
    if arguments.json:
        values = {"jax": jax.__version__, "rows": ROWS, "embed_dim": EMBED_DIM, "peak_bytes": rows}
        arguments.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
