"""Train steps of ViT-B/32, `scenario_clip_1`: ours in several layouts beside the peer's, on the same scenes.

    python -m benchmarks.train_step --json FILE [--scenes 8] [--rounds 5] [--variants published,…] [--threads N]

Scenes are as ragged as real ones (see scenes.py). The peer is given exactly the objects and relations that have
a slot in our batch, as ready pictures; ours also cuts its views inside the step, and computes the slots that
stay empty. Each side lives in a process of its own and they take turns. A turn is two steps and the second is
timed: a virtual machine may take away the memory that a process doesn't use for seconds, and the first step
then waits for it. Figures are medians over rounds and ratios medians of the rounds' ratios. On a machine that
does other things too, `--threads 1` and `cpu_ratio`, which compares CPU time, are the ones to trust.

Both sides get large memory pages from the system (HUGE_PAGES): a step that gives its memory back and takes it
anew spends up to a tenth of its time on page faults else. `--small-pages` measures that.

`published` keeps the state that is published, but for the teacher's copy of what is frozen. The other two keep
the average of the teacher's towers only, and a first moment in bfloat16, which the peer has no setting for.

Beside every step a bare matrix product at the towers' shapes is timed, with each side's own library.
`matmul_share` is the share of the faster one's rate that a step's model FLOPs (costs/flops.py) reach.
`peak_rss` is the most memory that a side's process ever held.
"""

import argparse
import functools
import json
import math
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import scenes
from benchmarks.in_memory import as_scene, batch_of, our_batch, peer_batch
from benchmarks.remote import Remote
from configs.pretrain import get_config
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.settings import CONFIG_KEYS, DataSettings
from scenarioclip_jax.data.stored.scene import Scene
from scenarioclip_jax.train.budgets import look_at
from scenarioclip_jax.train.config import data_settings

# Changes of the preset `vitb32`. The peer is the published layout.
SHARED_STEM = {
    "model.share_stem": True,
    "trainable": ((r"(vision|text)/stem/.*", False), (r".*", True)),
    "data.text_row_tokens": 24,  # equal texts are encoded once
    "ema.keep": "teacher",
    "optimizer.mu_dtype": "bfloat16",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "published": {},
    "shared_stem": SHARED_STEM,
    "patch_packing": SHARED_STEM | {"model.patch_packing": True},
}
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
STEPS = 1000  # of the run that the measured steps are the beginning of
FILL = 0.96  # of our slots, tokens and patches, where so few rows can be filled like that
# Rows, inner and outer size of the probe's products: an MLP's two and the attention's two of ViT-B/32.
PROBE = ((1000, 768, 3072), (1000, 3072, 768), (1000, 768, 2304), (1000, 768, 768))


class Side(NamedTuple):
    step: Callable[[], float]  # a train step; returns the loss when it is done
    multiply: Callable[[np.ndarray, np.ndarray], Callable[[], Any]]  # a product to be timed
    state_bytes: int
    flops: int  # model FLOPs of a step; 0 where they aren't counted


def configure(changes: dict[str, Any], drawn: list[scenes.DrawnScene], *, preset: str = "vitb32"):
    """The config of a variant, with just room for what the scenes have."""
    config = get_config(preset)
    count = len(drawn)
    fixed = {
        "init_from": "",
        # On CPU, keeping less is faster too, and so is no loop over blocks, whose turns copy weights.
        "model.remat": "dots",
        "model.unroll": 12,
        "steps": STEPS,
        "data.batch_size": count,
        "data.packing_groups": 1,
        "data.levels.scene.text_length": 12,
        "data.levels.object.text_length": 8,
        "data.levels.relation.text_length": 12,
    }
    assign(config, fixed | changes)
    source = [as_scene(scene) for scene in drawn]  # drawing the photos takes longest
    needed = _needed(source, data_settings(config))
    fill = FILL
    while True:
        assign(config, {f"data.{k}": need / fill / count for k, need in needed.items()})
        batch = batch_of(source, data_settings(config))
        slots = batch.levels.values()
        if batch.scenes.mask.all() and all(s.mask.sum() == s.count.sum() for s in slots):
            return config
        fill -= 0.01  # so few rows can't always be filled like that


