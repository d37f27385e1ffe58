"""Start-up: seconds from the command to step 1 of the demo, and what imports take.

    python -m benchmarks.startup --json FILE [--rounds 3]

A first start has an empty compilation cache, a second one finds what the first compiled; both start in a folder
of their own on a data set that is there already. Imports are timed in fresh processes, as CPU time; the median
over rounds.
"""

import argparse
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scenarioclip_jax.data.build.dataset import ensure_embedded

ROOT = Path(__file__).parents[1]
# What the command, a reading worker and the training loop import; and Grain, which a worker is made of.
MODULES = (
    "scenarioclip_jax",
    "scenarioclip_jax.data.pipeline",
    "scenarioclip_jax.train.loop",
    "grain",
)
# Of these a reading worker needs none; that Grain imports JAX and Orbax is its own doing.
HEAVY = (
    "flax",
    "matplotlib",
    "optax",
    "tensorboardX",
    "tensorflow_datasets",
    "torch",
    "transformers",
)


def seconds_to_step_1(data: Path, cache: Path, workdir: Path) -> tuple[float, float]:
    """Starts the demo, waits for the line of its first step, and ends it; wall and CPU seconds."""
    command = [sys.executable, "-m", "scenarioclip_jax.main", "--config=configs/pretrain.py"]
    command += [f"--workdir={workdir}", "--config.log_every=1", f"--config.data.dir={data}"]
    start, used = time.perf_counter(), _children()
    process = subprocess.Popen(
        [*command, f"--config.compilation_cache={cache}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seen = []
    for line in process.stdout:
        seen.append(line)
        if re.match(r"step 1/", line):
            seconds = time.perf_counter() - start
            process.kill()
            process.wait()
            return seconds, _children() - used
    raise RuntimeError(f"the demo ended before step 1:\n{''.join(seen)}")


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def import_seconds(module: str) -> tuple[float, list[str]]:
    """CPU seconds that an import takes, and which heavy packages it brings."""
    code = (
        f"import sys, time; import {module}; "
        f"print(time.process_time(), *[m for m in {HEAVY} if m in sys.modules])"
    )
    run = [sys.executable, "-c", code]
    seconds, *heavy = subprocess.run(
        run, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    return float(seconds), heavy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="where to write the figures")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    first, second = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = ensure_embedded(folder / "data", 400, seed=0, progress=False)
        for number in range(arguments.rounds):
            cache = folder / f"cache{number}"
            for times, which in ((first, "first"), (second, "second")):
                workdir = folder / which
                times.append(seconds_to_step_1(data, cache, workdir))
                shutil.rmtree(workdir)
                print(f"{which} start: {times[-1][0]:.1f} s to step 1", flush=True)
    imports = {}
    for module in MODULES:
        runs = [import_seconds(module) for _ in range(arguments.rounds)]
        imports[module] = {
            "cpu_seconds": statistics.median(seconds for seconds, _ in runs),
            "brings": runs[0][1],
        }

    def ratio(clock: int) -> float:
        pairs = zip(first, second, strict=True)
        return statistics.median(b[clock] / a[clock] for a, b in pairs)

    results = {
        "ratio": ratio(0),
        "cpu_ratio": ratio(1),
        "seconds": {"first": first, "second": second},  # pairs of wall and CPU
        "imports": imports,
        "machine": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
    }
    arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
