"""Opening and ordering data sets of up to 100 million scenes: seconds, and memory of a process.

    python -m benchmarks.scale --json FILE [--scenes 1000000,10000000,100000000]

The counts are made up: the shards exist, 10,000 scenes each, and are empty, since nothing reads a scene.
Measured, each in a fresh process: opening the training split; finding the records of 100 batches of 1,024
scenes; the bytes that reach a reading worker; the same with `data.balance`, whose sizes (6 texts a scene, of
100,000 different ones) are made up as well. Memory is what the process has of its own; pages of files, which
processes share and the system may drop, are given apart.
"""

import argparse
import json
import pickle
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

from scenarioclip_jax.data.epochs import shuffled_index
from scenarioclip_jax.data.order import Balanced, Sequential
from scenarioclip_jax.data.packing import sizes
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored import shards

PER_SHARD = 10_000
TEXTS, PER_SCENE = 100_000, 6
STEPS = 100
SETTINGS = DataSettings(batch_size=1024, packing_groups=8)


def write_data_set(output: Path, scenes: int) -> None:
    """Writes the description of a data set, and shards without content."""
    folder = output / shards.NAME / shards.VERSION
    folder.mkdir(parents=True)
    counts = [PER_SHARD] * (scenes // PER_SHARD)
    for index in range(len(counts)):
        name = f"{shards.NAME}-train.array_record-{index:05d}-of-{len(counts):05d}"
        (folder / name).touch()
    info = {"splits": [{"name": "train", "shardLengths": [str(count) for count in counts]}]}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "summary.json").write_text(json.dumps({"digests": {"train": "made-up"}}))


def write_sizes(file: Path, scenes: int) -> None:
    """Writes made-up sizes as `sizes` keeps them, a part at a time."""
    draw, part = np.random.default_rng(0), 1_000_000
    columns = {
        "counts": ((scenes, 4), np.float32, lambda n: draw.integers(0, 12, (n, 4))),
        "starts": ((scenes + 1,), np.int64, None),
        "texts": ((scenes * PER_SCENE,), np.int32, lambda n: draw.integers(0, TEXTS, n)),
        "tokens": ((TEXTS, 3), np.float32, lambda n: draw.integers(3, 12, (n, 3))),
    }
    with zipfile.ZipFile(file, "w") as archive:
        for name, (shape, dtype, values) in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                for first in range(0, shape[0], part):
                    last = min(first + part, shape[0])
                    some = values(last - first) if values else np.arange(first, last) * PER_SCENE
                    stream.write(np.ascontiguousarray(some, dtype).tobytes())


def memory() -> dict[str, float]:
    """Resident memory of this process in MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kib = {name: int(value) for name, value in re.findall(r"(Rss\w+):\s+(\d+) kB", status)}
    return {"own": kib["RssAnon"] / 1024, "of_files": kib["RssFile"] / 1024}


def timed(call):
    begun = time.perf_counter()
    return call(), time.perf_counter() - begun


def measure(output: Path, file: Path | None) -> dict[str, float]:
    """Measures in this process; `file` holds the sizes of `data.balance`."""
    shuffled_index(0, 0, 10)
    before = memory()
    source, opened = timed(lambda: shards.open_split(output, "train"))
    order, sent = Sequential(SETTINGS), source
    result = {"open_seconds": opened}
    if file:
        kept, result["read_seconds"] = timed(lambda: sizes._read(file))
        _, result["digest_seconds"] = timed(kept.digest)
        order = Balanced(kept, SETTINGS, SETTINGS.packing_groups)
        sent = (source, order)

    def find():
        for step in range(STEPS):
            for group in range(SETTINGS.packing_groups):
                for position in order(step, group):
                    shuffled_index(SETTINGS.seed, position, len(source))

    result["step_milliseconds"] = timed(find)[1] / STEPS * 1000
    result["worker_bytes"] = len(pickle.dumps(sent))
    after = memory()
    return result | {f"memory_{name}": after[name] - before[name] for name in after}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scenes", default="1000000,10000000,100000000")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*map(Path, args.measure), *[None] * (2 - len(args.measure)))))
        return
    results = []
    for scenes in map(int, args.scenes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            output, file = Path(folder, "data"), Path(folder, "sizes.npz")
            write_data_set(output, scenes)
            write_sizes(file, scenes)
            for given in ([output], [output, file]):
                command = [sys.executable, "-m", "benchmarks.scale", "--measure", *map(str, given)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                results.append({"scenes": scenes, "balance": len(given) > 1, **found})
                print(results[-1], flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