def _needed(source: list[Scene], settings: DataSettings) -> dict[str, float]:
    """Slots, tokens and patches of the scenes, by the budgets' keys in `DataSettings`."""
    needs = look_at(source, settings, len(source))
    tokenizer, found = scenes.word_tokenizer(), {}
    for level in LEVELS:
        key = f"levels.{CONFIG_KEYS[level]}"
        texts = [text for scene in needs for text in scene[level].texts]
        if settings.text_row_tokens:
            length = settings.level(level).text_length
            encoded, _ = tokenizer.encode_ragged(list(set(texts)), length)
            found[f"{key}.tokens_per_scene"] = float(sum(map(len, encoded)))
        if level != "global":
            found[f"{key}.slots_per_scene"] = float(len(texts))
            if settings.patch_size:
                patches = sum(sum(scene[level].patches) for scene in needs)
                found[f"{key}.patches_per_scene"] = float(patches)
    return found


def assign(config, values: dict[str, Any]) -> None:
    """Sets dotted keys."""
    for key, value in values.items():
        *parents, leaf = key.split(".")
        functools.reduce(lambda node, name: node[name], parents, config)[leaf] = value


def our_side(config, drawn: list[scenes.DrawnScene]) -> Side:
    import jax

    from scenarioclip_jax.parallel.mesh import batch_sharding, make_mesh
    from scenarioclip_jax.train.config import resolve
    from scenarioclip_jax.train.setup import set_up, step_flops

    mesh = make_mesh(devices=jax.devices()[:1])
    settings = data_settings(config)
    tokenizer = scenes.word_tokenizer()
    run = set_up(resolve(config, eos_id=tokenizer.eos_id), mesh, scenes=len(drawn))
    batch = jax.device_put(our_batch(drawn, settings), batch_sharding(mesh))
    held = [run.init()]
    flops = step_flops(run)

    def step() -> float:
        held[0], metrics = run.train_step(held[0], batch)
        return float(jax.block_until_ready((held[0], metrics))[1]["loss/total"])

    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(held[0]))
    return Side(step, jax_product, state_bytes, flops.model)


def peer_side(config, drawn: list[scenes.DrawnScene]) -> Side:
    import torch
    from transformers import CLIPTextConfig, CLIPVisionConfig

    from benchmarks.peer.model import PeerModel
    from benchmarks.peer.training import Trainer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    eos_id = config.model.text.eos_id
    # The classes' defaults are ViT-B/32 but for the end of text.
    model = PeerModel(CLIPVisionConfig(), CLIPTextConfig(eos_token_id=eos_id))
    trainer = Trainer(model, steps=STEPS)
    batch = peer_batch(our_batch(drawn, data_settings(config)), eos_id)

    def step() -> float:
        return trainer.step(batch)["total"]

    step()  # the optimizer's state is made by the first step
    return Side(step, torch_product, trainer.state_bytes(), 0)


