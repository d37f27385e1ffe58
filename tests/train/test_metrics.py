"""The one writer of numbers."""

import pytest

from scenarioclip_jax.train.metrics import (
    MetricWriter,
    NonFiniteLossError,
    read_rows,
    require_finite,
)
from scenarioclip_jax.train.progress import duration


def test_rows_come_back(tmp_path):
    writer = MetricWriter(tmp_path, 0)
    writer.write(1, {"loss/total": 2.5})
    writer.write(2, {"loss/total": 2.0, "validation/score": 0.1})
    writer.close()
    assert read_rows(writer.path) == [
        {"step": 1, "loss/total": 2.5},
        {"step": 2, "loss/total": 2.0, "validation/score": 0.1},
    ]
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_restart_drops_rows_of_later_steps_and_a_half_written_one(tmp_path):
    writer = MetricWriter(tmp_path, 0)
    for step in (1, 2, 3):
        writer.write(step, {"loss/total": float(step)})
    writer.close()
    with writer.path.open("a") as file:
        file.write('{"step": 4, "loss/')
    again = MetricWriter(tmp_path, 2)
    again.write(3, {"loss/total": 9.0})
    again.close()
    assert [(r["step"], r["loss/total"]) for r in read_rows(again.path)] == [(1, 1), (2, 2), (3, 9)]


def test_a_number_that_is_none_names_the_step_and_the_metric():
    require_finite(7, {"loss/total": 1.0})
    with pytest.raises(NonFiniteLossError, match=r"step 7: loss/object, gradient_norm not finite"):
        require_finite(
            7, {"loss/total": 1.0, "loss/object": float("nan"), "gradient_norm": float("inf")}
        )


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.4, "12s"), (59.6, "1m00s"), (200, "3m20s"), (3725, "1h02m")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
