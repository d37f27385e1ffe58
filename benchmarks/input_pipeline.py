"""Scenes a second a core: our input pipeline, the peer's data set, and the bare decoding of a photo.

    python -m benchmarks.input_pipeline --json FILE [--scenes 48] [--rounds 7]

640 x 480 JPEGs with 5 objects and 4 relations. Focused regions are unions of boxes in one data set and follow
outlines in another, which our shards keep as masks. The peer reads the very files that the shards are built
from. Each is run in turn, in one process and one thread, and ends with a batch. Time is the process's CPU time,
so other programs on the machine disturb little. Figures are medians over rounds, ratios medians of the rounds'
ratios; the two data sets count alike.
"""

import argparse
import io
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAYON_NUM_THREADS", "1")

import torch
from PIL import Image

from benchmarks import scenes
from benchmarks.peer.dataset import Collate, PeerDataset
from benchmarks.reading import BATCH, OBJECTS, RELATIONS, batches_of, settings_for
from scenarioclip_jax.data.build import dataset as build
from scenarioclip_jax.data.photo import rgb
from scenarioclip_jax.data.stored import shards

SHAPES = ("boxes", "outlines")  # of focused regions


def make_data(folder: Path, count: int) -> dict[str, Path]:
    """Writes scenes in the published format and builds shards of them; returns the roots by shape."""
    drawn = scenes.draw_scenes(count, 0, objects=OBJECTS, relations=RELATIONS)
    roots = {}
    for shape in SHAPES:
        roots[shape] = folder / shape
        scenes.write_root(roots[shape], drawn, shape)
        summary = build.build(
            roots[shape], roots[shape] / "shards", fractions=(1.0, 0.0, 0.0), progress=False
        )
        print(f"focused regions drawn as {shape}, stored as {summary['focus']}", flush=True)
    return roots


def ours(root: Path) -> Callable[[], int]:
    """A function that makes all batches of an epoch and returns the number of scenes."""
    source = shards.open_split(root / "shards", "train")
    batches = batches_of(source, settings_for(root / "shards"))
    steps = len(source) // BATCH

    def run() -> int:
        for step in range(steps):
            _, corrupt = batches(step)
            assert not corrupt, corrupt
        return steps * BATCH

    return run


def peer(root: Path) -> Callable[[], int]:
    dataset, tokenizer = PeerDataset(root), scenes.word_tokenizer()
    collate = Collate(tokenizer.encode, tokenizer.eos_id)
    steps = len(dataset) // BATCH

    def run() -> int:
        for step in range(steps):
            collate([dataset[step * BATCH + i] for i in range(BATCH)])
        return steps * BATCH

    return run


def limit(root: Path, at_least: int | None = None) -> Callable[[], int]:
    """Decodes photos; at a smaller size with `at_least`, as ours does (`data.photo.rgb`)."""
    photos = [path.read_bytes() for path in sorted((root / "images").glob("*.jpg"))]

    def run() -> int:
        for photo in photos:
            rgb(Image.open(io.BytesIO(photo)), at_least).load()
        return len(photos)

    return run


def measure(runs: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """CPU milliseconds a scene of each, round by round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = time.process_time()
            count = run()
            if number:  # the first round warms up
                times[name].append(1e3 * (time.process_time() - start) / count)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="where to write the figures")
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        roots = make_data(Path(folder), arguments.scenes)
        runs = {"limit": limit(roots["boxes"]), "decoding as ours": limit(roots["boxes"], 224)}
        for shape, root in roots.items():
            runs |= {f"ours, {shape}": ours(root), f"peer, {shape}": peer(root)}
        times = measure(runs, arguments.rounds)
    for side in ("ours", "peer"):
        pairs = zip(*(times[f"{side}, {shape}"] for shape in SHAPES), strict=True)
        times[side] = [statistics.mean(pair) for pair in pairs]

    def ratio(over: str, under: str) -> float:
        pairs = zip(times[over], times[under], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 3)

    results = {
        "ratio_to_peer": ratio("peer", "ours"),
        "ratio_to_decode_limit": ratio("limit", "ours"),
        "by_region": {
            shape: {
                "ratio_to_peer": ratio(f"peer, {shape}", f"ours, {shape}"),
                "ratio_to_decode_limit": ratio("limit", f"ours, {shape}"),
            }
            for shape in SHAPES
        },
        "milliseconds_a_scene": {k: round(statistics.median(v), 3) for k, v in times.items()},
        "scenes_a_second_a_core": {
            k: round(1e3 / statistics.median(v), 1) for k, v in times.items()
        },
        "rounds": arguments.rounds,
        "machine": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
    }
    arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
