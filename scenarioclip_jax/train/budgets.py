"""How large a batch's fixed shapes have to be for a data set: slots, tokens and patches per scene.

    python -m scenarioclip_jax.train.budgets --config=configs/pretrain.py[:PRESET] [--config.data.dir=SHARDS]

Draws groups of scenes from the training split, as training does, and prints the smallest settings that leave
out at most a given share, and how full batches will be. The more scenes a group has, the closer its needs are
to the average, and the fuller it can be. With `data.balance` all groups need about the same; the needs of all
scenes are then measured and saved, so run this once before you start a run with many processes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import app, flags
from ml_collections import config_flags

from scenarioclip_jax import command
from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.console import say
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.order import STEPS, deal, steps_dealt
from scenarioclip_jax.data.packing.choose import FINER
from scenarioclip_jax.data.packing.needs import Needs, has_room, measure
from scenarioclip_jax.data.packing.rows import place
from scenarioclip_jax.data.packing.sizes import collect, load_or_measure
from scenarioclip_jax.data.settings import CONFIG_KEYS, DataSettings
from scenarioclip_jax.data.source import Mixture, Source
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.errors import ReadableError

# How many scenes to draw, and the least and the most groups to draw them in; large groups vary less.
SCENES, GROUPS = 50_000, (STEPS, 400)
LONGEST_ROW = 128  # tokens; attention's share of a row's computation grows with its length


class Budget(NamedTuple):
    """The value of a setting, and its effect."""

    a_scene: float
    fill: float  # share of the room that is used
    left_out: float  # share of the needed slots or rows for which there is no room


def budget(
    totals: np.ndarray, scenes: int, left_out: float, held: np.ndarray | None = None
) -> Budget:
    """The smallest budget per scene that leaves out at most the share `left_out` of what groups need.

    Args:
      totals: The room that each group of scenes needs.
      scenes: Number of scenes in a group.
      left_out: Largest share of `totals` that may find no room.
      held: What each group puts into that room, if it is less: sequences don't fill rows to the end.
    """
    held = totals if held is None else held
    for room in np.unique(totals):
        lost = np.maximum(totals - room, 0).sum() / max(totals.sum(), 1)
        if lost <= left_out:
            fits = np.minimum(1, room / np.maximum(totals, 1))
            return Budget(room / scenes, float((held * fits).mean() / max(room, 1)), float(lost))
    raise AssertionError("with room for the largest group nothing is left out")


def in_rows(groups: Sequence[Sequence[int]], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts the tokens of each group: first those in the rows it needs, then those of its sequences.

    Args:
      groups: Lengths of each group's sequences, in tokens.
      size: Row length T, in tokens.
    """
    rows = []
    for group in groups:
        starts = place(group, len(group), size)
        assert starts is not None  # each could have a row of its own
        rows.append(int(starts.max(initial=-1)) // size + 1)
    return np.array(rows, float) * size, np.array([sum(g) for g in groups], float)


def draw_groups(
    needs: Sequence[Mapping[str, Needs]],
    tokenizer: Tokenizer,
    settings: DataSettings,
) -> list[np.ndarray]:
    """Returns the scene indices of some groups, assembled as in training."""
    count = int(np.clip(SCENES // settings.scenes, *GROUPS))
    rng = np.random.default_rng(0)
    if not settings.balance:
        many = settings.scenes > len(needs)
        return [rng.choice(len(needs), settings.scenes, replace=many) for _ in range(count)]
    sizes, groups = collect(needs, tokenizer, settings), []
    # One epoch after another, dealt as `order.Balanced` deals them.
    steps = steps_dealt(len(needs), settings)
    wanted = steps * settings.scenes
    while len(groups) < count:
        epochs = [rng.permutation(len(needs)) for _ in range(-(-wanted // len(needs)))]
        records = np.concatenate(epochs)[:wanted]
        batch_of = deal(sizes, records, steps)
        groups += [records[batch_of == batch] for batch in range(steps)]
    return groups


def text_lengths(
    needs: Sequence[Mapping[str, Needs]],
    groups: Sequence[np.ndarray],
    tokenizer: Tokenizer,
    settings: DataSettings,
) -> dict[str, list[list[int]]]:
    """Lengths of the distinct texts in each group, in tokens, by level."""
    found = {}
    for level in LEVELS:
        texts = sorted({t for each in needs for t in (*each[level].texts, *each[level].further)})
        encoded, _ = tokenizer.encode_ragged(texts, settings.level(level).text_length)
        length = dict(zip(texts, map(len, encoded), strict=True))
        told = [
            {t for i in group for t in (*needs[i][level].texts, *needs[i][level].further)}
            for group in groups
        ]
        found[level] = [[length[text] for text in sorted(each)] for each in told]
    return found


def suggest(
    needs: Sequence[Mapping[str, Needs]],
    tokenizer: Tokenizer,
    settings: DataSettings,
    *,
    left_out: float,
) -> dict[str, Budget]:
    """Suggests budgets from what some scenes need, by their keys below `config.data`."""
    groups = draw_groups(needs, tokenizer, settings)
    found = {}
    for level in FINER:
        count = [sum(len(needs[i][level].texts) for i in group) for group in groups]
        key = f"levels.{CONFIG_KEYS[level]}.slots_per_scene"
        found[key] = budget(np.array(count, float), settings.scenes, left_out)

    for level in LEVELS:
        if has_room(settings, level):
            count = [sum(len(needs[i][level].further) for i in group) for group in groups]
            key = f"levels.{CONFIG_KEYS[level]}.further_per_scene"
            found[key] = budget(np.array(count, float), settings.scenes, left_out)

    def rows(sequences: Sequence[Sequence[int]], size: int) -> Budget:
        needed, held = in_rows(sequences, size)
        return budget(needed, settings.scenes, left_out, held)

    if settings.text_row_tokens:
        lengths = text_lengths(needs, groups, tokenizer, settings)
        for level, of_level in lengths.items():
            found[f"levels.{CONFIG_KEYS[level]}.tokens_per_scene"] = rows(
                of_level, settings.text_row_tokens
            )
    if settings.patch_size:
        for level in FINER:
            views = [[n for i in group for n in needs[i][level].patches] for group in groups]
            found[f"levels.{CONFIG_KEYS[level]}.patches_per_scene"] = rows(
                views, settings.patch_row_tokens
            )
    return found


def with_budgets(settings: DataSettings, budgets: Mapping[str, float]) -> DataSettings:
    """Returns the settings with other budgets, given by their keys below `config.data`."""
    level_of = {key: level for level, key in CONFIG_KEYS.items()}
    for key, value in budgets.items():
        _, level, budget_of = key.split(".")
        settings = settings.with_level(level_of[level], **{budget_of: value})
    return settings


def fullest_text_row(
    needs: Sequence[Mapping[str, Needs]],
    tokenizer: Tokenizer,
    settings: DataSettings,
    *,
    left_out: float,
) -> tuple[int, float]:
    """Finds the length of text rows that fills the emptiest level most; returns it and that level's fill."""
    groups = draw_groups(needs, tokenizer, settings)
    lengths = text_lengths(needs, groups, tokenizer, settings)

    def emptiest(size: int) -> float:
        found = (in_rows(of_level, size) for of_level in lengths.values())
        return min(budget(n, settings.scenes, left_out, held).fill for n, held in found)

    longest = settings.longest_text
    fills = {size: emptiest(size) for size in range(longest, max(longest, LONGEST_ROW) + 1, 4)}
    return max(fills.items(), key=lambda each: each[1])


def look_at(source: Source, settings: DataSettings, scenes: int) -> list[dict[str, Needs]]:
    """Measures what at most `scenes` scenes of a source need, evenly spread over it.

    Those of a mixture are the ones that training reads first, so that each data set has its share.
    """
    count = min(scenes, len(source))
    if isinstance(source, Mixture):
        chosen = [source.epochs.record(settings.seed, position) for position in range(count)]
    else:
        chosen = np.unique(np.linspace(0, len(source) - 1, count).astype(int)).tolist()
    found = measure(source, settings, chosen)
    return [need for need in found if not isinstance(need, Exception)]


def table(budgets: Mapping[str, Budget]) -> str:
    lines = [f"{'setting':<58} {'filled':>7} {'left out':>9}"]
    for key, found in budgets.items():
        # Rounded down, because `DataSettings` rounds up to whole slots and rows and would add one more.
        setting = f"--config.data.{key}={np.floor(found.a_scene * 1e4) / 1e4:g}"
        lines.append(f"{setting:<58} {found.fill:>7.1%} {found.left_out:>9.2%}")
    return "\n".join(lines)


def define_flags() -> None:
    """Called only when this module is the program: another program may have a flag of the same name."""
    config_flags.DEFINE_config_file("config", None, "As for scenarioclip_jax.main.")
    flags.DEFINE_integer("scenes", 10_000, "Scenes that are looked at.", lower_bound=1)
    about = "Largest share that may be left out."
    flags.DEFINE_float("left-out", 0.002, about, lower_bound=0.0, upper_bound=1.0)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag; write --config.KEY=VALUE")
    from scenarioclip_jax.train.config import resolve
    from scenarioclip_jax.train.data import open_data

    config = flags.FLAGS.config
    try:
        data = open_data(config)
        resolve(config, eos_id=data.tokenizer.eos_id)  # refuses a tokenizer that a run would refuse
        if data.settings.balance:  # so that no process of the run has to do it
            load_or_measure(data.train, data.tokenizer, data.settings, data.sizes_folder)
        needs = look_at(data.train, data.settings, flags.FLAGS.scenes)
        if not needs:
            raise ConfigError("config.data.dir: none of its scenes could be read")
        say(
            f"{len(needs)} scenes; groups of {data.settings.scenes} (data.batch_size / data.packing_groups)"
        )
        left_out = getattr(flags.FLAGS, "left-out")
        say(table(suggest(needs, data.tokenizer, data.settings, left_out=left_out)))
        if data.settings.text_row_tokens:
            row, fill = fullest_text_row(needs, data.tokenizer, data.settings, left_out=left_out)
            say(
                f"rows of texts are fullest, {fill:.0%} or more, with --config.data.text_row_tokens={row}: run "
                "this again with it for the settings that go with it"
            )
    except ReadableError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    define_flags()
    command.run(main)
