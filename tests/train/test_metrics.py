"""The one writer of numbers."""

import pytest

from scenarioclip_jax.train.metrics import (
    MetricWriter,
    NonFiniteLossError,
    finite,
    read_rows,
)
from scenarioclip_jax.train.progress import Progress, duration


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
    finite(7, {"loss/total": 1.0})
    with pytest.raises(NonFiniteLossError, match=r"step 7: loss/object, gradient_norm not finite"):
        finite(7, {"loss/total": 1.0, "loss/object": float("nan"), "gradient_norm": float("inf")})


def test_skipped_steps_are_allowed_up_to_the_limit():
    nan = {"loss/total": float("nan"), "learning_rate": 0.1}
    assert finite(7, nan | {"skipped_steps": 2}, 2) == {"learning_rate": 0.1, "skipped_steps": 2}
    with pytest.raises(NonFiniteLossError, match=r"3 steps had a loss.*skip_nonfinite=2"):
        finite(8, {"loss/total": 1.0, "skipped_steps": 3}, 2)


def test_speed_is_measured_against_the_peak(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    progress = Progress(10, 4, flops=10**12, peak=1e13, start=0, quiet=False)
    now += 2
    measured = progress.report(5, {"loss/total": 1.0, "learning_rate": 0.1})
    assert measured["time/scenes_per_second"] == pytest.approx(5 * 4 / 2)
    assert measured["time/model_flops_per_second"] == pytest.approx(5 * 1e12 / 2)
    assert measured["time/mfu"] == pytest.approx(0.25)
    assert "MFU 25.0%" in capsys.readouterr().out
    unknown = Progress(10, 4, flops=10**12, peak=None, start=0, quiet=True)
    assert "time/mfu" not in unknown.report(5, {"loss/total": 1.0, "learning_rate": 0.1})


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.4, "12s"), (59.6, "1m00s"), (200, "3m20s"), (3725, "1h02m")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
