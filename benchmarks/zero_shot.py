"""Zero-shot recognition of many crops among many classes: seconds and memory of the scoring.

    python -m benchmarks.zero_shot [--crops 100000] [--classes 100000] [--dim 512] [--json FILE]

Embeddings are random. Besides them, the whole matrix of cosines would take crops x classes x 4 bytes.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from scenarioclip_jax.evaluation.score.zero_shot import zero_shot


def peak() -> int:
    """The most memory that this process ever held, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    draw = np.random.default_rng(0)
    classes = draw.standard_normal((arguments.classes, arguments.dim), np.float32)
    own = draw.integers(0, arguments.classes, arguments.crops)
    images = classes[own] + 3 * draw.standard_normal((arguments.crops, arguments.dim), np.float32)
    names = [f"class {i}" for i in range(arguments.classes)]
    before, start = peak(), time.perf_counter()
    photos = [str(i // 4) for i in range(arguments.crops)]
    scores = zero_shot(images, names, classes, [names[i] for i in own], photos)
    results = {
        "seconds": time.perf_counter() - start,
        "embeddings_bytes": images.nbytes + classes.nbytes,
        "peak_bytes_before": before,
        "peak_bytes": peak(),
        "whole_matrix_bytes": 4 * arguments.crops * arguments.classes,
        "scores": scores,
    }
    print(json.dumps(results, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