def jax_product(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
    """A function that multiplies two matrices with XLA."""
    import jax

    product, a, b = jax.jit(lambda a, b: a @ b), jax.device_put(a), jax.device_put(b)
    return lambda: product(a, b).block_until_ready()


def torch_product(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
    """A function that multiplies two matrices with PyTorch."""
    import torch

    a, b = torch.from_numpy(a), torch.from_numpy(b)
    return lambda: a @ b


class Probe:
    """The rate of bare float32 products, with one side's library."""

    def __init__(self, multiply: Callable[[np.ndarray, np.ndarray], Callable[[], Any]]):
        draw = np.random.default_rng(0)
        self._products = [
            multiply(draw.normal(size=(m, k)).astype("f"), draw.normal(size=(k, n)).astype("f"))
            for m, k, n in PROBE
        ]
        self._flops = sum(2 * m * k * n for m, k, n in PROBE)
        self.rate()

    def rate(self, clock: Callable[[], float] = time.perf_counter, repeats: int = 5) -> float:
        """FLOPs a second of `clock`; the median of a few."""
        times = []
        for _ in range(repeats):
            start = clock()
            for product in self._products:
                product()
            times.append(clock() - start)
        return self._flops / statistics.median(times)


def serve(name: str, count: int, seed: int, threads: int) -> None:
    """A side's process: times a step for every line that it reads, and answers in JSON lines."""
    # Before a library is imported: XLA and OpenMP make a thread for each core that they may use.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between
    drawn = scenes.draw_scenes(count, seed)
    config = configure(VARIANTS.get(name, {}), drawn)
    side = (peer_side if name == "peer" else our_side)(config, drawn)
    probe = Probe(side.multiply)
    side.step()  # compiles
    print(json.dumps({"state_bytes": side.state_bytes, "flops": side.flops}), file=answers)
    for _ in sys.stdin:
        side.step()
        start, used = time.perf_counter(), time.process_time()
        loss = side.step()
        seconds, cpu = time.perf_counter() - start, time.process_time() - used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answer = {"seconds": seconds, "cpu": cpu, "loss": loss, "peak_rss": peak}
        answer |= {"matmul": probe.rate(), "cpu_matmul": probe.rate(time.process_time)}
        print(json.dumps(answer), file=answers)


def compare(
    names: list[str],
    count: int,
    seed: int,
    threads: int,
    rounds: int,
    environment: dict[str, str],
) -> dict:
    """Each variant in turn with the peer, which goes on living."""

    def side(name: str) -> Remote:
        flags = [f"--scenes={count}", f"--seed={seed}", f"--threads={threads}"]
        remote = Remote("train_step", name, flags, environment)
        remote.ready()
        return remote

    peer = side("peer")
    fields = "ratio cpu_ratio matmul_share cpu_matmul_share state_bytes peak_rss seconds_a_step"
    fields += " scenes_a_second matmul_gflops model_tflops_a_step rounds"
    results: dict = {field: {} for field in fields.split()}

    def note(name: str, remote: Remote, answers: list[dict]) -> None:
        seconds = statistics.median(a["seconds"] for a in answers)
        results["seconds_a_step"][name] = seconds
        results["scenes_a_second"][name] = count / seconds
        results["matmul_gflops"][name] = statistics.median(a["matmul"] for a in answers) / 1e9
        results["state_bytes"][name] = remote.facts["state_bytes"]
        results["peak_rss"][name] = answers[-1]["peak_rss"]
        results["rounds"][name] = [(a["seconds"], a["cpu"]) for a in answers]

    for name in names:
        ours = side(name)
        pairs = []
        for number in range(rounds):
            # Who is first changes, in case a pause before a step matters.
            first, second = (peer, ours) if number % 2 else (ours, peer)
            answers = {id(remote): remote.ask() for remote in (first, second)}
            pairs.append((answers[id(ours)], answers[id(peer)]))
            assert all(math.isfinite(answer["loss"]) for answer in pairs[-1])
        ours.close()
        note(name, ours, [one for one, _ in pairs])
        results["ratio"][name] = statistics.median(b["seconds"] / a["seconds"] for a, b in pairs)
        results["cpu_ratio"][name] = statistics.median(b["cpu"] / a["cpu"] for a, b in pairs)
        for share, time_, rate in (
            ("matmul_share", "seconds", "matmul"),
            ("cpu_matmul_share", "cpu", "cpu_matmul"),
        ):
            results[share][name] = statistics.median(
                ours.facts["flops"] / a[time_] / max(a[rate], b[rate]) for a, b in pairs
            )
        results["model_tflops_a_step"][name] = ours.facts["flops"] / 1e12
        print(f"{name}: {results['ratio'][name]:.2f} times the peer", flush=True)
    note("peer", peer, peer.answers)
    peer.close()
    results["state_bytes_ratio"] = {
        name: results["state_bytes"][name] / results["state_bytes"]["peer"] for name in names
    }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--scenes", type=int, default=8, help="in a batch")
    # Of this seed the first scenes have about as many objects and relations as is usual.
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--small-pages", action="store_true", help="as the system gives them")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    count, seed = arguments.scenes, arguments.seed
    if arguments.serve:
        serve(arguments.serve, count, seed, arguments.threads)
        return
    drawn = scenes.draw_scenes(count, seed)
    names = arguments.variants.split(",")
    environment = {} if arguments.small_pages else HUGE_PAGES
    results = compare(names, count, seed, arguments.threads, arguments.rounds, environment)
    results["environment"] = environment
    results["scenes"] = {
        "batch": count,
        "objects": sum(len(s.names) for s in drawn),
        "relations": sum(len(s.relations) for s in drawn),
    }
    results["machine"] = f"{os.cpu_count()} x {platform.processor() or platform.machine()}"
    text = json.dumps(results, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
