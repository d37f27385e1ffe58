"""The cards at the top of a report: a level's score, how many times chance that is, and a small chart."""

from typing import Any, NamedTuple

from markupsafe import Markup

from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.evaluation.report import svg
from scenarioclip_jax.evaluation.report.headlines import headlines
from scenarioclip_jax.evaluation.report.names import KINDS, one_line, suite_name
from scenarioclip_jax.evaluation.report.names import LEVELS as NAMES
from scenarioclip_jax.evaluation.report.tables import share
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.sections import part_of, suite_of

MOST = 6  # cards of an evaluation without recognition


class Card(NamedTuple):
    """A card; all numbers as they are shown.

    Attributes:
      level: Which decides its color; empty for none.
      what: Aside to its title.
      times: How many times chance the score is; empty if chance isn't known.
      others: Scores of the other models, by name.
      under: What the small chart shows.
    """

    level: str
    title: str
    what: str
    score: str
    metric: str
    times: str = ""
    chance: str = ""
    others: tuple[tuple[str, str], ...] = ()
    spark: Markup | str = ""
    under: str = ""


def times_chance(score: float, chance: float | None) -> str:
    """How many times chance a score is; empty if chance isn't known."""
    if not chance:
        return ""
    times = score / chance
    return f"{times:.0f} times chance" if times >= 20 else f"{times:.1f} times chance"


def level_card(
    level: str,
    scores: dict[str, tuple[float, float | None]],
    *,
    part: str = "",
    what: str = "",
    spark: Markup | str = "",
    under: str = "",
) -> Card:
    """The card of a level.

    Args:
      scores: Strict top-1 and its chance by model; the first one is the large one.
      part: Name of the data set, if there are several.
      what: Aside to the title; empty: the kind of its classes.
    """
    (score, chance), *_ = scores.values()
    return Card(
        level,
        f"{NAMES[level]}, {part}" if part else NAMES[level],
        what or KINDS[level],
        share(score),
        "top 1",
        times_chance(score, chance),
        f"chance {share(chance)}" if chance else "",
        tuple((name, share(value)) for name, (value, _) in list(scores.items())[1:]),
        spark,
        under,
    )


def cards(summary: dict[str, Any], found: dict[str, dict[str, Result]]) -> list[Card]:
    """The cards of an evaluation: recognition by level, or else the first main figures.

    Args:
      summary: Content of `results.json`.
      found: Results by section and model.
    """
    made = []
    for section, results in found.items():
        if suite_of(section) == "zero_shot":
            made += [card for level in LEVELS if (card := _of_level(section, results, level))]
    if made:
        return made
    for section, key in headlines(summary)[:MOST]:
        by_model = {
            model: each["metrics"][key]
            for model, each in summary["suites"][section]["columns"].items()
            if key in each["metrics"]
        }
        (first, *_), suite, part = by_model.values(), suite_of(section), part_of(section)
        chance = first["chance"]
        made.append(
            Card(
                "",
                suite_name(suite),
                part,
                share(first["value"]),
                one_line(suite, key),
                times_chance(first["value"], chance),
                f"chance {share(chance)}" if chance else "",
                tuple((name, share(each["value"])) for name, each in list(by_model.items())[1:]),
            )
        )
    return made


def _of_level(section: str, results: dict[str, Result], level: str) -> Card | None:
    key = f"{level}/top1"
    metrics = {model: each.metrics[key] for model, each in results.items() if key in each.metrics}
    if not metrics:
        return None
    first = results[next(iter(metrics))]
    classes = first.counts.get(f"{level} classes")
    by_class = first.bars.get(f"{level}: strict top-1 by class", {})
    shares = sorted((value for value, _ in by_class.values()), reverse=True)
    chance = next(iter(metrics.values())).chance
    under = f"top 1 of each of {len(shares):,} classes, best to worst; dashed: chance"
    return level_card(
        level,
        {model: (metric.value, metric.chance) for model, metric in metrics.items()},
        part=part_of(section),
        what=f"{classes:,} {KINDS[level]}" if classes else "",
        spark=svg.columns(_thinned(shares), chance, f"{NAMES[level]}: {under}") if shares else "",
        under=under if shares else "",
    )


def _thinned(values: list[float], most: int = 60) -> list[float]:
    """At most so many of the values, evenly spaced."""
    if len(values) <= most:
        return values
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]
