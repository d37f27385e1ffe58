"""The table of a comparison: a row per metric, a cell per system."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from scenarioclip_jax.evaluation.compare import differences
from scenarioclip_jax.evaluation.compare.differences import Estimate
from scenarioclip_jax.evaluation.compare.read import CompareError, Key, Run, System, pairable
from scenarioclip_jax.evaluation.report.headlines import headlines
from scenarioclip_jax.evaluation.report.names import one_line, suite_name
from scenarioclip_jax.evaluation.sections import part_of, suite_of


class Cell(NamedTuple):
    """A system on a metric.

    Attributes:
      score: Its mean over runs.
      difference: That from the reference; None for the reference itself.
      rank: From 1, the best.
      ties, cut_texts: Comparisons between equal scores, and texts that were cut, in all runs together.
    """

    score: Estimate
    difference: Estimate | None
    rank: float
    ties: int
    cut_texts: int


class Row(NamedTuple):
    """A metric.

    Attributes:
      key: Section and metric, as in `results.json`.
      title: Its name for people.
      unit: `share`, or `rank`, of which less is better.
      chance: Expected value of guessing, if known.
      about: Protocol, levels, prompt and files that all runs share.
      cells: By system; None where a system has no result.
    """

    key: Key
    title: str
    unit: str
    chance: float | None
    about: dict[str, Any]
    cells: list[Cell | None]


class Comparison(NamedTuple):
    systems: Sequence[System]
    reference: str  # name of the system that others are compared with
    rows: list[Row]

    def mean_ranks(self) -> list[float | None]:
        """Each system's mean rank over the metrics that all systems have; None if there are none."""
        whole = [row.cells for row in self.rows if all(row.cells)]
        if not whole:
            return [None] * len(self.systems)
        return [
            sum(cells[at].rank for cells in whole) / len(whole) for at in range(len(self.systems))
        ]


def compare(
    systems: Sequence[System],
    *,
    reference: str,
    metrics: Sequence[str] = (),
    seed: int = 0,
    draws: int = 1000,
) -> Comparison:
    """Compares systems on the main metrics of their evaluations, or on those that are named.

    Args:
      systems: Two or more, or one if just its table is wanted.
      reference: Name of the system that the others are compared with.
      metrics: `SECTION/METRIC`, such as `zero_shot/global/top1`, or the start of one, such as `winoground`.
      seed, draws: Of the bootstrap over photos.

    Raises:
      CompareError: Names aren't unique or unknown, or scores can't be compared, since a suite was scored by
        another protocol or on other data.
    """
    names = [system.name for system in systems]
    if len(set(names)) < len(names):
        raise CompareError(
            f"two systems have one name, among {', '.join(names)}; write NAME=FOLDER"
        )
    if reference not in names:
        raise CompareError(f"--reference {reference}: no such system; there are {', '.join(names)}")
    rows = []
    for key in _chosen(systems, metrics):
        about = _common(systems, key[0])
        rows.append(_row(systems, names.index(reference), key, about, seed, draws))
    return Comparison(systems, reference, rows)


def _chosen(systems: Sequence[System], wanted: Sequence[str]) -> list[Key]:
    """The metrics to show, in the order of the first evaluation that has them."""
    runs = [run for system in systems for run in system.runs]
    known = list(dict.fromkeys(key for run in runs for key in run.metrics()))
    if not wanted:
        main = {key for run in runs for key in headlines(run.summary)}
        return [key for key in known if key in main]
    chosen = [key for key in known if any(f"{key[0]}/{key[1]}".startswith(each) for each in wanted)]
    for each in wanted:
        if not any(f"{section}/{name}".startswith(each) for section, name in chosen):
            sections = ", ".join(dict.fromkeys(section for section, _ in known))
            raise CompareError(
                f"--metric {each}: no metric begins like that; there are suites {sections}"
            )
    return chosen


