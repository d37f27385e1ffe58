"""Train steps of CLIP ViT-B/32, whole photos and their texts only: ours beside open_clip's own training code.

    pip install open_clip_torch
    python -m benchmarks.open_clip_step --json FILE [--scenes 16] [--steps 2] [--rounds 5]

open_clip's side is its model `ViT-B-32-quickgelu`, its loss, its schedule, AdamW with its groups and its
`train_one_epoch`, which is given batches held in memory. Ours is `arch=clip` with all parameters trained
and without a teacher; it also crops and colors the photos inside the step. On a GPU both multiply in bfloat16
(`--precision amp_bf16` of open_clip) and keep float32 parameters, on a CPU all is float32.

Variants of ours: `as long` computes 77 tokens of every text, as open_clip does; `packed` packs texts into rows
of 36 tokens and computes equal texts once. Each side lives in a process of its own and they take turns, of
`--steps` steps each. Figures are medians over rounds, ratios medians of the rounds' ratios. On a CPU,
`matmul_gflops` is the rate of bare products with each side's own library, which shows how much of a ratio is
due to these.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import scenes
from benchmarks.in_memory import our_batch, peer_batch
from benchmarks.remote import Remote
from benchmarks.train_step import HUGE_PAGES, Probe, configure, jax_product, torch_product
from scenarioclip_jax.train.config import data_settings

ALL = ((r".*", True),)
OURS: dict[str, dict[str, Any]] = {
    "as long": {"data.levels.scene.text_length": 77},
    "packed": {"data.levels.scene.text_length": 36, "data.text_row_tokens": 36},
}
PEERS = ("open_clip", "open_clip compiled")
END = 49407  # the end of a text, by which open_clip finds it: it takes the largest id
EPOCHS = 1000  # of the run that the measured steps are the beginning of


class Side(NamedTuple):
    turn: Callable[[int], float]  # takes this many steps; returns the last loss
    flops: int  # model FLOPs of a step; 0 where they aren't counted
    multiply: Callable | None  # a product to be timed; None on a GPU
    versions: dict[str, str]


def config_of(changes: dict[str, Any], drawn: list[scenes.DrawnScene], gpu: bool):
    fast = {"model.dtype": "bfloat16", "model.unroll": 1} if gpu else {}
    clip = {"arch": "clip", "trainable": ALL, "ema.decay": 0.0}
    return configure(clip | fast | changes, drawn)


def our_side(name: str, drawn: list[scenes.DrawnScene]) -> Side:
    import jax

    from scenarioclip_jax.parallel.mesh import batch_sharding, make_mesh
    from scenarioclip_jax.train.config import resolve
    from scenarioclip_jax.train.setup import set_up, step_flops

    device = jax.devices()[0]
    config = config_of(OURS[name], drawn, device.platform != "cpu")
    mesh = make_mesh(devices=[device])
    run = set_up(resolve(config, eos_id=scenes.word_tokenizer().eos_id), mesh, scenes=len(drawn))
    batch = jax.device_put(our_batch(drawn, data_settings(config)), batch_sharding(mesh))
    held = [run.init()]

    def turn(steps: int) -> float:
        for _ in range(steps):
            held[0], metrics = run.train_step(held[0], batch)
        return float(metrics["loss/total"])

    multiply = jax_product if device.platform == "cpu" else None
    return Side(turn, step_flops(run).model, multiply, {"jax": jax.__version__})


class Epoch:
    """Batches held in memory, as `train_one_epoch` takes them."""

    def __init__(self, batch: tuple, steps: int):
        self._batch, self.num_batches = batch, steps
        self.num_samples = steps * len(batch[0])
        self.dataloader = self

    def set_epoch(self, epoch: int) -> None:
        """All epochs are the same."""

    def __iter__(self) -> Iterator[tuple]:
        return iter([self._batch] * self.num_batches)


class Told:
    """What `train_one_epoch` tells of its last step."""

    def __init__(self):
        self.values: dict[str, float] = {}

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.values[name] = value


def peer_side(name: str, drawn: list[scenes.DrawnScene]) -> Side:
    import open_clip
    import torch
    from open_clip_train.params import parse_args
    from open_clip_train.scheduler import cosine_lr
    from open_clip_train.train import train_one_epoch

    gpu = torch.cuda.is_available()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    flags = ["--model=ViT-B-32-quickgelu", f"--precision={'amp_bf16' if gpu else 'fp32'}"]
    flags += [f"--batch-size={len(drawn)}", "--lr=2e-5", "--warmup=100", "--grad-clip-norm=1.0"]
    args = parse_args(flags)
    args.device, args.distill, args.wandb = "cuda" if gpu else "cpu", False, False
    args.rank, args.local_rank, args.world_size = 0, 0, 1
    model = open_clip.create_model(
        args.model, precision=args.precision, device=args.device, output_dict=True
    )
    named = list(model.named_parameters())
    plain = [p for n, p in named if p.ndim < 2 or "bn" in n or "ln" in n or "logit_scale" in n]
    known = set(map(id, plain))
    decayed = [p for _, p in named if id(p) not in known]
    optimizer = torch.optim.AdamW(
        [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": args.wd}],
        lr=args.lr,
        betas=(args.beta1, args.beta2),
        eps=args.eps,
    )
    loss = open_clip.create_loss(args)
    scheduler = cosine_lr(optimizer, args.lr, args.warmup, EPOCHS)
    trained = torch.compile(model) if name.endswith("compiled") else model
    batch = our_batch(drawn, data_settings(config_of(OURS["as long"], drawn, gpu)))
    eos_id = scenes.word_tokenizer().eos_id
    given = peer_batch(batch, eos_id)
    texts = np.asarray(given.ids["global"])
    whole = np.zeros((len(texts), 77), np.int64)
    whole[:, : texts.shape[1]] = np.where(texts == eos_id, END, texts)
    pictures = given.images["global"].to(args.device)
    held = (pictures, torch.from_numpy(whole).to(args.device))

    def turn(steps: int) -> float:
        args.log_every_n_steps = steps + 1  # only the last step's figures are looked at
        data, told = {"train": Epoch(held, steps)}, Told()
        train_one_epoch(trained, data, loss, 0, optimizer, None, scheduler, None, args, told)
        if gpu:
            torch.cuda.synchronize()
        return told.values["train/loss"]

    versions = {"torch": torch.__version__, "open_clip": open_clip.__version__}
    return Side(turn, 0, None if gpu else torch_product, versions)


def serve(name: str, count: int, seed: int, steps: int) -> None:
    """A side's process: makes a turn for every line that it reads, and answers in JSON lines."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between
    drawn = scenes.draw_scenes(count, seed)
    side = (peer_side if name in PEERS else our_side)(name, drawn)
    side.turn(2)  # compiles
    print(json.dumps({"flops": side.flops, "versions": side.versions}), file=answers)
    probe = Probe(side.multiply) if side.multiply else None
    for _ in os.fdopen(0):
        side.turn(1)
        started, used = time.perf_counter(), time.process_time()
        loss = side.turn(steps)
        seconds, cpu = time.perf_counter() - started, time.process_time() - used
        answer = {"seconds": seconds / steps, "cpu": cpu / steps, "loss": loss}
        if probe:
            answer["matmul"] = probe.rate()
        print(json.dumps(answer), file=answers)


