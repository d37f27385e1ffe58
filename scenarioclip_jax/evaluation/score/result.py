"""The result of a suite: metrics with the samples behind them, so that each can have an interval.

    result = aro.evaluate(encoder, files, settings)
    result.values()                      # {"relation/macro_accuracy": 0.59, ...}
    result.metrics[name].interval(seed)  # 95%, by bootstrap

All suites return a `Result`, whatever they score.
"""

import dataclasses
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

DRAWS = 1000  # bootstrap resamples
NAMED = 5  # skipped records to name per reason


@dataclasses.dataclass(frozen=True)
class Metric:
    """A statistic of samples.

    Attributes:
      samples: Score of each sample, float [N]: 1 or 0 for right and wrong, or a rank.
      groups: Group of each sample, int [N], or None. With groups the metric is a macro average: the mean over
        groups of each group's mean.
      clusters: Cluster of each sample, int [N], or None if samples are independent. Samples that aren't, such
        as crops of one photo, share a cluster and are resampled together by the bootstrap.
      statistic: "mean" or "median"; groups require "mean".
      chance: Expected value of guessing, if known.
      all_groups: Number of groups in the macro average, where those without a sample count as 0; None for only
        the groups with samples.
    """

    samples: np.ndarray
    groups: np.ndarray | None = None
    clusters: np.ndarray | None = None
    statistic: str = "mean"
    chance: float | None = None
    all_groups: int | None = None

    def __post_init__(self):
        if not len(self.samples):
            raise ValueError("a metric needs at least one sample")

    @property
    def value(self) -> float:
        return self._statistic(np.asarray(self.samples, float), self._index(self.groups))

    def interval(self, seed: int, draws: int = DRAWS) -> tuple[float, float]:
        """The 95% percentile interval (Efron 1979) over `draws` resamples of the clusters."""
        low, high = np.quantile(self.resamples(seed, draws), (0.025, 0.975))
        return float(low), float(high)

    def resamples(self, seed: int, draws: int = DRAWS) -> np.ndarray:
        """The value of `draws` resamples of the clusters, [draws].

        Equal seeds draw equal clusters. A group that a resample misses drops out of its macro average.
        """
        generator = np.random.default_rng(seed)
        values, group = np.asarray(self.samples, float), self._index(self.groups)
        cluster = self._index(np.arange(len(values)) if self.clusters is None else self.clusters)
        size = int(cluster.max()) + 1
        if self.statistic == "mean":
            # Samples of one cluster and group always come together, so their sum and number are enough.
            cell, where = np.unique(cluster * (group.max() + 1) + group, return_inverse=True)
            cluster, group = cell // (group.max() + 1), cell % (group.max() + 1)
            values, numbers = np.bincount(where, values), np.bincount(where)
        found = []
        for _ in range(draws):
            times = np.bincount(generator.integers(size, size=size), minlength=size)[cluster]
            if self.statistic == "median":
                found.append(np.median(np.repeat(values, times)))
            else:
                total = np.bincount(group, times * numbers)
                sums = np.bincount(group, times * values)
                shares = sums[total > 0] / total[total > 0]
                found.append(np.sum(shares) / (self.all_groups or len(shares)))
        return np.array(found)

    def _index(self, names: np.ndarray | None) -> np.ndarray:
        """Numbers the names from 0, int [N]; all samples get one number if there are no names."""
        if names is None:
            return np.zeros(len(self.samples), int)
        return np.unique(np.asarray(names), return_inverse=True)[1]

    def _statistic(self, values: np.ndarray, group: np.ndarray) -> float:
        if self.statistic == "median":
            return float(np.median(values))
        shares = np.bincount(group, values) / np.bincount(group)
        return float(np.sum(shares) / (self.all_groups or len(shares)))


class Skips:
    """Records that were left out, counted by reason with the first ones named; and damaged images.

    Attributes:
      damaged: What is wrong with images that were scored anyway, by path.
    """

    def __init__(self):
        self.damaged: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._named: dict[str, list[str]] = {}

    def add(self, reason: str, where: str) -> None:
        self._counts[reason] += 1
        named = self._named.setdefault(reason, [])
        if len(named) < NAMED:
            named.append(where)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def summary(self) -> dict[str, dict[str, Any]]:
        """Returns {reason: {"count": how many, "such_as": the first ones}}."""
        return {
            reason: {"count": count, "such_as": self._named[reason]}
            for reason, count in self._counts.items()
        }

    def damaged_summary(self) -> dict[str, Any]:
        """Returns {"count": how many images, "such_as": the first ones}."""
        named = [f"{path}: {what}" for path, what in sorted(self.damaged.items())]
        return {"count": len(named), "such_as": named[:NAMED]}


