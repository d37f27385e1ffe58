"""Metrics and their intervals."""

import numpy as np
import pytest

from scenarioclip_jax.evaluation.score.result import Metric, Skips, by_class, confusion


def test_values_by_hand():
    samples = np.array([1.0, 0, 0, 1])
    assert Metric(samples).value == 0.5
    assert Metric(samples, groups=np.array([0, 0, 0, 1])).value == pytest.approx((1 / 3 + 1) / 2)
    assert Metric(np.array([1.0, 2, 9]), statistic="median").value == 2.0
    with pytest.raises(ValueError, match="at least one"):
        Metric(np.zeros(0))


def test_an_interval_is_as_wide_as_theory_says():
    samples = np.repeat([0.0, 1.0], 200)
    low, high = Metric(samples).interval(0)
    deviation = 0.5 / np.sqrt(400)
    assert low == pytest.approx(0.5 - 1.96 * deviation, abs=0.01)
    assert high == pytest.approx(0.5 + 1.96 * deviation, abs=0.01)
    assert Metric(samples).interval(0) == (low, high)
    assert Metric(samples).interval(1) != (low, high)


def test_samples_of_a_cluster_are_drawn_together():
    samples = np.repeat([0.0, 1.0], 200)
    clusters = np.repeat(np.arange(40), 10)  # 40 photos, all of one kind each
    low, high = Metric(samples, clusters=clusters).interval(0)
    deviation = 0.5 / np.sqrt(40)
    assert high - low == pytest.approx(2 * 1.96 * deviation, abs=0.04)


def test_intervals_of_macro_averages_and_medians():
    always = Metric(np.ones(6), groups=np.array([0, 0, 0, 1, 1, 2]))
    assert always.interval(0) == (1.0, 1.0)
    low, high = Metric(np.arange(1.0, 102), statistic="median").interval(0)
    assert 25 < low < 51 < high < 77


def test_bars_confusion_and_skips():
    assert by_class(["a", "b", "b"], np.array([1, 0, 1])) == {"b": (0.5, 2), "a": (1.0, 1)}
    table = confusion(["a", "a", "b", "c"], ["a", "b", "a", "zebra"], most=2)
    assert table.names == ["a", "b", "(other)"]
    assert table.counts.tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 1]]
    skips = Skips()
    for i in range(7):
        skips.add("gone", f"record {i}")
    assert skips.summary()["gone"]["count"] == len(skips) == 7
    assert len(skips.summary()["gone"]["such_as"]) == 5
