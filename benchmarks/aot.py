"""Which batches fit on which pods: the tables of `benchmarks/aot.md`.

    python -m benchmarks.aot [--only TEXT] [--table]

Runs `scenarioclip_jax.aot` once a row, which compiles the train step for the pod; no TPU is needed, but libtpu
and hours of CPU are. Each row is kept as soon as it is known, and a row that is known isn't computed again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from scenarioclip_jax.costs.chips import CHIPS, GIB
from scenarioclip_jax.costs.roofline import MFU_REACHED

FIGURES = Path(__file__).with_name("aot.json")
TABLE = Path(__file__).with_name("aot.md")

PUBLISHED = "--config.model.dtype=bfloat16"
SHARED = f"{PUBLISHED} --config.model.share_stem=True --config.model.remat=dots"
SEARCH = "--largest-batch --quick"
PODS = ("v5e:4x4", "v5e:16x16", "v5p:8x8x8", "v6e:16x16")
GOAL = 65_536  # scenes
ONE_STEM = f"{PUBLISHED} --config.model.share_stem=True"
# Two ways to the same gradient: fewer activations, or fewer scenes at a time.
REMAT = "--config.data.packing_groups=4096 --config.model.remat=full"
PARTS = "--config.data.packing_groups=8192 --config.loss.accumulate=32"
TEXT = """# Which batches fit on which pods

Written by `python -m benchmarks.aot` from `aot.json`: the train step, compiled for the pod on a machine
without a TPU ({versions}). Nothing was run on a TPU. Memory is that of a chip in GiB, as the compiler
accounts for it, of what it lets a program have; `total` includes the program's code and what tiles are
filled up with. A chip is what JAX calls a device, of which a TPU7x has two. FLOPs are those of the model for
all chips, counted from shapes. Collectives are the results' bytes on a chip in a step. The bound is a roofline
whose assumptions `python -m scenarioclip_jax.aot` prints: a real step takes longer. What to expect of one
stands beside it: the rate at {low:.0%} to {high:.0%} MFU, which published contrastive training reaches
(open_clip's and NeMo's own figures). All rows compute in bfloat16 with float32 parameters; stems are
frozen as in the presets, and `one stem` is `model.share_stem=True`.

## The goal: a batch of 65,536 scenes on 256 chips of v5e

{goal}

## The largest batch a chip

Found by search over multiples of 8 scenes a chip, compiled with the compiler's least effort (`--quick`).
`does not fit` is the smallest batch a chip that was tried and didn't. Without `loss.accumulate`, so that
the whole batch's activations are kept; with it a chip takes many more, as the goal shows. A step counts as
fitting if all that it needs stays within the limit as the compiler laid it out. Laying out leaves gaps, so
a larger batch sometimes needs less; and some steps beyond the limit are accepted by the compiler, because
never more than the limit is alive at once, but whether a TPU would load them nobody tried.

{searched}
{missing}
## Before and after: the published layout, one stem, packed patches

`vitb32` with `model.remat=dots` throughout, scenes as in `benchmarks/scenes.py`, in groups of about 128 (a
half to twice as many). `one stem` shares the frozen stem, encodes equal texts of a group once, packs texts
into rows, and keeps the average of the teacher's towers only; `packed` computes only the patches that show
something, too, with about the room that `python -m benchmarks.packing` finds (0.5% left out). Found as above,
in at most {trials} trials (6 for packed on v6e): between the largest that fitted and the smallest that didn't
nothing was tried.
Compiled on 28 November; the rows above are of the 24th, from before the levels of one stem went through it as
one batch. The work of a scene grows with the batch, since losses compare all pairs. Packed rows take visible
patches straight from the canvas, so they need the least work and the least memory.

{layouts}

## Commands

