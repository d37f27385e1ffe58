"""What a host with many reading workers could feed, by the CPU time of a scene in a worker and in the trainer.

    python -m benchmarks.feeding --json FILE [--workers 1,8,16,32] [--batches 6] [--rounds 3]

Workers read 640 x 480 JPEGs from shards and hand batches over in shared memory, as in training; the trainer
only takes them. All run at once on the machine's cores, however few, and the CPU time of each process is
counted, not the time on the clock. So W workers with a core each could make W / (a worker's time) scenes a
second, unless the trainer can't take as many: 1 / (its own time). That more cores share caches and memory isn't
in these figures.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from multiprocessing import active_children
from pathlib import Path

# As in `input_pipeline`, so that its figures can be compared; workers inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAYON_NUM_THREADS", "1")

from benchmarks import scenes
from benchmarks.reading import BATCH, OBJECTS, RELATIONS, batches_of, settings_for
from scenarioclip_jax.data.build import dataset as build
from scenarioclip_jax.data.pipeline import TrainIterator
from scenarioclip_jax.data.stored import shards


def make_data(folder: Path, count: int) -> Path:
    scenes.write_root(
        folder, scenes.draw_scenes(count, 0, objects=OBJECTS, relations=RELATIONS), "boxes"
    )
    build.build(folder, folder / "shards", fractions=(1.0, 0.0, 0.0), progress=False)
    return folder / "shards"


def cpu_seconds(processes: list[int]) -> float:
    """The CPU time that processes have used, with all their threads, once they have nothing more to do.

    By then all that can be read ahead is there: what is made between two calls is what is taken between them.
    """
    # Linux numbers a process's clock so (clock_getcpuclockid(3)).
    clocks = [~process << 3 | 2 for process in processes]
    before, now = -1.0, 0.0
    while now - before > 1e-3 * len(clocks):
        time.sleep(0.5)
        before, now = now, sum(map(time.clock_gettime, clocks))
    return now


def measure(folder: Path, workers: int, batches: int) -> dict[str, float]:
    """CPU milliseconds of a scene in the workers together and in this process, while all run at once."""
    source, settings = shards.open_split(folder, "train"), settings_for(folder, workers)
    iterator = TrainIterator(batches_of(source, settings), settings, len(source))
    try:
        for _ in range(3 * workers):  # until all have started
            next(iterator)
        processes = [each.pid for each in active_children() if each.name.startswith("grain-")]
        assert len(processes) == workers, processes
        before, own = cpu_seconds(processes), time.process_time()
        for _ in range(batches * workers):
            next(iterator)
        own = time.process_time() - own
        used = cpu_seconds(processes) - before
    finally:
        iterator.close()
    count = batches * workers * BATCH
    return {"worker": 1e3 * used / count, "trainer": 1e3 * own / count}


def measure_alone(folder: Path, batches: int) -> float:
    """CPU milliseconds of a scene where a batch is made and kept in one process: nothing is handed over."""
    making = batches_of(shards.open_split(folder, "train"), settings_for(folder))
    making(0)  # opens the files
    began = time.process_time()
    for step in range(1, batches + 1):
        making(step)
    return 1e3 * (time.process_time() - began) / (batches * BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="where to write the figures")
    parser.add_argument("--workers", default="1,8,16,32")
    parser.add_argument("--scenes", type=int, default=48, help="different ones in the shards")
    parser.add_argument("--batches", type=int, default=6, help="of each worker in a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    counts = [int(each) for each in arguments.workers.split(",")]
    rounds: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    alone = []
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder), arguments.scenes)
        for _ in range(arguments.rounds):
            alone.append(measure_alone(data, 2 * arguments.batches))
            for count in counts:
                rounds[count].append(measure(data, count, arguments.batches))
    rows = {}
    print(
        "| workers | ms in a worker | ms in the trainer | scenes/s of the workers | of the trainer |"
    )
    print("| --- | --- | --- | --- | --- |")
    for count, found in rounds.items():
        row = {name: statistics.median(each[name] for each in found) for name in found[0]}
        row["scenes_a_second_of_workers"] = 1e3 * count / row["worker"]
        row["scenes_a_second_of_trainer"] = 1e3 / row["trainer"]
        rows[count] = {name: round(value, 4) for name, value in row.items()}
        print(
            f"| {count} | {row['worker']:.2f} | {row['trainer']:.3f} "
            f"| {row['scenes_a_second_of_workers']:,.0f} | {row['scenes_a_second_of_trainer']:,.0f} |"
        )
    results = {
        "made_and_kept": round(statistics.median(alone), 4),
        "by_workers": rows,
        "rounds": arguments.rounds,
        "machine": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
    }
    arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
