"""What each part of the recipe is worth, on the embedded scenes: the published recipe, ours, ours less a part.

    python -m benchmarks.recipe --json FILE [--variants published,recipe,...] [--seeds 0,1,2] [--steps 400]

Trains and evaluates every variant with every seed, and prints tables with the mean and the 95% interval over
seeds, and the paired differences from the recipe. Every run's results are kept in FILE, and a run that is there
isn't repeated. Flags that it doesn't know go to every run.

Runs come one after the other, or `--workers` at a time, which share the machine: the rates in scenes a second
that are kept, too, then say little.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from benchmarks import learning
from scenarioclip_jax.files import write_text

ROOT = Path(__file__).parents[1]
SUITES = "zero_shot,hard_negatives,paraphrases,half_truth,photo_search,retrieval"
# The columns of the tables: suite, metric, title.
COLUMNS = (
    ("zero_shot", "global/top1", "actions"),
    ("zero_shot", "object/top1", "objects"),
    ("zero_shot", "relation/top1", "relations"),
    ("hard_negatives", "all", "all negatives"),
    ("hard_negatives", "swapped ends", "swapped ends"),
    ("hard_negatives", "other predicate", "other predicate"),
    ("hard_negatives", "swapped ends, unseen", "swapped, unseen"),
    ("paraphrases", "beats negatives", "paraphrases"),
    ("half_truth", "relation/relation", "half-truths"),
    ("half_truth", "global/relation", "half-truths of photos"),
    ("half_truth", "global/truth", "true additions to photos"),
    ("photo_search", "relation/R@5", "photos by triplet, R@5"),
    ("retrieval", "caption/text_to_image/R@5", "photos by caption, R@5"),
)
# The published recipe as fast as it can be computed here.
PUBLISHED = learning.VARIANTS["balanced packing"]
TEXTS = [
    "--config.loss.terms.negatives=2.0",
    "--config.loss.terms.paraphrases=1.0",
    "--config.data.make_negatives=4",
    "--config.data.make_paraphrases=1",
    "--config.data.levels.relation.further_per_scene=15",
]
# The harder tier of embedded scenes, with the room that it needs (`scenarioclip_jax.train.budgets`).
HARD = "--config.demo_data.tier=hard"
HARD_PUBLISHED = [
    *PUBLISHED,
    HARD,
    "--config.data.levels.object.slots_per_scene=7.04",
    "--config.data.levels.relation.slots_per_scene=4.54",
    "--config.data.levels.object.patches_per_scene=29.75",
    "--config.data.levels.relation.patches_per_scene=31.875",
]
HARD_RECIPE = [
    HARD,
    "--config.data.levels.object.slots_per_scene=8",
    "--config.data.levels.relation.slots_per_scene=5.5",
    "--config.data.levels.relation.further_per_scene=27.5",
    "--config.data.levels.scene.tokens_per_scene=12",
    "--config.data.levels.object.tokens_per_scene=24",
    "--config.data.levels.relation.tokens_per_scene=276",
]
USUAL_RATE = '--config.optimizer.learning_rate_scale=((r".*", 1.0),)'
# By variant: the preset, and what differs from it.
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "published": ("demo", PUBLISHED),
    "published with negatives and paraphrases": ("demo", [*PUBLISHED, *TEXTS]),
    "recipe": ("recipe", []),
    "published on hard scenes": ("demo", HARD_PUBLISHED),
    "recipe on hard scenes": ("recipe", HARD_RECIPE),
    "scenario_clip_2": ("demo", [*PUBLISHED, "--config.arch=scenario_clip_2"]),
    "less ends as objects": ("recipe", ["--config.model.ends_as_objects=False"]),
    "with parts": ("recipe", ["--config.loss.terms.parts=0.5"]),
    "with captions": (
        "recipe",
        [
            "--config.loss.terms.captions=1.0",
            "--config.data.levels.scene.further_per_scene=1",
            "--config.data.levels.scene.tokens_per_scene=48",
            "--config.data.levels.scene.text_length=48",
            "--config.model.text.max_length=48",  # the demo's towers read 24 tokens
        ],
    ),
    "paraphrases with weight 2": ("recipe", ["--config.loss.terms.paraphrases=2.0"]),
    "objects with weight 1": ("recipe", ["--config.loss.level_weights.object=1.0"]),
    "positions at the usual rate": ("recipe", [USUAL_RATE]),
    "five negatives": (
        "recipe",
        [
            "--config.data.make_negatives=5",
            "--config.data.levels.relation.further_per_scene=18",
            "--config.data.levels.relation.tokens_per_scene=175",
        ],
    ),
    # What the parts were measured against (recipe_parts.json), but for how much boxes' offsets count at first.
    "earlier recipe": (
        "recipe",
        [
            USUAL_RATE,
            "--config.model.ends_as_objects=False",
            "--config.loss.level_weights.object=1.0",
            "--config.data.make_negatives=5",
            "--config.data.levels.relation.further_per_scene=18",
            "--config.data.levels.relation.tokens_per_scene=175",
        ],
    ),
    "less paraphrases": (
        "recipe",
        [
            "--config.loss.terms.paraphrases=0",
            "--config.data.make_paraphrases=0",
            "--config.data.levels.relation.further_per_scene=12",
            "--config.data.levels.relation.tokens_per_scene=125",
        ],
    ),
    "less negatives and paraphrases": (
        "recipe",
        [
            "--config.loss.terms.negatives=0",
            "--config.loss.terms.paraphrases=0",
            "--config.data.make_negatives=0",
            "--config.data.make_paraphrases=0",
            "--config.data.levels.relation.further_per_scene=0",
            "--config.data.levels.relation.tokens_per_scene=36",
        ],
    ),
    "less pooled regions": (
        "recipe",
        [
            *PUBLISHED,
            "--config.model.regions=views",
            "--config.model.object_parts=1",
            "--config.model.ends_as_objects=False",
            "--config.model.vision.patch_size=16",
        ],
    ),
    "less parts of objects": ("recipe", ["--config.model.object_parts=1"]),
    # One text tower that is told the level: with the compute of the three, then with their parameters. Its
    # positions learn at the usual rate, so "positions at the usual rate" is what to compare them with.
    "texts share a tower": ("recipe", ["--config.arch=scenario_clip_shared"]),
    "texts share a larger tower": (
        "recipe",
        [
            "--config.arch=scenario_clip_shared",
            "--config.model.text.width=116",
            "--config.model.text.mlp_dim=464",
        ],
    ),
    "less patches of 8 pixels": ("recipe", ["--config.model.vision.patch_size=16"]),
    "texts first": ("recipe", []),
}
# What a variant is trained with before, and for how many steps, which come on top of its own and aren't in its
# rate: texts alone, paraphrases against negatives.
TEXTS_ALONE = [
    *(f"--config.loss.level_weights.{key}=0" for key in ("scene", "object", "relation")),
    "--config.loss.terms.negatives=0",
    "--config.loss.terms.paraphrases=0",
    "--config.loss.terms.texts=1",
]
BEFORE = {"texts first": (TEXTS_ALONE, 200)}


MAIN = [sys.executable, "-m", "scenarioclip_jax.main"]


def train(preset: str, workdir: str, seed: int, steps: int, arguments: list[str]) -> None:
    command = [*MAIN, f"--config=configs/pretrain.py:{preset}", f"--workdir={workdir}"]
    command += [f"--config.seed={seed}", f"--config.steps={steps}"]
    command += [f"--config.validation.every={steps}", f"--config.checkpoint.every={steps}"]
    command += ["--config.report.queries=0", "--config.report.scenes=1"]
    subprocess.run([*command, *arguments], cwd=ROOT, check=True)


def run(name: str, seed: int, steps: int, extra: list[str]) -> dict:
    """Trains and evaluates a variant in processes of their own; returns the figures by suite and metric."""
    preset, arguments = VARIANTS[name]
    with tempfile.TemporaryDirectory() as folder:
        workdir = f"{folder}/run"
        began = time.perf_counter()
        if name in BEFORE:
            before, count = BEFORE[name]
            train(preset, f"{folder}/before", seed, count, [*arguments, *extra, *before])
            arguments = [*arguments, f"--config.init_from={folder}/before"]
        train(preset, workdir, seed, steps, [*arguments, *extra])
        seconds = time.perf_counter() - began
        rows = [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").open()]
        rates = [row["time/scenes_per_second"] for row in rows if "time/scenes_per_second" in row]
        command = [*MAIN, "--config=configs/evaluate.py", f"--config.checkpoint={workdir}"]
        command += [f"--workdir={folder}/scores", f"--config.suites={SUITES}"]
        command += ["--config.bootstrap=10", "--config.cache="]
        subprocess.run(command, cwd=ROOT, check=True)
        results = json.loads((Path(folder) / "scores" / "results.json").read_text())
    found = {
        suite: {
            name: values["value"] for name, values in entry["columns"]["student"]["metrics"].items()
        }
        for suite, entry in results["suites"].items()
    }
    return {"figures": found, "scenes_per_second": float(np.median(rates)), "seconds": seconds}


def told(values: np.ndarray, sign: str = "") -> str:
    around = f" ± {learning.interval(list(values)):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):{sign}.1f}{around}"


def tables(done: Mapping[str, Mapping[str, dict]], against: str = "recipe") -> str:
    """Markdown: each variant's figures in percent, and their differences from `against`, seed by seed."""

    def of(name: str, seeds: list[str], suite: str, metric: str) -> np.ndarray:
        return 100 * np.array([done[name][s]["figures"][suite].get(metric, np.nan) for s in seeds])

    head = "| | " + " | ".join(title for *_, title in COLUMNS) + " | scenes/s |"
    lines = [head, "| --- " * (len(COLUMNS) + 2) + "|"]
    for name, reports in done.items():
        seeds = list(reports)
        cells = [told(of(name, seeds, suite, metric)) for suite, metric, _ in COLUMNS]
        rate = np.median([reports[seed]["scenes_per_second"] for seed in seeds])
        lines.append(f"| {name} | {' | '.join(cells)} | {rate:.0f} |")
    if against in done:
        lines += ["", f"Difference from “{against}”, seed by seed, in points:", "", head]
        lines[-1] = lines[-1].removesuffix(" scenes/s |")
        lines.append("| --- " * (len(COLUMNS) + 1) + "|")
        for name, reports in done.items():
            seeds = [seed for seed in reports if seed in done[against]]
            if name == against or not seeds:
                continue
            cells = [
                told(of(name, seeds, s, m) - of(against, seeds, s, m), "+") for s, m, _ in COLUMNS
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="results; added to if it exists")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="names, comma-separated")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    arguments, extra = parser.parse_known_args()
    if unknown := set(arguments.variants.split(",")) - set(VARIANTS):
        parser.error(f"unknown variants {sorted(unknown)}; there are {', '.join(VARIANTS)}")
    kept = {"steps": arguments.steps, "flags": extra, "runs": {}}
    if arguments.json.is_file():
        kept = json.loads(arguments.json.read_text())
        if (kept["steps"], kept["flags"]) != (arguments.steps, extra):
            parser.error(
                f"{arguments.json} holds runs of {kept['steps']} steps with the flags {kept['flags']}"
            )
    todo = [
        (seed, name)
        for seed in arguments.seeds.split(",")
        for name in arguments.variants.split(",")
        if seed not in kept["runs"].setdefault(name, {})
    ]
    with ThreadPoolExecutor(arguments.workers) as pool:
        running = {
            pool.submit(run, name, int(seed), arguments.steps, extra): (seed, name)
            for seed, name in todo
        }
        for done in as_completed(running):
            seed, name = running[done]
            if failure := done.exception():  # the others' results are kept
                print(f"{name}, seed {seed}: {failure}", file=sys.stderr)
                continue
            kept["runs"][name][seed] = done.result()
            write_text(arguments.json, json.dumps(kept, indent=1) + "\n")
    print(tables({name: each for name, each in kept["runs"].items() if each}))
    sys.exit(any(done.exception() for done in running))


if __name__ == "__main__":
    main()
