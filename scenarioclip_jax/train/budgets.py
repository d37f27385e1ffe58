"""How large a batch's fixed shapes have to be for a data set: slots, tokens and patches a scene.

    python -m scenarioclip_jax.train.budgets --config=configs/pretrain.py[:PRESET] [--config.data.dir=SHARDS]

Draws groups of scenes from the training split, as training does, and prints the smallest settings with which at
most a given share is left out, and how full batches will be. The more scenes a group has, the closer it is to
the average, and the fuller it can be.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import app, flags
from ml_collections import config_flags

from scenarioclip_jax import command
from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.data.packing import Item, length_of, shown_patches, text_of
from scenarioclip_jax.data.pipeline import Source, load_item
from scenarioclip_jax.data.rows import place
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.shards import DataSetError
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.models.scenario_clip import LEVELS

GROUPS = 400  # drawn


class Needs(NamedTuple):
    """What one scene needs at a level."""

    texts: list[str]  # of what shows; of the scene itself its action
    patches: list[int]  # of each of its views, class token included; empty where nothing is packed


class Budget(NamedTuple):
    """A setting, and what it does."""

    a_scene: float
    fill: float  # share of the room that is used
    left_out: float  # share of the slots or rows that are needed, beyond those that there are


def needs_of(item: Item, settings: DataSettings) -> dict[str, Needs]:
    """By level."""
    found = {"global": Needs([item.scene.action], [])}
    for level, area in (("object", item.fitted.object_area), ("relation", item.fitted.region_area)):
        visible = np.flatnonzero(area >= max(settings.min_visible, 1e-6))
        texts = [text_of(item.scene, level, i) for i in visible]
        patches = shown_patches(item.fitted, level, settings) if settings.patch_size else []
        found[level] = Needs(texts, [len(patches[i]) for i in visible] if patches else [])
    return found


def budget(
    totals: np.ndarray, scenes: int, left_out: float, held: np.ndarray | None = None
) -> Budget:
    """The smallest budget a scene with which at most a share of `totals` (of groups of scenes) is left out.

    Args:
      held: what is in the room that each group needs, where that is less: sequences don't fill rows to the end.
    """
    held = totals if held is None else held
    for room in np.unique(totals):
        lost = np.maximum(totals - room, 0).sum() / max(totals.sum(), 1)
        if lost <= left_out:
            fits = np.minimum(1, room / np.maximum(totals, 1))
            return Budget(room / scenes, float((held * fits).mean() / max(room, 1)), float(lost))
    raise AssertionError("with room for the largest group nothing is left out")


def in_rows(groups: Sequence[Sequence[int]], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each group of sequences, the tokens of the rows that they need, and their own.

    Args:
      groups: lengths of the sequences.
      size: T, tokens in a row.
    """
    rows = [int(place(g, len(g), size).max(initial=-1)) // size + 1 for g in groups]
    return np.array(rows, float) * size, np.array([sum(g) for g in groups], float)


def suggest(
    needs: Sequence[Mapping[str, Needs]],
    tokenizer: Tokenizer,
    settings: DataSettings,
    *,
    left_out: float,
) -> dict[str, Budget]:
    """Budgets by their keys in `DataSettings`, from what some scenes need."""
    rng = np.random.default_rng(0)
    many = settings.scenes > len(needs)
    groups = [rng.choice(len(needs), settings.scenes, replace=many) for _ in range(GROUPS)]

    def totals(need) -> np.ndarray:
        return np.array([need([needs[i] for i in group]) for group in groups], float)

    found = {}
    for level, slots in (("object", "objects_per_scene"), ("relation", "relations_per_scene")):
        count = totals(lambda g, v=level: sum(len(each[v].texts) for each in g))
        found[slots] = budget(count, settings.scenes, left_out)
    if settings.text_row:
        for level, key in zip(
            LEVELS, ("scene_tokens", "object_tokens", "relation_tokens"), strict=True
        ):
            texts = sorted({text for each in needs for text in each[level].texts})
            encoded, _ = tokenizer.encode_ragged(texts, length_of(level, settings))
            length = dict(zip(texts, map(len, encoded), strict=True))
            told = [{t for i in group for t in needs[i][level].texts} for group in groups]
            needed, held = in_rows([[length[t] for t in each] for each in told], settings.text_row)
            found[key] = budget(needed, settings.scenes, left_out, held)
    if settings.patch_size:
        for level in ("object", "relation"):
            views = [[n for i in group for n in needs[i][level].patches] for group in groups]
            needed, held = in_rows(views, settings.patch_tokens)
            found[f"{level}_patches"] = budget(needed, settings.scenes, left_out, held)
    return found


def measure(source: Source, settings: DataSettings, scenes: int) -> list[dict[str, Needs]]:
    """What the scenes of a source need, at most `scenes` of them, evenly spread."""
    chosen = np.unique(np.linspace(0, len(source) - 1, min(scenes, len(source))).astype(int))
    items = (load_item(source, int(i), 0, settings, settings.image_size) for i in chosen)
    return [needs_of(item, settings) for item in items if isinstance(item, Item)]


def table(budgets: Mapping[str, Budget]) -> str:
    lines = [f"{'setting':<40} {'filled':>7} {'left out':>9}"]
    for key, found in budgets.items():
        # Rounded down: `DataSettings` rounds up to whole slots and rows, and would to one more.
        setting = f"--config.data.{key}={np.floor(found.a_scene * 1e4) / 1e4:g}"
        lines.append(f"{setting:<40} {found.fill:>7.1%} {found.left_out:>9.2%}")
    return "\n".join(lines)


def define_flags() -> None:
    """Only where this is the program: another one may have a flag of the same name."""
    config_flags.DEFINE_config_file("config", None, "As for scenarioclip_jax.main.")
    flags.DEFINE_integer("scenes", 1000, "Scenes that are looked at.", lower_bound=1)
    about = "Largest share that may be left out."
    flags.DEFINE_float("left_out", 0.002, about, lower_bound=0.0, upper_bound=1.0)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag; write --config.KEY=VALUE")
    from scenarioclip_jax.train.data import open_data

    config = flags.FLAGS.config
    try:
        data = open_data(config, Path("no-run-of-this-name"))
        needs = measure(data.train, data.settings, flags.FLAGS.scenes)
        if not needs:
            raise ConfigError("config.data.dir: none of its scenes could be read")
        print(
            f"{len(needs)} scenes; groups of {data.settings.scenes} (data.batch_size / data.groups)"
        )
        print(table(suggest(needs, data.tokenizer, data.settings, left_out=flags.FLAGS.left_out)))
    except (ConfigError, DataSetError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    define_flags()
    command.run(main)
