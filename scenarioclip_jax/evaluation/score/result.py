"""What a suite returns: metrics with the samples behind them, so that an interval can be given to each.

    result = aro.evaluate(encoder, files, settings)
    result.values()                      # {"relation/macro_accuracy": 0.59, ...}
    result.metrics[name].interval(seed)  # 95%, by bootstrap

All suites return one, whatever they score.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

DRAWS = 1000  # of the bootstrap
NAMED = 5  # skipped records that are named for each reason


@dataclasses.dataclass(frozen=True)
class Metric:
    """A statistic of samples.

    Attributes:
      samples: float [N]: what each sample scored, 1 or 0 for right and wrong, or a rank.
      groups: int [N] or None. With groups the metric is a macro average: the mean over groups of each
        group's mean.
      clusters: int [N] or None. Samples that are not independent, such as crops of one photo, share a
        cluster, and are drawn together by the bootstrap. None: each sample is its own.
      statistic: "mean" or "median"; groups go with "mean" only.
      chance: what guessing would give, if that is known.
      all_groups: how many groups the macro average is over, those without a sample counting as 0; None: only
        those with samples.
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
        """The 95% percentile interval (Efron 1979) over `draws` resamples of the clusters.

        Equal seeds give equal intervals. A group that a resample misses drops out of its macro average.
        """
        generator = np.random.default_rng(seed)
        values, group = np.asarray(self.samples, float), self._index(self.groups)
        cluster = self._index(np.arange(len(values)) if self.clusters is None else self.clusters)
        size = int(cluster.max()) + 1
        if self.statistic == "mean":
            # Samples of one cluster and group always come together: their sum and number will do.
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
        low, high = np.quantile(found, (0.025, 0.975))
        return float(low), float(high)

    def _index(self, names: np.ndarray | None) -> np.ndarray:
        """Names as int [N] from 0; one for all where there are none."""
        if names is None:
            return np.zeros(len(self.samples), int)
        return np.unique(np.asarray(names), return_inverse=True)[1]

    def _statistic(self, values: np.ndarray, group: np.ndarray) -> float:
        if self.statistic == "median":
            return float(np.median(values))
        shares = np.bincount(group, values) / np.bincount(group)
        return float(np.sum(shares) / (self.all_groups or len(shares)))


class Skips:
    """Records that were left out, counted by reason, the first ones named; and images that are damaged.

    Attributes:
      damaged: by path, what is wrong with an image that was scored all the same.
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
        """{reason: {"count": how many, "such_as": the first ones}}."""
        return {
            reason: {"count": count, "such_as": self._named[reason]}
            for reason, count in self._counts.items()
        }

    def damaged_summary(self) -> dict[str, Any]:
        """{"count": how many images, "such_as": the first ones}."""
        named = [f"{path}: {what}" for path, what in sorted(self.damaged.items())]
        return {"count": len(named), "such_as": named[:NAMED]}


class Example(NamedTuple):
    """A picture for the report.

    Attributes:
      picture: an `encoder.Picture`, or (level, row) of the test split's gallery.
      caption: what stands above it.
      right: whether the model was right about it.
    """

    picture: Any
    caption: str
    right: bool


class Confusion(NamedTuple):
    names: list[str]  # C classes
    counts: np.ndarray  # int [C, C]: rows are what is true, columns what was predicted


@dataclasses.dataclass
class Result:
    """Scores of one suite.

    Attributes:
      metrics: by name; names are paths, the first part is the level or the subset.
      counts: how many of what was scored.
      level: what scored, such as "global" or "max(global, relation)".
      protocol: how it was scored, one or two sentences for the report.
      skips: what was left out and why.
      choices: what was chosen on other data than the score is of, such as a threshold.
      bars: title -> {class: (accuracy, samples)}, for a bar chart each.
      confusions: title -> Confusion.
      examples: title -> pictures.
      notes: what has to be known to compare the scores, such as that the set is partial.
      ties: part -> how many comparisons were between equal scores, which count as wrong.
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
        """The flat {metric: value}."""
        return {name: metric.value for name, metric in self.metrics.items()}


def partial_note(part: str, count: int, published: int | None) -> list[str]:
    """A note where fewer records were scored than the published set has; nothing otherwise."""
    if published is None or count >= published:
        return []
    return [
        f"{part}: {count:,} of the published {published:,} records, a partial set; its score can't be compared "
        "with published ones"
    ]


def cluster_by(keys: Sequence[Any]) -> np.ndarray:
    """Equal keys as equal numbers, int [N]: samples of one picture, for `Metric.clusters`."""
    index: dict[Any, int] = {}
    return np.array([index.setdefault(key, len(index)) for key in keys], int)


def by_class(names: Sequence[str], hits: np.ndarray) -> dict[str, tuple[float, int]]:
    """{class: (mean of its hits, number of samples)}, the most frequent class first."""
    unique, index = np.unique(np.asarray(names, object).astype(str), return_inverse=True)
    counts = np.bincount(index)
    means = np.bincount(index, np.asarray(hits, float)) / counts
    order = np.argsort(-counts, kind="stable")
    return {str(unique[i]): (float(means[i]), int(counts[i])) for i in order}


def confusion(true: Sequence[str], predicted: Sequence[str], most: int = 20) -> Confusion:
    """Counts of (true, predicted) among the `most` frequent true classes; the rest is one "(other)"."""
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