def compare(arguments: argparse.Namespace) -> dict:
    """All sides in turn, round by round."""
    ours, peers = (
        list(filter(None, names.split(","))) for names in (arguments.variants, arguments.peers)
    )
    flags = [f"--{key}={getattr(arguments, key)}" for key in ("scenes", "seed", "steps")]
    environment = HUGE_PAGES | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    sides = {name: Remote("open_clip_step", name, flags, environment) for name in (*peers, *ours)}
    for side in sides.values():
        side.ready()
    for number in range(arguments.rounds):
        for name in list(sides) if number % 2 else list(sides)[::-1]:
            assert math.isfinite(sides[name].ask()["loss"])
    results: dict = {"scenes": arguments.scenes, "steps_a_turn": arguments.steps, "sides": {}}
    for name, side in sides.items():
        seconds = [answer["seconds"] for answer in side.answers]
        of_side: dict = {"seconds_a_step": statistics.median(seconds), "rounds": seconds}
        of_side["scenes_a_second"] = arguments.scenes / of_side["seconds_a_step"]
        of_side |= side.facts["versions"]
        if rates := [answer["matmul"] for answer in side.answers if "matmul" in answer]:
            of_side["matmul_gflops"] = statistics.median(rates) / 1e9
        if name in ours:
            of_side["tflops_a_step"] = side.facts["flops"] / 1e12
            for key, clock in (("ratio", "seconds"), ("cpu_ratio", "cpu")):
                of_side[key] = {
                    peer: statistics.median(
                        theirs[clock] / answer[clock]
                        for theirs, answer in zip(sides[peer].answers, side.answers, strict=True)
                    )
                    for peer in peers
                }
        results["sides"][name] = of_side
    for side in sides.values():
        side.close()
    results["machine"] = f"{os.cpu_count()} x {platform.processor() or platform.machine()}"
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--scenes", type=int, default=16, help="in a batch")
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2, help="in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variants", default=",".join(OURS))
    parser.add_argument("--peers", default=PEERS[0], help=", ".join(PEERS))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.scenes, arguments.seed, arguments.steps)
        return
    results = compare(arguments)
    print(json.dumps(results, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
