"""Whether learning is real, and what each part of it is worth, on the embedded scenes.

    python -m benchmarks.learning --json FILE [--variants clip,pyramid_clip,...] [--seeds 0,1,2]

Runs the demo once for every variant and seed, with the same budget (scenes seen and steps), and prints the
held-out zero-shot recognition of each. One run takes as long as the demo. Flags that it doesn't know, such as
`--config.steps=500`, go to every run; a file holds runs with the same ones only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import stats

ROOT = Path(__file__).parents[1]
LEVELS = ("global", "object", "relation")
VARIANTS = {
    "clip": ["--config.arch=clip"],
    "pyramid_clip": ["--config.arch=pyramid_clip"],
    "scenario_clip_0": ["--config.arch=scenario_clip_0"],
    "scenario_clip_1": [],  # the demo as it stands
    "shuffled texts": ["--config.data.shuffle_texts=True"],
    "equal texts as negatives": ["--config.loss.multi_positive=False"],
    "plain distillation (weight 0.01)": [
        "--config.loss.distill.scaling=plain",
        "--config.loss.distill_weight=0.01",
    ],
    # Budgets by `python -m scenarioclip_jax.train.budgets`.
    "patch packing": [
        "--config.model.patch_packing=True",
        "--config.data.packing_groups=1",
        "--config.data.patch_row_views=4",
        "--config.data.levels.object.slots_per_scene=4.75",
        "--config.data.levels.relation.slots_per_scene=3.04",
        "--config.data.levels.object.patches_per_scene=21.6",
        "--config.data.levels.relation.patches_per_scene=21.4",
    ],
    "balanced packing": [
        "--config.model.patch_packing=True",
        "--config.data.balance=True",
        "--config.data.packing_groups=1",
        "--config.data.patch_row_views=4",
        "--config.data.levels.object.slots_per_scene=4.6",
        "--config.data.levels.relation.slots_per_scene=2.91",
        "--config.data.levels.object.patches_per_scene=21.25",
        "--config.data.levels.relation.patches_per_scene=21.25",
    ],
}


def run(arguments: list[str], seed: int, extra: list[str]) -> dict:
    """One demo run in a process of its own; returns its `report.json`."""
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-m", "scenarioclip_jax.main", "--config=configs/pretrain.py"]
        command += [f"--workdir={workdir}", f"--config.seed={seed}", "--config.report.queries=0"]
        subprocess.run([*command, *arguments, *extra], cwd=ROOT, check=True)
        return json.loads((Path(workdir) / "report.json").read_text())


def interval(values: list[float]) -> float:
    """Half the width of the 95% interval of a mean, by Student's t: of few seeds a wide one."""
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


def table(results: dict[str, list[dict]]) -> str:
    """Markdown: mean strict top-1 of the student, with its 95% interval over seeds where there are several."""
    lines = ["| variant | global | object | relation | seeds |", "| --- | --- | --- | --- | --- |"]
    for name, reports in results.items():
        cells = []
        for level in LEVELS:
            values = [100 * r["zero_shot"][level]["top1"] for r in reports]
            spread = f" ± {interval(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.1f}%{spread}")
        lines.append(f"| {name} | {' | '.join(cells)} | {len(reports)} |")
    chance = next(iter(results.values()))[0]["zero_shot"]
    cells = [f"{chance[level]['chance_top1']:.2%}" for level in LEVELS]
    return "\n".join([*lines, f"| chance | {' | '.join(cells)} | |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="results; added to if it exists")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="names, comma-separated")
    parser.add_argument("--seeds", default="0")
    arguments, extra = parser.parse_known_args()
    # Runs take minutes: each is written when it is done, and one that was done isn't run again.
    kept = {"flags": extra, "runs": {}}
    if arguments.json.is_file():
        kept = json.loads(arguments.json.read_text())
        if kept["flags"] != extra:
            parser.error(f"{arguments.json} holds runs with the flags {kept['flags']}, not {extra}")
    done = kept["runs"]
    for seed in arguments.seeds.split(","):
        for name in arguments.variants.split(","):
            of_variant = done.setdefault(name, {})
            if seed not in of_variant:
                of_variant[seed] = run(VARIANTS[name], int(seed), extra)
                arguments.json.write_text(json.dumps(kept, indent=1) + "\n")
    print(table({name: list(reports.values()) for name, reports in done.items() if reports}))


if __name__ == "__main__":
    main()
