"""What training costs: known answers, and the document is what the command writes."""

import pytest

from benchmarks import training_cost
from benchmarks.training_cost import MACHINES, MFU_REACHED, PUBLISHED, between, rate


def test_a_rate_is_the_peak_by_the_work():
    # 8 chips of 989 TFLOP/s at a tenth, and a scene of 100 GFLOP.
    assert rate(100e9, MACHINES[0], 0.1) == pytest.approx(8 * 989e12 * 0.1 / 100e9)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1234.0, 56.0], "56 to 1,200"),
        ([0.123, 0.5], "0.12 to 0.50"),
        ([1.26, 9.94], "1.3 to 9.9"),
        ([9.96, 10.4], "10 to 10"),
    ],
)
def test_two_digits_count(values, said):
    assert between(values) == said
    assert between(values, " hours", "$") == "$" + said.replace(" to ", " to $") + " hours"


def test_hours_and_prices_follow(monkeypatch):
    monkeypatch.setattr(training_cost, "PRESETS", ("one",))
    monkeypatch.setattr(training_cost, "flops_per_scene", lambda preset: 0.11 * 989e12 * 8 / 1000)
    text = training_cost.tables(1.0, {"H100 SXM": 3.0, "v5e": 1.0})
    row = next(line for line in text.splitlines() if line.startswith("| 8 H100"))
    # 1,000 scenes a second at the least: a million take 0.28 hours of 8 chips for $3 each.
    assert row.split(" | ")[1] == f"1,000 to {1000 * MFU_REACHED[1] / MFU_REACHED[0]:,.0f}".replace(
        "3,545", "3,500"
    )
    assert row.split(" | ")[2] == "0.08 to 0.28 hours, $1.9 to $6.7"
    assert all(row[0] in text for row in PUBLISHED)
