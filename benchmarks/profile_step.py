"""Where a train step of ours spends its time on CPU: a profile by kind of operation.

    python -m benchmarks.profile_step [--variant shared_stem] [--scenes 8] [--json FILE]

Variants and scenes are those of train_step.py. XLA names an operation after what it does; those of one name
are summed. Two may run at once, so shares are of the sum, not of the step's time. A matrix product is `dot` or,
in newer versions of XLA, `ynn_fusion`.
"""

import argparse
import collections
import gzip
import json
import os
import re
import tempfile
import time
from pathlib import Path

# Before JAX is imported: each operation is to be recorded, on the pages that the benchmark has.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_enable_xprof_traceme=true"

import jax

from benchmarks import scenes
from benchmarks.train_step import VARIANTS, configure, our_side

# Of the trace's events: threads waiting, and what calls or contains other events.
NO_OPERATION = re.compile(r"\$|Thunk|Thread|Pjit|PjRt|end: |while$|Latent")


def seconds_by_kind(folder: Path) -> collections.Counter[str]:
    """Sums the operations of a trace that `jax.profiler` wrote to `folder`."""
    (trace,) = folder.rglob("*.trace.json.gz")
    found: collections.Counter[str] = collections.Counter()
    for event in json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]:
        if event.get("ph") != "X":  # names of threads, and the like
            continue
        kind = re.sub(r"[.\d]+$", "", event["name"])
        if not NO_OPERATION.search(kind):
            found[kind] += event["dur"] / 1e6
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="shared_stem", choices=VARIANTS)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    drawn = scenes.draw_scenes(arguments.scenes, arguments.seed)
    side = our_side(configure(VARIANTS[arguments.variant], drawn), drawn)
    for _ in range(2):  # the first compiles
        side.step()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            start = time.perf_counter()
            side.step()
            seconds = time.perf_counter() - start
        found = seconds_by_kind(Path(folder))
    total = sum(found.values())
    print(f"{arguments.variant}: {seconds:.2f} s a step, {total:.2f} s of operations")
    for kind, each in found.most_common(15):
        print(f"{each / total:7.1%}  {each:7.3f} s  {kind}")
    if arguments.json:
        results = {"variant": arguments.variant, "seconds": seconds, "by_kind": dict(found)}
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
