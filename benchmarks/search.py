"""How long a query in an album takes, by the number of embeddings.

    python -m benchmarks.search --json FILE [--sizes 10000,100000,1000000] [--dim 512]

Embeddings are clusters on a sphere, as those of photos are: 1,000 centers, and around each its share. Queries
lie near centers. Sides, in turn: `query`, all that the package does for a query of one part, after its model;
`exact`, the 1,000 nearest by comparing all in half precision; `float32`, the same by NumPy. Medians of 20
queries, after one to warm up, in milliseconds. Also the share of the 10 and of the 1,000 nearest that the
package's index finds: it compares all up to a size (`search.vectors.EXACT`).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from scenarioclip_jax.search.vectors import Vectors, make_index

QUERIES, NEAREST = 20, 1000


def draw(count: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and queries, of length 1."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((1000, dim), np.float32)
    found = np.empty((count, dim), np.float16)
    for start in range(0, count, 50_000):
        part = centers[rng.integers(0, len(centers), min(50_000, count - start))]
        part = part + 0.8 * rng.standard_normal(part.shape, np.float32)
        found[start : start + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    queries = centers[:QUERIES] + 0.8 * rng.standard_normal((QUERIES, dim), np.float32)
    return found, queries / np.linalg.norm(queries, axis=1, keepdims=True)


def medians(sides: dict[str, Callable], queries: np.ndarray) -> dict[str, float]:
    """Milliseconds a query by side; the sides take turns."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for query in [queries[0], *queries]:
        for name, ask in sides.items():
            began = time.perf_counter()
            ask(query)
            taken[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def measure(count: int, dim: int) -> dict[str, float]:
    drawn, queries = draw(count, dim)
    rows = np.arange(count)
    began = time.perf_counter()
    album = Vectors(rows, rows, make_index(drawn))
    figures: dict[str, float] = {
        "embeddings": count,
        "seconds to make": time.perf_counter() - began,
    }
    index = make_index(drawn, exact=count)
    exact = Vectors(rows, rows, index)
    single = drawn.astype(np.float32)

    def query(vector: np.ndarray) -> None:
        album.usual(vector)
        album.best(vector, np.sort(album.nearest(vector, NEAREST)))

    sides = {
        "query": query,
        "exact": lambda vector: exact.nearest(vector, NEAREST),
        "float32": lambda vector: np.argpartition(single @ vector, -NEAREST)[-NEAREST:],
    }
    figures |= medians(sides, queries)
    for most in (10, NEAREST):
        found = [np.isin(exact.nearest(q, most), album.nearest(q, NEAREST)).mean() for q in queries]
        figures[f"of the {most} nearest"] = float(np.mean(found))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument(
        "--cells", type=int, default=1_000_000, help="size to try cells at; 0: none"
    )
    arguments = parser.parse_args()
    rows = []
    for size in map(int, arguments.sizes.split(",")):
        rows.append(measure(size, arguments.dim))
        print("  ".join(f"{name} {value:,.4g}" for name, value in rows[-1].items()), flush=True)
    if arguments.json:
        found = {"dim": arguments.dim, "sizes": rows}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
