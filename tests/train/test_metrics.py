"""The one writer of numbers."""

import io

import pytest
from PIL import Image
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event

from scenarioclip_jax.train.metrics import (
    MetricWriter,
    NonFiniteLossError,
    OutputError,
    explaining_output,
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


def test_lines_that_are_no_rows_are_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'12\n[1]\n{"loss": 1}\n{"step": 1}\n\xff\xfe{"st')
    MetricWriter(tmp_path, 5).close()
    assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 1}]


def test_tensorboard_gets_every_number(tmp_path):
    writer = MetricWriter(tmp_path, 4)
    writer.write(5, {"loss/total": 2.5, "learning_rate": 0.125})
    writer.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    content, events = path.read_bytes(), []
    while content:  # length and its checksum, the event and its checksum
        size = int.from_bytes(content[:8], "little")
        events.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    assert events[1].step == 5  # later steps of an earlier start are hidden
    assert events[1].session_log.status == events[1].session_log.START
    shown = {v.tag: (e.step, v.simple_value) for e in events for v in e.summary.value}
    assert shown == {"loss/total": (5, 2.5), "learning_rate": (5, 0.125)}


def test_tensorboard_gets_pictures(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), (200, 10, 10)).save(buffer, "PNG")
    writer = MetricWriter(tmp_path, 0)
    writer.picture(3, "first_batch", buffer.getvalue())
    writer.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    content, events = path.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little")
        events.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    assert events[-1].step == 3
    (value,) = events[-1].summary.value
    assert (value.tag, value.image.width, value.image.height) == ("first_batch", 30, 20)
    assert value.image.encoded_image_string == buffer.getvalue()


def test_a_full_disk_names_the_file_and_what_is_whole(tmp_path):
    (tmp_path / "checkpoints" / "00000300").mkdir(parents=True)
    writer = MetricWriter(tmp_path, 0)
    writer._file.close()
    writer._file = open("/dev/full", "w")
    said = r"metrics\.jsonl: No space left on device.*the checkpoint of step 300 is whole"
    with pytest.raises(OutputError, match=said):
        writer.write(1, {"loss/total": 1.0})
    with pytest.raises(OutputError, match=said):  # what was kept back is tried again
        writer.close()


def test_tensorboard_on_a_full_disk_is_said_once_and_the_run_goes_on(tmp_path, capsys, monkeypatch):
    real = EventsWriter.__init__

    def full(self, prefix, suffix=""):
        real(self, prefix, suffix)
        self._py_recordio_writer._writer = open("/dev/full", "wb", buffering=0)

    monkeypatch.setattr(EventsWriter, "__init__", full)
    writer = MetricWriter(tmp_path, 0)
    for step in range(1, 40):
        writer.write(step, {"loss/total": float(step)})
    writer.close()
    assert len(read_rows(writer.path)) == 39
    assert capsys.readouterr().out.count("No space left on device; the run goes on without") == 1


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_workdir_that_is_none_is_named(place, tmp_path):
    (tmp_path / "file").write_text("")
    workdir = tmp_path / place
    with pytest.raises(OutputError, match=f"{place}.*no checkpoint yet"):
        with explaining_output(workdir):
            MetricWriter(workdir, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    with pytest.raises(ConnectionError), explaining_output(tmp_path):  # not ours to explain
        raise ConnectionResetError(104, "reset")


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
