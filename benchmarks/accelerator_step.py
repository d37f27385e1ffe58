"""Train steps on a GPU in bfloat16: ours in several layouts beside a PyTorch user's, on the same scenes.

    python -m benchmarks.accelerator_step --json FILE [--preset vitb32] [--scenes 128] [--variants A,B]

Model, scenes and fairness are those of train_step.py: the peer is given exactly the objects and relations that
have a slot in our batch, as ready pictures on the device, while ours cuts its views inside the step. Both keep
float32 parameters and multiply in bfloat16 with float32 sums. Peers: `compiled` (torch.compile, scaled dot
product attention, fused AdamW) and `eager` (the same without torch.compile).

Each side lives in a process of its own and they take turns. A turn is `--steps` steps, of which the last is
waited for. Figures are medians over rounds, ratios medians of the rounds' ratios. `mfu` is the share of the
chip's bfloat16 peak (costs/chips.py) that a step's model FLOPs (costs/flops.py) reach: what the layout needs,
so packed patches have fewer. `peak_memory` is what the compiled step needs by XLA's own account, and what
PyTorch's allocator held at most.

A variant is the name of one of train_step.py's, and settings: `patch_packing:model.remat=none:model.unroll=12`.
"""

import argparse
import ast
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import scenes
from benchmarks.in_memory import our_batch, peer_batch
from benchmarks.remote import Remote
from benchmarks.train_step import STEPS, VARIANTS, configure
from scenarioclip_jax.train.config import data_settings

PEERS = ("compiled", "eager")


class Side(NamedTuple):
    start: Callable[[], object]  # begins a train step; returns what has to be waited for
    wait: Callable[[object], float]  # waits for it; returns the loss
    facts: dict


