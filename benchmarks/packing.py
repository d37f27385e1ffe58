"""How full batches of 128 scenes are, and what finds no room, at the ragged statistics of scenes.py.

    python -m benchmarks.packing --json FILE [--scenes 20000] [--batches 156] [--batch-size 128] [--no-balance]

Takes the room that `scenarioclip_jax.train.budgets` suggests, which looks at half of the scenes, then packs
batches of all of them as training does, by default one epoch, and looks at what is in them. Photos don't matter
here: all scenes have the same.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import scenes
from benchmarks.in_memory import as_scene
from benchmarks.train_step import SHARED_STEM, assign
from configs.pretrain import get_config
from scenarioclip_jax.data.batch import LEVELS, Batch
from scenarioclip_jax.data.order import STEPS, deal
from scenarioclip_jax.data.packing.needs import Needs
from scenarioclip_jax.data.packing.sizes import collect
from scenarioclip_jax.data.pipeline import train_iterator
from scenarioclip_jax.train.budgets import fullest_text_row, look_at, suggest, with_budgets
from scenarioclip_jax.train.config import data_settings

LEFT_OUT = 0.001  # of each kind of room, when it is chosen; several may leave out something


def settings_for(batch_size: int, patch_row: int, text_row: int, balance: bool):
    """ViT-B/32 with packed texts and patches, the batch as one group."""
    config = get_config("vitb32")
    assign(config, SHARED_STEM | {"model.patch_packing": True, "init_from": ""})
    assign(
        config, {"data.batch_size": batch_size, "data.packing_groups": 1, "data.balance": balance}
    )
    assign(config, {"data.patch_row_views": patch_row, "data.text_row_tokens": text_row})
    assign(
        config,
        {
            "data.levels.scene.text_length": 12,
            "data.levels.object.text_length": 8,
            "data.levels.relation.text_length": 12,
        },
    )
    return data_settings(config)


def shares(batches: list[Batch]) -> dict[str, float]:
    """Share of the room that is used, and of objects and relations that find none."""
    found = {}
    for level in ("object", "relation"):
        masks = np.stack([batch.levels[level].mask for batch in batches])
        count = sum(batch.levels[level].count.sum() for batch in batches)
        found[f"{level}s fill"] = masks.mean()
        found[f"{level}s left out"] = 1 - masks.sum() / count
    for name, sequences in packed_rows(batches):
        found[f"{name} fill"] = (np.stack(sequences) >= 0).mean()
    return {name: float(share) for name, share in found.items()}


def packed_rows(batches: list[Batch]) -> Iterator[tuple[str, list[np.ndarray]]]:
    """What rows hold in each batch, by level and kind."""
    for level in LEVELS:
        slots = [batch.levels[level] for batch in batches]
        yield f"{level} tokens", [each.text_rows.sequence for each in slots]
        yield f"{level} patches", [each.patch_rows.sequence for each in slots]


def vary(batches: list[Batch]) -> dict[str, float]:
    """Standard deviation over mean of what is in the batches."""
    found = {}
    for name, sequences in packed_rows(batches):
        count = np.array([(sequence >= 0).sum() for sequence in sequences])
        found[name] = float(count.std() / count.mean())
    return found


def seconds_to_deal(needs: list[dict[str, Needs]], tokenizer, settings) -> float:
    """For one scene, by 32 batches."""
    sizes = collect(needs, tokenizer, settings)
    records = np.arange(STEPS * settings.scenes) % len(needs)
    start = time.thread_time()
    deal(sizes, records, STEPS)
    return (time.thread_time() - start) / len(records)


def spread(needs: list[dict[str, Needs]], scenes: int) -> dict[str, float]:
    """Standard deviation over mean of what independent batches of so many scenes need."""
    found = {}
    for level in ("object", "relation"):
        for what, of in (("s", lambda n: len(n.texts)), (" patches", lambda n: sum(n.patches))):
            each = np.array([of(need[level]) for need in needs])
            found[level + what] = float(each.std() / each.mean() / scenes**0.5)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--scenes", type=int, default=20_000, help="in the data set")
    parser.add_argument("--batches", type=int, default=156)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--patch-row", type=int, default=4, help="views that a row is as long as")
    parser.add_argument("--text-row", type=int, help="tokens; default: as makes rows fullest")
    parser.add_argument("--balance", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    drawn = scenes.draw_scenes(arguments.scenes, arguments.seed)
    photo = as_scene(drawn[0]).photo
    source = [as_scene(scene, photo) for scene in drawn]
    settings = settings_for(
        arguments.batch_size, arguments.patch_row, arguments.text_row or 32, arguments.balance
    )
    tokenizer = scenes.word_tokenizer()
    needs = look_at(source, settings, len(source) // 2)
    if not arguments.text_row:
        row, _ = fullest_text_row(needs, tokenizer, settings, left_out=LEFT_OUT)
        settings = dataclasses.replace(settings, text_row_tokens=row)
        print(f"rows of {row} tokens")
    budgets = suggest(needs, tokenizer, settings, left_out=LEFT_OUT)
    room = {key: each.a_scene for key, each in budgets.items()}
    settings = with_budgets(dataclasses.replace(settings, num_workers=0), room)
    batches = train_iterator(source, tokenizer, settings)
    packed = [next(batches) for _ in range(arguments.batches)]
    batches.close()
    found = shares(packed)
    for key, each in budgets.items():
        print(f"{key:<42} {each.a_scene:.2f} a scene, {each.fill:.2%} filled")
    varies = spread(needs, arguments.batch_size)
    for name, share in varies.items():
        print(f"{name:<24} vary by {share:.1%} where batches are drawn at random")
    in_batches = vary(packed)
    for name, share in in_batches.items():
        print(f"{name:<24} vary by {share:.1%} in these")
    for name, share in found.items():
        print(f"{name:<24} {share:.2%}")
    dealing = seconds_to_deal(needs, tokenizer, settings)
    print(f"dealing takes {1e6 * dealing:.0f} µs a scene")
    facts = {key: value for key, value in vars(arguments).items() if key != "json"}
    facts["text_row"] = settings.text_row_tokens
    results = {"room": room, "at_random_vary": varies, "vary": in_batches, "shares": found}
    results |= {"seconds_to_deal": dealing, "arguments": facts}
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
