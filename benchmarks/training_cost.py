"""What training costs: hours and price for a million to a hundred million scenes, by preset and machine.

    python -m benchmarks.training_cost [--write docs/measured/cost.md] [--epochs 12] [--price NAME=DOLLARS …]

Nothing is run. The FLOPs that a scene needs are counted from shapes (costs/flops.py), and divided by the rate
that chips reach when contrastive models are trained on them: between 11% and 39% of their bfloat16 peak (MFU),
the band of open_clip's and NeMo's own figures. A roofline says what a program can't beat; this band says what
programs do. The price of a chip and hour is an assumption, which `--price` replaces.
"""

import argparse
import runpy
from pathlib import Path
from typing import NamedTuple

import jax

from scenarioclip_jax.costs.chips import CHIPS
from scenarioclip_jax.costs.roofline import MFU_REACHED
from scenarioclip_jax.files import write_text
from scenarioclip_jax.parallel.mesh import make_mesh
from scenarioclip_jax.train import config as configs
from scenarioclip_jax.train.setup import set_up, step_flops

ROOT = Path(__file__).parents[1]
PRESETS = ("vitb32_fast", "vitb32_recipe", "vitb16_fast", "vitl14_fast")
SCENES = {"1 M": 1e6, "10 M": 1e7, "100 M": 1e8}
PRICES = {"H100 SXM": 3.0, "v5e": 1.2}  # dollars for a chip and hour


class Machine(NamedTuple):
    name: str
    chip: str  # of costs.chips
    chips: int


MACHINES = (
    Machine("8 H100", "H100 SXM", 8),
    Machine("v5e-16", "v5e", 16),
    Machine("v5e-256", "v5e", 256),
)

HEAD = """# What training costs

Written by `python -m benchmarks.training_cost --write docs/measured/cost.md`. Nothing of it was run: the
FLOPs of a scene are counted from the shapes of a preset's batch, and chips are taken to reach {low:.0%} to
{high:.0%} of their bfloat16 peak, as published contrastive training does (open_clip's and NeMo's own
figures). The one rate that was measured lies in that band: `vitb16_fast` made 1,650 to 1,720 scenes a
second on one NVIDIA H200, 28% to 30% of its peak ([how](benchmarks.md)). Reading and decoding photos can be
slower than that; {epochs:g} epochs are the published number. Prices are assumptions: {prices}, without
storage and without hosts that wait.

A scene is a photo with about five objects and four relations, so it is several pairs of pictures and texts.
"""
# Model, pairs seen, compute, source.
PUBLISHED = (
    (
        "OpenCLIP ViT-B/32",
        "12.8 G",
        "128 A100 at 93,294 pairs a second: 38 hours, 4,900 chip hours",
        "LAION's table of trained models (scaling-laws-openclip)",
    ),
    (
        "OpenCLIP ViT-L/14",
        "34 G",
        "1,024 A100 at 79,116 pairs a second: 119 hours, 122,000 chip hours",
        "the same",
    ),
    (
        "CLIPA-v2 ViT-L/14",
        "12.8 G at 84 pixels, then larger ones",
        "4,520 A100 hours, $7,124, as its authors estimate",
        "CLIPA's README",
    ),
    ("CLIPA-v2 ViT-H/14", "the same", "8,640 A100 hours, $13,613", "the same"),
    (
        "SigLIP ViT-B/16, 256 pixels",
        "not said there",
        "16 TPU v4 for three days: 1,150 chip hours",
        "its model card",
    ),
    (
        "OpenVision ViT-L/14",
        "in stages, as CLIPA",
        "83 hours on TPU v4; the number of chips isn't said there",
        "the abstract of OpenVision 2 (2025)",
    ),
)
TAIL = """
They trained from scratch, on pairs of the web. The presets here start from CLIP's weights and train half of the
vision blocks and two text blocks of twelve, so the two can be compared by their order of magnitude only.
"""


def flops_per_scene(preset: str) -> float:
    """Model FLOPs of a train step over the scenes of its batch."""
    config = runpy.run_path(str(ROOT / "configs/pretrain.py"))["get_config"](preset)
    configs.check(config, batch_ways=1, reads_data=False)
    config = configs.resolve(config)
    run = set_up(config, make_mesh(devices=jax.devices()[:1]), scenes=1)
    return step_flops(run).model / run.settings.batch_size


def rate(flops: float, machine: Machine, mfu: float) -> float:
    """Scenes a second."""
    chip = next(chip for chip in CHIPS if chip.name == machine.chip)
    return mfu * chip.peak * machine.chips / flops


def between(values: list[float], ending: str = "", start: str = "") -> str:
    """Two numbers with two digits that count, the smaller first."""

    def short(value: float) -> str:
        return f"{float(f'{value:.2g}'):,.{0 if value >= 9.95 else 1 if value >= 0.995 else 2}f}"

    low, high = (f"{start}{short(value)}" for value in sorted(values))
    return f"{low} to {high}{ending}"


def tables(epochs: float, prices: dict[str, float]) -> str:
    lines = []
    for preset in PRESETS:
        flops = flops_per_scene(preset)
        lines += ["", f"## `{preset}`", "", f"{flops / 1e9:,.0f} GFLOP a scene.", ""]
        lines += [
            f"| machine | scenes a second | {' | '.join(f'{n}, {epochs:g} epochs' for n in SCENES)} |"
        ]
        lines += ["| --- | --- |" + " --- |" * len(SCENES)]
        for machine in MACHINES:
            rates = [rate(flops, machine, mfu) for mfu in MFU_REACHED]
            cells = []
            for scenes in SCENES.values():
                hours = [scenes * epochs / each / 3600 for each in rates]
                cost = [h * machine.chips * prices[machine.chip] for h in hours]
                cells.append(f"{between(hours, ' hours')}, {between(cost, start='$')}")
            lines.append(f"| {machine.name} | {between(rates)} | {' | '.join(cells)} |")
    lines += ["", "## What others paid", ""]
    lines += ["| model | pairs seen | compute | as published by |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in PUBLISHED]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", type=Path, help="a file for the document; by default it is printed"
    )
    parser.add_argument("--epochs", type=float, default=12.0)
    parser.add_argument(
        "--price", action="append", default=[], metavar="CHIP=DOLLARS", help="of a chip and hour"
    )
    arguments = parser.parse_args()
    prices = dict(PRICES)
    for given in arguments.price:
        name, _, dollars = given.partition("=")
        if name not in prices:
            parser.error(f"--price {given}: the chips are {', '.join(prices)}")
        prices[name] = float(dollars)
    said = " and ".join(f"${dollars:g} for an hour of {name}" for name, dollars in prices.items())
    head = HEAD.format(
        low=MFU_REACHED[0], high=MFU_REACHED[1], epochs=arguments.epochs, prices=said
    )
    text = head + tables(arguments.epochs, prices) + TAIL
    if arguments.write:
        write_text(arguments.write, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