def changes_of(variant: str) -> dict[str, object]:
    """Config changes of a variant; values are Python literals, or strings where they aren't."""
    name, *settings = variant.split(":")
    changes = dict(VARIANTS[name])
    for setting in settings:
        key, _, value = setting.partition("=")
        try:
            changes[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            changes[key] = value
    return changes


def config_of(variant: str, preset: str, drawn: list[scenes.DrawnScene]):
    # Keeping all that the backward pass reads takes longer than to compute most of it again: norms, activations
    # and casts are bound by memory.
    fast = {"model.dtype": "bfloat16", "model.remat": "dots", "model.unroll": 1}
    return configure(fast | changes_of(variant), drawn, preset=preset)


def our_side(variant: str, preset: str, drawn: list[scenes.DrawnScene]) -> Side:
    import jax

    from scenarioclip_jax.costs.chips import peak_flops
    from scenarioclip_jax.parallel.mesh import batch_sharding, make_mesh
    from scenarioclip_jax.train.config import resolve
    from scenarioclip_jax.train.setup import set_up, step_flops

    config = config_of(variant, preset, drawn)
    mesh = make_mesh(devices=jax.devices()[:1])
    settings = data_settings(config)
    run = set_up(resolve(config, eos_id=scenes.word_tokenizer().eos_id), mesh, scenes=len(drawn))
    batch = jax.device_put(our_batch(drawn, settings), batch_sharding(mesh))
    held = [run.init()]
    started = time.perf_counter()
    compiled = run.train_step.lower(run.state_like, run.batch_like).compile()
    seconds = time.perf_counter() - started
    memory = compiled.memory_analysis()
    flops = step_flops(run)

    def start():
        held[0], metrics = compiled(held[0], batch)
        return metrics["loss/total"]

    facts = {
        "flops": flops.model,
        "peak_flops": peak_flops(jax.devices()[0].device_kind),
        "device": jax.devices()[0].device_kind,
        "compile_seconds": seconds,
        "peak_memory": memory.temp_size_in_bytes
        + memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes,
    }
    return Side(start, float, facts)


def peer_side(name: str, preset: str, drawn: list[scenes.DrawnScene]) -> Side:
    import torch
    from transformers import CLIPTextConfig, CLIPVisionConfig

    from benchmarks.peer.model import PeerModel
    from benchmarks.peer.training import PeerBatch, Trainer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    config = config_of("published", preset, drawn)
    vision, text = (_transformers(config.model[tower]) for tower in ("vision", "text"))
    model = PeerModel(
        CLIPVisionConfig(image_size=224, patch_size=config.model.vision.patch_size, **vision),
        CLIPTextConfig(eos_token_id=config.model.text.eos_id, **text),
        config.model.embed_dim,
        config.model.vision.stem_blocks,
        config.model.text.stem_blocks,
    ).to(device)
    trainer = Trainer(model, steps=STEPS, dtype=torch.bfloat16, compiled=name == "compiled")
    batch = peer_batch(our_batch(drawn, data_settings(config)), config.model.text.eos_id)
    batch = PeerBatch(*({k: v.to(device) for k, v in part.items()} for part in batch))
    started = time.perf_counter()
    float(trainer.advance(batch)["total"])
    facts = {"compile_seconds": time.perf_counter() - started}
    return Side(lambda: trainer.advance(batch)["total"], float, facts)


def _transformers(tower) -> dict[str, int]:
    return {
        "hidden_size": tower.width,
        "num_hidden_layers": tower.depth,
        "num_attention_heads": tower.heads,
        "intermediate_size": tower.mlp_dim,
    }


def serve(name: str, preset: str, count: int, seed: int, steps: int) -> None:
    """A side's process: makes a turn for every line that it reads, and answers in JSON lines."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between
    started = time.perf_counter()
    drawn = scenes.draw_scenes(count, seed)
    side = (peer_side if name in PEERS else our_side)(name, preset, drawn)
    for _ in range(3):
        side.wait(side.start())
    ready, compiling = time.perf_counter() - started, side.facts["compile_seconds"]
    print(f"{name}: ready in {ready:.0f} s, {compiling:.0f} s of them to compile", file=sys.stderr)
    print(json.dumps(side.facts), file=answers)
    for _ in sys.stdin:
        side.wait(side.start())
        started = time.perf_counter()
        for _ in range(steps):
            last = side.start()
        loss = side.wait(last)
        answer = {"seconds": (time.perf_counter() - started) / steps, "loss": loss}
        if name in PEERS:
            import torch

            answer["peak_memory"] = torch.cuda.max_memory_allocated()
        print(json.dumps(answer), file=answers)


def compare(arguments: argparse.Namespace) -> dict:
    """All sides in turn, round by round."""
    variants = list(filter(None, arguments.variants.split(",")))
    peers = list(filter(None, arguments.peers.split(",")))
    sides, failed = {}, {}
    flags = [f"--{key}={getattr(arguments, key)}" for key in ("preset", "scenes", "seed", "steps")]
    # Several processes share the device's memory.
    sharing = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    remotes = {
        name: Remote("accelerator_step", name, flags, sharing) for name in (*peers, *variants)
    }
    until = time.monotonic() + arguments.ready
    for name, remote in remotes.items():  # one that fails leaves the others' figures
        try:
            if remote.ready(until):
                sides[name] = remote
            else:
                failed[name] = f"not ready after {arguments.ready:.0f} s"
                remote.close()  # what still compiles would disturb the others
        except RuntimeError as error:
            failed[name] = str(error)
    for number in range(arguments.rounds):
        order = list(sides) if number % 2 else list(sides)[::-1]
        for name in order:
            assert math.isfinite(sides[name].ask()["loss"])
    turns = {name: remote.answers for name, remote in sides.items()}
    results: dict = {"device": None, "scenes": arguments.scenes, "preset": arguments.preset}
    results |= {"steps_a_turn": arguments.steps, "failed": failed, "sides": {}}
    for name, remote in sides.items():
        seconds = [turn["seconds"] for turn in turns[name]]
        median = statistics.median(seconds)
        side = {"seconds_a_step": median, "scenes_a_second": arguments.scenes / median}
        side |= {"rounds": seconds, "loss": turns[name][-1]["loss"], **remote.facts}
        if name in peers:
            side["peak_memory"] = turns[name][-1]["peak_memory"]
        else:
            results["device"] = side.pop("device")
            if peak := side.pop("peak_flops"):
                side["mfu"] = side["flops"] / median / peak
            side["ratio"] = {
                peer: statistics.median(
                    theirs["seconds"] / ours["seconds"]
                    for theirs, ours in zip(turns[peer], turns[name], strict=True)
                )
                for peer in peers
                if peer in sides
            }
        results["sides"][name] = side
    for remote in remotes.values():
        remote.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--preset", default="vitb32", help="of configs/pretrain.py")
    parser.add_argument("--scenes", type=int, default=128, help="in a batch")
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10, help="in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--ready", type=float, default=1800.0, help="seconds to wait for the slowest to compile"
    )
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.preset, arguments.scenes, arguments.seed, arguments.steps)
        return
    results = compare(arguments)
    for name, side in results["sides"].items():
        times = "".join(f", {ratio:.2f} x {peer}" for peer, ratio in side.get("ratio", {}).items())
        mfu = f", MFU {side['mfu']:.1%}" if "mfu" in side else ""
        rate, memory = side["scenes_a_second"], side["peak_memory"] / 2**30
        print(f"{name}: {rate:.0f} scenes/s{times}{mfu}, {memory:.1f} GiB")
    for name, why in results["failed"].items():
        print(f"{name} failed: {why}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
