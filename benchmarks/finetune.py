"""Zero-shot, linear probe and fine-tuning side by side, on drawn scenes that the weights have never seen.

    python -m benchmarks.finetune --json FILE --weights NAME=DIR [--weights NAME=DIR …] [--seeds 0,1,2]
        [--scenes 1500] [--steps 200]

Draws `--scenes` scenes of another seed than the demo's, fine-tunes each of the weights on them with every
seed (configs/finetune.py:classification), and scores recognition and a linear probe before and after on their
test split. Prints a table with means and 95% intervals over seeds; before fine-tuning there is one result, as
zero-shot recognition draws nothing by chance. Flags that it doesn't know go to every run. Results are kept in
FILE, and what is there isn't run again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.learning import LEVELS, interval
from scenarioclip_jax.data.build.dataset import default_embedded
from scenarioclip_jax.files import write_text

ROOT = Path(__file__).parents[1]
DRAW = 1  # seed of the scenes; the demo's have 0
# For the demo's small towers, batches and views.
USUAL = [
    "--config.data.batch_size=32",
    "--config.data.num_workers=0",
    "--config.data.levels.object.slots_per_scene=4.7",
    "--config.data.levels.relation.slots_per_scene=3.0",
    "--config.optimizer.learning_rate=3e-4",
    "--config.optimizer.b2=0.98",
    "--config.model.unroll=4",
    "--config.log_every=50",
    "--config.report.queries=0",
    "--config.validation.every=50",
    "--config.checkpoint.every=50",
]
COLUMNS = {  # the suite and the column of an evaluation
    "zero-shot": ("zero_shot", "baseline"),
    "probe": ("linear_probe", "baseline"),
    "fine-tuned": ("zero_shot", "student"),
    "fine-tuned, probe": ("linear_probe", "student"),
}


def run(weights: str, data: Path, seed: int, steps: int, extra: list[str]) -> dict:
    """Fine-tunes and evaluates; returns `results.json` and what the run's report says of its end."""
    with tempfile.TemporaryDirectory() as folder:
        tuned, scores = f"{folder}/run", f"{folder}/scores"
        main = [sys.executable, "-m", "scenarioclip_jax.main"]
        command = [*main, "--config=configs/finetune.py", f"--config.init_from={weights}"]
        command += [f"--config.data.dir={data}", f"--config.seed={seed}", f"--workdir={tuned}"]
        subprocess.run([*command, f"--config.steps={steps}", *USUAL, *extra], cwd=ROOT, check=True)
        command = [*main, "--config=configs/evaluate.py", f"--config.checkpoint={tuned}"]
        command += [f"--config.baseline={weights}", f"--config.data.dir={data}", "--config.cache="]
        command += ["--config.suites=zero_shot,linear_probe", f"--config.seed={seed}"]
        subprocess.run([*command, f"--workdir={scores}"], cwd=ROOT, check=True)
        report = json.loads(Path(f"{tuned}/report.json").read_text())
        results = json.loads(Path(f"{scores}/results.json").read_text())["suites"]
        top1 = {
            name: {
                level: results[suite]["columns"][column]["metrics"][f"{level}/top1"]["value"]
                for level in LEVELS
            }
            for name, (suite, column) in COLUMNS.items()
        }
        return {"top1": top1, "steps": report["steps"], "shares": report["shares"]}


def table(done: dict[str, dict[str, dict]]) -> str:
    """Markdown: top-1 on the test split by level, and by what was done."""
    lines = ["| weights | | actions | objects | relations |", "| --- | --- | --- | --- | --- |"]
    for name, by_seed in done.items():
        for column in COLUMNS:
            cells = []
            for level in LEVELS:
                values = [100 * each["top1"][column][level] for each in by_seed.values()]
                # The same weights are scored before every run, so their figure has no interval over seeds.
                varies = len(values) > 1 and column != "zero-shot"
                cells.append(
                    f"{np.mean(values):.1f}" + (f" ± {interval(values):.1f}" if varies else "")
                )
            lines.append(f"| {name} | {column} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="results; added to if it exists")
    parser.add_argument("--weights", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--scenes", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=200)
    arguments, extra = parser.parse_known_args()
    settings = {"scenes": arguments.scenes, "steps": arguments.steps, "flags": extra}
    kept = {"settings": settings, "runs": {}}
    if arguments.json.is_file():
        kept = json.loads(arguments.json.read_text())
        if kept["settings"] != settings:
            parser.error(f"{arguments.json} holds runs with {kept['settings']}, not {settings}")
    data = default_embedded(num_scenes=arguments.scenes, seed=DRAW)
    for seed in arguments.seeds.split(","):
        for given in arguments.weights:
            name, _, weights = given.partition("=")
            of_weights = kept["runs"].setdefault(name, {})
            if seed not in of_weights:
                of_weights[seed] = run(weights, data, int(seed), arguments.steps, extra)
                write_text(arguments.json, json.dumps(kept, indent=1) + "\n")
    print(table(kept["runs"]))


if __name__ == "__main__":
    main()