class Example(NamedTuple):
    """An image for the report.

    Attributes:
      picture: An `encoder.Picture`, or (level, row) in the test split's gallery.
      caption: Text above the image.
      right: Whether the model was right about it.
    """

    picture: Any
    caption: str
    right: bool


class Confusion(NamedTuple):
    names: list[str]  # C classes
    counts: np.ndarray  # int [C, C]: rows are true classes, columns predicted ones


@dataclasses.dataclass
class Result:
    """Scores of one suite.

    Attributes:
      metrics: Metrics by name; names are paths whose first part is the level or the subset.
      counts: Numbers of scored items, by kind.
      level: Levels that scored, such as "global" or "max(global, relation)".
      protocol: One or two sentences for the report on how the suite was scored.
      skips: Records that were left out, and why.
      choices: Values that were chosen on data other than the scored data, such as a threshold.
      bars: Bar charts by title, each {class: (accuracy, samples)}.
      confusions: Confusions by title.
      examples: Images by title.
      notes: Facts needed to compare the scores, such as that the set is incomplete.
      ties: Number of comparisons between equal scores, which count as wrong, by part.
    """

    metrics: dict[str, Metric]
    counts: dict[str, int]
    level: str
    protocol: str
    skips: Skips = dataclasses.field(default_factory=Skips)
    choices: dict[str, Any] = dataclasses.field(default_factory=dict)
    bars: dict[str, dict[str, tuple[float, int]]] = dataclasses.field(default_factory=dict)
    confusions: dict[str, Confusion] = dataclasses.field(default_factory=dict)
    examples: dict[str, list[Example]] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    ties: dict[str, int] = dataclasses.field(default_factory=dict)

    def values(self) -> dict[str, float]:
        """Returns the flat {metric: value}."""
        return {name: metric.value for name, metric in self.metrics.items()}


def missing_notes(parts: Iterable[str], found: Container[str]) -> list[str]:
    """Says which parts of a suite with several files aren't scored."""
    return [f"{part}: not scored, its file isn't there" for part in parts if part not in found]


def partial_note(part: str, count: int, published: int | None) -> list[str]:
    """A note if fewer records were scored than the published set has; empty otherwise."""
    if published is None or count >= published:
        return []
    return [
        f"{part}: {count:,} of the published {published:,} records, a partial set; its score can't be compared "
        "with published ones"
    ]


def cluster_by(keys: Sequence[Any]) -> np.ndarray:
    """Maps equal keys to equal numbers, int [N], for `Metric.clusters`, such as samples of one image."""
    index: dict[Any, int] = {}
    return np.array([index.setdefault(key, len(index)) for key in keys], int)


def by_class(names: Sequence[str], hits: np.ndarray) -> dict[str, tuple[float, int]]:
    """Returns {class: (mean of its hits, number of samples)}, the most frequent class first."""
    unique, index = np.unique(np.asarray(names, object).astype(str), return_inverse=True)
    counts = np.bincount(index)
    means = np.bincount(index, np.asarray(hits, float)) / counts
    order = np.argsort(-counts, kind="stable")
    return {str(unique[i]): (float(means[i]), int(counts[i])) for i in order}


def confusion(true: Sequence[str], predicted: Sequence[str], most: int = 20) -> Confusion:
    """Counts (true, predicted) among the `most` frequent true classes; all others become one "(other)"."""
    frequent = [name for name, _ in Counter(true).most_common(most)]
    names = [*frequent, "(other)"]
    index = {name: i for i, name in enumerate(frequent)}
    counts = np.zeros((len(names),) * 2, int)
    other = len(frequent)
    for one, two in zip(true, predicted, strict=True):
        counts[index.get(one, other), index.get(two, other)] += 1
    if not counts[other].any() and not counts[:, other].any():
        return Confusion(frequent, counts[:other, :other])
    return Confusion(names, counts)
