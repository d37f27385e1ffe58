"""How a build of shards scales: memory against the number of records, and time against the number of processes.

    python -m benchmarks.build_data --json FILE [--records 10000,1000000] [--photos 1200] [--rounds 3]

Memory: records with 5 objects, 4 relations and 8 negatives each, and tiny photos, all different. Reported is
the largest resident memory of the build's main process and of its other processes. Speed: 640 x 480 JPEGs with
focused-region images, or without, built by 1 and by 2 processes in turn; the ratio is that of the elapsed
times, as a median of the rounds, so nothing else should run.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import scenes

NAMES = [f"thing {number}" for number in range(60)]  # 7,080 relation texts: memory grows with these
MEASURE = """
import resource, sys
from scenarioclip_jax.data.build.command import main
code = main(sys.argv[1:])
for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
    print(resource.getrusage(who).ru_maxrss / 1024, resource.getrusage(who).ru_utime)
sys.exit(code)
"""


def write_records(root: Path, count: int) -> None:
    """Writes JSON lines and tiny photos, in folders of 1,000."""
    draw = np.random.default_rng(0)
    with (root / "metadata.jsonl").open("w", encoding="utf-8") as file:
        for number in range(count):
            folder = root / f"{number // 1000:06d}"
            folder.mkdir(exist_ok=True)
            pixels = np.full((24, 32, 3), number % 251, np.uint8)
            pixels[0, :8, 0] = list(number.to_bytes(8, "little"))
            Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=1)
            names = [NAMES[i] for i in draw.choice(len(NAMES), 5, replace=False)]
            objects = [[name, [2 + i, 2, 12 + 3 * i, 20]] for i, name in enumerate(names)]
            relations = [
                ["", [names[i], f"does {i % 2} to", names[i + 1]], negatives(names, i)]
                for i in range(4)
            ]
            record = {
                "id": f"record {number}",
                "image_path": f"{number // 1000:06d}/{number}.png",
                "action": f"acting in manner {number % 400}",
                "objects": objects,
                "relations": relations,
            }
            file.write(json.dumps(record) + "\n")


def negatives(names: list[str], i: int) -> list[list[str]]:
    return [[names[i + 1], "stands on", names[i]], [names[i], "never meets", names[i + 1]]]


def build(root: Path, workers: int) -> dict[str, float]:
    """Builds in a process of its own; returns elapsed seconds and memory in MiB."""
    output = root.parent / "shards"
    arguments = [f"--metadata={root}", f"--output={output}", f"--workers={workers}"]
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - begun
    shutil.rmtree(output)
    (main, _), (others, _) = (map(float, line.split()) for line in done.stdout.splitlines()[-2:])
    return {"seconds": seconds, "main": main, "others": others}


def memory(folder: Path, counts: list[int], workers: int) -> list[dict]:
    found = []
    for count in counts:
        root = folder / "records"
        root.mkdir()
        write_records(root, count)
        result = {"records": count} | build(root, workers)
        found.append(result)
        print(
            f"{count:,} records, {workers} processes: {result['main']:.0f} MiB in the main process, "
            f"{result['others']:.0f} MiB in the largest other, {result['seconds'] / count * 1e3:.2f} ms each",
            flush=True,
        )
        shutil.rmtree(root)
    return found


def speed(folder: Path, photos: int, rounds: int, shapes: list[str]) -> dict[str, list[float]]:
    drawn = scenes.draw_scenes(photos, 0, objects=5, relations=4)
    ratios: dict[str, list[float]] = {}
    for shape in shapes:
        root = folder / "photos"
        scenes.write_root(root, drawn, shape.partition(" ")[0])
        if shape.endswith("images"):
            leave_out_focus(root)
        ratios[shape] = []
        for _ in range(rounds):
            one, two = (build(root, workers)["seconds"] for workers in (1, 2))
            ratios[shape].append(one / two)
            print(
                f"{shape}: {one / photos * 1e3:.2f} ms a scene with 1 process, "
                f"{two / photos * 1e3:.2f} with 2: {one / two:.2f} times as fast",
                flush=True,
            )
        shutil.rmtree(root)
    return ratios


def leave_out_focus(root: Path) -> None:
    path = root / "metadata.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for record in content["data"]:
        for relation in record["relations"]:
            relation[0] = ""
    path.write_text(json.dumps(content), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", required=True, metavar="FILE")
    parser.add_argument("--records", default="10000,100000", help="numbers of records; 0: none")
    parser.add_argument("--photos", type=int, default=1200, help="for the speed; 0: none")
    parser.add_argument(
        "--shapes",
        default="outlines,boxes without images",
        help="what the photos' focused regions are",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="processes while memory is measured")
    args = parser.parse_args()
    counts = [int(count) for count in args.records.split(",") if int(count)]
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "cores": os.cpu_count(),
            "memory": memory(Path(folder), counts, args.workers),
            "speed": speed(Path(folder), args.photos, args.rounds, args.shapes.split(","))
            if args.photos
            else {},
            "photos": args.photos,
        }
    for shape, ratios in found["speed"].items():
        print(f"{shape}: 2 processes are {statistics.median(ratios):.2f} times as fast as 1")
    Path(args.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