def _common(systems: Sequence[System], section: str) -> dict[str, Any]:
    """What all runs that have a section share; raises CompareError if they differ in it."""
    found: dict[str, Any] | None = None
    first: Run | None = None
    for run in (run for system in systems for run in system.runs):
        if run.entry(section) is None:
            continue
        about = run.protocol(section)
        if found is None or first is None:
            found, first = about, run
        elif different := [name for name, value in about.items() if value != found[name]]:
            name = different[0]
            raise CompareError(
                f"{section}: {first.name} and {run.name} differ in {name} ({found[name]!r} and "
                f"{about[name]!r}), so their scores can't be compared; evaluate one of them again, or leave "
                "the suite out with --metric"
            )
    assert found is not None  # the section comes from one of the runs
    return found


def _row(
    systems: Sequence[System], reference: int, key: Key, about: dict, seed: int, draws: int
) -> Row:
    section, name = key
    values = [
        [each[key] for run in system.runs if key in (each := run.metrics())] for system in systems
    ]
    _check_samples(systems, key)
    # A system counts only where all of its runs have the metric: a mean of some isn't that of all.
    whole = [len(of) == len(system.runs) for of, system in zip(values, systems, strict=True)]
    first = next(of[0] for of in values if of)
    scores = [[each["value"] for each in of] for of in values]
    means = [sum(of) / len(of) if ok else None for of, ok in zip(scores, whole, strict=True)]
    ranks = differences.ranks(means, smaller_is_better=first["unit"] == "rank")
    cells: list[Cell | None] = []
    for at, system in enumerate(systems):
        rank = ranks[at]
        if rank is None:
            cells.append(None)
            continue
        difference = None
        if at != reference and whole[reference]:
            difference = _difference(system, systems[reference], key, seed, draws)
        entries = [run.entry(section) or {} for run in system.runs]
        cells.append(
            Cell(
                _score(values[at]),
                difference,
                rank,
                sum(sum(each["ties"].values()) for each in entries),
                sum(each["texts"]["cut"] for each in entries),
            )
        )
    part = f" ({part_of(section)})" if part_of(section) else ""
    suite = suite_of(section)
    title = f"{suite_name(suite)}{part}: {one_line(suite, name)}"
    return Row(key, title, first["unit"], first["chance"], about, cells)


def _check_samples(systems: Sequence[System], key: Key) -> None:
    """Raises CompareError if runs scored different numbers of photos or records."""
    runs = [run for system in systems for run in system.runs if key in run.metrics()]
    numbers = [run.metrics()[key]["samples"] for run in runs]
    for run, number in zip(runs, numbers, strict=True):
        if number != numbers[0]:
            raise CompareError(
                f"{'/'.join(key)}: {runs[0].name} has {numbers[0]:,} samples and {run.name} {number:,}, so "
                "their scores can't be compared; evaluate one of them again on the same images "
                "(config.skip_missing leaves some out), or leave the metric out with --metric"
            )


def _score(values: Sequence[dict[str, Any]]) -> Estimate:
    """The mean over runs; of one run, with its own interval over photos or records."""
    if len(values) > 1:
        return differences.over_seeds([each["value"] for each in values])
    return Estimate(values[0]["value"], *values[0]["interval"], "photos")


def _difference(ours: System, theirs: System, key: Key, seed: int, draws: int) -> Estimate:
    """By seed where both have as many, else Welch's; of single runs by photo, where samples were kept."""
    a, b = ([run.metrics()[key]["value"] for run in system.runs] for system in (ours, theirs))
    if len(a) == len(b) > 1:
        return differences.paired_by_seed(a, b)
    if len(a) > 1 and len(b) > 1:
        return differences.unpaired(a, b)
    if len(a) == len(b) == 1:
        one, other = ours.runs[0].samples.get(key), theirs.runs[0].samples.get(key)
        if one is not None and other is not None and pairable(one, other):
            return differences.paired_by_photo(one, other, seed, draws)
    return Estimate(sum(a) / len(a) - sum(b) / len(b))