```bash
{commands}
```
"""
TRIALS = 3  # of the search for each layout
AS_SCENES = (
    f"{PUBLISHED} --config.model.remat=dots --config.data.packing_groups=1 "
    "--config.data.levels.object.slots_per_scene=4.6 --config.data.levels.relation.slots_per_scene=3.6 "
    "--config.data.levels.scene.text_length=12 --config.data.levels.object.text_length=8 "
    "--config.data.levels.relation.text_length=12"
)
ONE = (
    f"{AS_SCENES} --config.model.share_stem=True --config.ema.keep=teacher --config.data.text_row_tokens=24 "
    "--config.data.levels.scene.tokens_per_scene=5.25 --config.data.levels.object.tokens_per_scene=3.2 "
    "--config.data.levels.relation.tokens_per_scene=22"
)
PACKED = (
    f"{ONE} --config.model.patch_packing=True --config.data.patch_row_views=4 "
    "--config.data.levels.object.patches_per_scene=37.5 --config.data.levels.relation.patches_per_scene=46.9"
)
LAYOUTS = {"published": AS_SCENES, "one stem": ONE, "packed": PACKED}
# (preset, pod, flags)
ROWS = [
    ("vitb32", "v5e:16x16", f"{ONE_STEM} --config.data.batch_size={GOAL} {way}")
    for way in (PARTS, REMAT)
]
ROWS += [("vitb32", pod, f"{SHARED} {SEARCH}") for pod in PODS]
# Parameters and optimizer of ViT-L/14 alone would fill more than half of a v5e.
ROWS += [("vitl14", "v5e:4x4", f"{SHARED} --config.mesh.fsdp=8 {SEARCH}")]
ROWS += [("vitl14", pod, f"{SHARED} {SEARCH} --trials=4") for pod in ("v6e:16x16", "v5p:8x8x8")]
ROWS += [("vitl14", "v5e:16x16", f"{SHARED} --config.mesh.fsdp=8 {SEARCH} --trials=4")]
ROWS += [("vitb32", "v5e:16x16", f"{PUBLISHED} {SEARCH} --trials=4")]
# Where the largest that fits after three trials is far from the smallest that doesn't.
MORE_TRIALS = {("packed", "v6e:16x16"): 6}
OF_LAYOUTS = {
    ("vitb32", pod, f"{flags} {SEARCH} --trials={MORE_TRIALS.get((layout, pod), TRIALS)}"): layout
    for pod in ("v5e:16x16", "v5p:8x8x8", "v6e:16x16", "tpu7x:4x4x8")
    for layout, flags in LAYOUTS.items()
}
ROWS += OF_LAYOUTS


def command(preset: str, pod: str, flags: str) -> str:
    return f"python -m scenarioclip_jax.aot --config=configs/pretrain.py:{preset} --topology={pod} {flags}"


def run(preset: str, pod: str, flags: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        words = command(preset, pod, flags).split()[1:]
        done = subprocess.run([sys.executable, *words, f"--json={figures}"], check=False)
        if not figures.is_file():
            raise RuntimeError(f"status {done.returncode}: {command(preset, pod, flags)}")
        return json.loads(figures.read_text(encoding="utf-8"))


EXPECTED = "scenes/s at {:.0%} to {:.0%} MFU".format(*MFU_REACHED)
COLUMNS = {
    "model": lambda r: r["preset"],
    "pod": lambda r: r["topology"],
    "settings": lambda r: _settings(r["settings"], r["mesh"]),
    "scenes a chip": lambda r: f"**{r['scenes_per_device']:,}**" if r["fits"] else "none",
    "global batch": lambda r: f"{r['global_batch']:,}" if r["fits"] else "-",
    "does not fit": lambda r: _too_large(r.get("largest")),
    "parameters": lambda r: _gib(r["memory"]["parameters"]),
    "optimizer": lambda r: _gib(r["memory"]["optimizer"]),
    "batch": lambda r: _gib(r["memory"]["batch"]),
    "activations": lambda r: _gib(r["memory"].get("activations")),
    "total": lambda r: _gib(r["needed"]),
    "of": lambda r: _gib(r["limit"]),
    "model PFLOP": lambda r: f"{r['flops']['model'] / 1e15:,.2f}" if "flops" in r else "-",
    "collectives, MB": lambda r: _collectives(r.get("collectives", {})),
    "bound s": lambda r: f"{r['roofline']['seconds']:.3f}" if "roofline" in r else "-",
    "by": lambda r: r["roofline"]["limit"] if "roofline" in r else "-",
    "MFU at most": lambda r: f"{r['roofline']['mfu']:.0%}" if "roofline" in r else "-",
    EXPECTED: lambda r: _expected(r),
    "compiled in s": lambda r: f"{r['compile_seconds']:.0f}",
}


SAME = 64  # scenes a chip, at which layouts are compared
OF_LAYOUT = {
    "pod": lambda r: r["topology"],
    f"GiB a chip with {SAME} scenes": lambda r: _gib(_needed(r, SAME)),
    "of that the state": lambda r: _gib(r["memory"]["parameters"] + r["memory"]["optimizer"]),
    "GiB there are": lambda r: _gib(r["limit"]),
    "GFLOP a scene": lambda r: (
        f"{r['flops']['model'] / r['global_batch'] / 1e9:,.0f}" if "flops" in r else "-"
    ),
    "largest, scenes a chip": COLUMNS["scenes a chip"],
    "did not fit": COLUMNS["does not fit"],
    "collectives a step then, MB": COLUMNS["collectives, MB"],
    "scenes/s at most": lambda r: (
        f"{r['global_batch'] / r['roofline']['seconds']:,.0f}" if "roofline" in r else "-"
    ),
    "by": COLUMNS["by"],
    EXPECTED: COLUMNS[EXPECTED],
}


def _expected(report: dict) -> str:
    if "flops" not in report:
        return "-"
    chip = next(chip for chip in CHIPS if chip.name == report["chip"])
    peak = chip.peak * report["devices"]
    per_scene = report["flops"]["model"] / report["global_batch"]
    most = report["global_batch"] / report["roofline"]["seconds"]
    low, high = (mfu * peak / per_scene for mfu in MFU_REACHED)
    return "below the bound" if low >= most else f"{low:,.0f} to {min(high, most):,.0f}"


def _needed(report: dict, scenes: int) -> float | None:
    return report["largest"]["tried"].get(str(scenes), {}).get("needed")


def _settings(settings: dict, mesh: dict) -> str:
    """Those that differ between rows."""
    short = {"model.share_stem": {True: "one stem", False: "a stem a level"}}
    short |= {"model.remat": {"none": "", "dots": "remat dots", "full": "remat full"}}
    words = [short[key][settings[key]] for key in short]
    if settings["loss.accumulate"] > 1:
        words.append(f"accumulate {settings['loss.accumulate']}")
    words += [f"{axis} {mesh[axis]}" for axis in ("fsdp", "tensor") if mesh[axis] > 1]
    return ", ".join(word for word in words if word)


def _gib(size: float | None) -> str:
    return "-" if size is None else f"{size / GIB:.2f}"


def _collectives(found: dict) -> str:
    return ", ".join(f"{kind} {each['bytes'] / 1e6:,.0f}" for kind, each in found.items()) or "-"


def _too_large(largest: dict | None) -> str:
    return "" if not largest else f"{largest['too_large'] or 'not reached'}"


def markdown(reports: list[dict], columns: dict = COLUMNS) -> str:
    lines = [" | ".join(["", *columns, ""]).strip()]
    lines.append("| " + " | ".join("---" for _ in columns) + " |")
    lines += [
        "| " + " | ".join(str(of(report)) for of in columns.values()) + " |" for report in reports
    ]
    return "\n".join(lines)


def table(rows: dict[str, dict]) -> str:
    layouts = [
        {"layout": layout} | rows[command(*row)]
        for row, layout in OF_LAYOUTS.items()
        if command(*row) in rows
    ]
    of_layouts = {command(*row) for row in OF_LAYOUTS}
    reports = [report for name, report in rows.items() if name not in of_layouts]
    goal = [r for r in reports if r["global_batch"] == GOAL and "largest" not in r]
    searched = [r for r in reports if "largest" in r]
    reached = "It fits." if any(r["fits"] for r in goal) else "It does not fit."
    missing = [command(*row) for row in ROWS if command(*row) not in rows]
    versions = {f"JAX {r['jax']}, libtpu {r['libtpu']}" for r in rows.values()}
    return TEXT.format(
        goal=f"{reached}\n\n{markdown(goal)}",
        searched=markdown(searched),
        layouts=markdown(layouts, {"layout": lambda r: r["layout"]} | OF_LAYOUT),
        trials=TRIALS,
        low=MFU_REACHED[0],
        high=MFU_REACHED[1],
        missing="".join(
            ["\nNot computed yet:\n\n"] * bool(missing) + [f"    {m}\n" for m in missing]
        ),
        versions="; ".join(sorted(versions)),
        commands="\n".join(rows),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose command contains this")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    arguments = parser.parse_args()
    rows = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.is_file() else {}
    for row in [] if arguments.table else ROWS:
        name = command(*row)
        if name not in rows and arguments.only in name:
            print(f"\n$ {name}", flush=True)
            rows[name] = run(*row)
            FIGURES.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    TABLE.write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
